"""Ivy, which pyspark brings: artefacts of the Maven registry by their coordinates."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from infra.errors import StackError, one_line
from infra.jvm import java


class NotFetched(Exception):
    """An artefact cannot be had; says why in one line."""


@dataclass(frozen=True)
class Artefact:
    """One file: Maven coordinates, the sha-256 of it, and how large it is in bytes where somebody waits for it."""

    organisation: str
    name: str
    version: str
    sha256: str
    kind: str = "jar"
    size: int = 0

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}.{self.kind}"

    @property
    def coordinates(self) -> str:
        return f"{self.organisation}:{self.name}:{self.version}"


def program() -> Path:
    """Ivy's jar.

    Raises
    ------
    StackError
        pyspark brings none.
    """
    import pyspark

    found = sorted(Path(pyspark.__file__).parent.glob("jars/ivy-*.jar"))
    if not found:
        raise StackError("pyspark brings no ivy jar", "make clean && make setup")
    return found[-1]


def reason(output: Sequence[str]) -> str:
    """The line of Ivy's output that says why."""
    for word in ("UnknownHost", "timed out", "refused", "[FAILED", "not found", "ERROR", "Exception"):
        for line in output:
            if word in line:
                return one_line(line, 200)
    return one_line((output or ["no output"])[-1], 200)


#: The public registry, asked for the file alone: what it is made of would be hundreds of further questions.
_SETTINGS = (
    '<ivysettings><settings defaultResolver="public"/><resolvers><ibiblio name="public" m2compatible="true" usepoms="false"/></resolvers>'
    "</ivysettings>"
)


def fetch(artefact: Artefact, folder: Path, within_s: float, progress: Callable[[int], None]) -> Path:
    """Fetch one large file into an empty folder, and no other with it. What came is not looked at.

    Parameters
    ----------
    artefact
        Which.
    folder
        Where Ivy works; the file is somewhere in it.
    within_s
        Seconds that it may take.
    progress
        Called twice a second with the bytes that are there.

    Raises
    ------
    NotFetched
        With Ivy's reason, or that the time is over.
    StackError
        No JDK, or no Ivy.
    """
    kind, name = quoteattr(artefact.kind), quoteattr(artefact.name)
    (folder / "ivy.xml").write_text(
        '<ivy-module version="2.0"><info organisation="flowlake" module="files"/><configurations><conf name="default"/></configurations>'
        f'<dependencies><dependency org={quoteattr(artefact.organisation)} name={name} rev={quoteattr(artefact.version)} transitive="false"'
        f' conf="default-&gt;*"><artifact name={name} type={kind} ext={kind}/></dependency></dependencies></ivy-module>',
        encoding="utf-8",
    )
    (folder / "settings.xml").write_text(_SETTINGS, encoding="utf-8")
    argv = [str(java.find().path), "-jar", str(program()), "-settings", "settings.xml", "-ivy", "ivy.xml", "-cache", "cache"]
    log = folder / "ivy.log"
    ends = time.monotonic() + within_s
    with log.open("wb") as out, subprocess.Popen(argv, stdout=out, stderr=out, env=os.environ | java.LOCALE, cwd=folder) as ivy:
        try:
            while ivy.poll() is None:
                if time.monotonic() > ends:
                    raise NotFetched(f"not within {within_s:.0f} s")
                progress(sum(file.stat().st_size for file in folder.rglob(f"*.{artefact.kind}*")))
                time.sleep(0.5)
        finally:
            ivy.kill()
    found = next(folder.rglob(artefact.file), None)
    if ivy.returncode or found is None:
        raise NotFetched(reason(log.read_text(encoding="utf-8", errors="replace").splitlines()))
    return found
