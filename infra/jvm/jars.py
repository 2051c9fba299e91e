"""Jars of the platform: one pinned list of coordinates, fetched with the Ivy that pyspark brings, checked by our own sha-256.

``infra/jvm/coordinates.txt`` holds three sections: *broker* (Apache Kafka and all it needs), *spark* (what Spark needs beyond
pyspark: Delta, the Kafka connector) and *s3* (the S3A connector; only when the lake is on S3). The list is complete and Ivy is told not to
follow dependencies, so nothing floats. Jars lie in ``var/jars/<section>/`` of the project (``FLOWLAKE_JARS`` names another folder).

Fetch by hand: ``python -m infra.jvm.jars broker spark``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from xml.sax.saxutils import quoteattr

from infra import paths as folders
from infra.config import ROOT
from infra.errors import FlowlakeError, StackError
from infra.jvm import ivy, java
from infra.jvm.ivy import Artefact

COORDINATES = ROOT / "infra" / "jvm" / "coordinates.txt"
#: Called with (jars had, jars wanted, name of the last one).
Progress = Callable[[int, int, str], None]


@cache
def sections() -> dict[str, tuple[Artefact, ...]]:
    """The pinned list by section.

    Raises
    ------
    StackError
        A line is no coordinate; names the line.
    """
    found: dict[str, list[Artefact]] = {}
    current: list[Artefact] | None = None
    for number, line in enumerate(COORDINATES.read_text(encoding="utf-8").splitlines(), 1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        if text.startswith("[") and text.endswith("]"):
            current = found.setdefault(text[1:-1], [])
            continue
        parts = text.split()
        where = parts[0].split(":")
        if current is None or len(parts) != 2 or len(where) != 3 or len(parts[1]) != 64:
            raise StackError(f"{COORDINATES} line {number}: expected 'organisation:name:version sha256' under a [section]")
        current.append(Artefact(where[0], where[1], where[2], parts[1]))
    return {name: tuple(jars) for name, jars in found.items()}


def section(name: str) -> tuple[Artefact, ...]:
    """Jars of one section; StackError when there is none of that name."""
    if name not in sections():
        raise StackError(f"jars: no section {name!r}", f"sections: {', '.join(sections())}")
    return sections()[name]


def folder(name: str) -> Path:
    """Where a section's jars lie.

    Raises
    ------
    ConfigError
        A folder that cannot stand in a class path.
    """
    base = os.environ.get("FLOWLAKE_JARS")
    where = (Path(base) if base else ROOT / "var" / "jars").resolve()
    folders.check(where, "FLOWLAKE_JARS", (folders.COLON,))
    return where / name


def missing(name: str) -> list[Artefact]:
    """Jars of a section that are not there (content is checked when fetched, see :func:`verify`)."""
    where = folder(name)
    return [jar for jar in section(name) if not (where / jar.file).is_file()]


def paths(name: str) -> list[Path]:
    """Files of a section, in the order of the list.

    Raises
    ------
    StackError
        Some are not there yet.
    """
    absent = missing(name)
    if absent:
        raise StackError(f"{len(absent)} of {len(section(name))} {name} jars are missing from {folder(name)}", "make setup")
    return [folder(name) / jar.file for jar in section(name)]


def verify(name: str) -> list[Artefact]:
    """Jars of a section whose file is missing or has another sha-256."""
    where = folder(name)
    return [jar for jar in section(name) if not (where / jar.file).is_file() or sha256(where / jar.file) != jar.sha256]


def ensure(name: str, progress: Progress | None = None) -> list[Path]:
    """Fetch what a section lacks and return its files. Does nothing, quickly, when all are there.

    Raises
    ------
    StackError
        No JDK, a jar cannot be had, or its content is not what the list says; names the jar.
    """
    wanted = section(name)
    if missing(name):
        with locked(folder(name).parent):
            absent = missing(name)
            if absent:
                _fetch(name, absent, len(wanted), progress)
    _remove_others(name)
    return paths(name)


def _fetch(name: str, absent: list[Artefact], total: int, progress: Progress | None) -> None:
    where = folder(name)
    where.mkdir(parents=True, exist_ok=True)
    had = total - len(absent)
    with tempfile.TemporaryDirectory(dir=where.parent, prefix=".fetch-") as tmp:
        work = Path(tmp)
        (work / "ivy.xml").write_text(_ivy_module(absent), encoding="utf-8")
        # Relative names: Ivy reads brackets and parentheses of a path as parts of its pattern.
        argv = [str(java.find().path), "-jar", str(ivy.program()), "-ivy", "ivy.xml", "-cache", os.path.join("..", ".ivy")]
        argv += ["-retrieve", "[artifact]-[revision].[ext]"]
        output: list[str] = []
        with subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=os.environ | java.LOCALE,
            cwd=work,
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                output.append(line.rstrip())
                if "[SUCCESSFUL ]" in line and progress:
                    had += 1
                    progress(min(had, total), total, line.split("]", 1)[1].split("!")[-1].split(" ")[0].strip())
        for jar in absent:
            got = work / jar.file
            if not got.is_file():
                raise StackError(f"jar {jar.coordinates} could not be fetched: {ivy.reason(output)}", "check the network, then: make setup")
            if sha256(got) != jar.sha256:
                cached = where.parent / ".ivy" / jar.organisation / jar.name
                raise StackError(
                    f"jar {jar.coordinates} has sha-256 {sha256(got)}, the list says {jar.sha256}", f"rm -r {cached}, then: make setup"
                )
        for jar in absent:
            shutil.move(work / jar.file, where / jar.file)
    if progress:
        progress(total, total, "")


def _ivy_module(jars: list[Artefact]) -> str:
    """An Ivy module that wants exactly these files: ``master`` is the artefact without its dependencies."""
    lines = [
        f"<dependency org={quoteattr(j.organisation)} name={quoteattr(j.name)} rev={quoteattr(j.version)}"
        f' transitive="false" force="true" conf="default->master"/>'
        for j in jars
    ]
    return (
        '<ivy-module version="2.0"><info organisation="flowlake" module="jars"/><configurations><conf name="default"/></configurations>'
        f"<dependencies>{''.join(lines)}</dependencies></ivy-module>"
    )


def _remove_others(name: str) -> None:
    """Jars of an older list would be on the class path beside the new ones."""
    wanted = {jar.file for jar in section(name)}
    for file in folder(name).glob("*.jar"):
        if file.name not in wanted:
            file.unlink(missing_ok=True)


def sha256(file: Path) -> str:
    """Of the content of a file, in hexadecimal."""
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@contextmanager
def locked(base: Path) -> Iterator[None]:
    """One fetch at a time; a second one waits and then finds the files."""
    base.mkdir(parents=True, exist_ok=True)
    with (base / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> int:
    """Fetch the named sections (default: broker and spark), showing progress on stderr."""
    terminal = sys.stderr.isatty()

    def show(name: str, had: int, total: int, jar: str) -> None:
        if terminal:
            print(f"\r\033[Kjars: {name} {had}/{total} {jar}", end="\n" if had == total and not jar else "", file=sys.stderr, flush=True)
        elif not jar:
            print(f"jars: {name} {had}/{total}", file=sys.stderr)

    try:
        for name in names or ["broker", "spark"]:
            ensure(name, lambda had, total, jar, name=name: show(name, had, total, jar))  # type: ignore[misc]
    except FlowlakeError as e:
        print(f"{chr(10) if terminal else ''}error: {e}\n  {e.hint}", file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
