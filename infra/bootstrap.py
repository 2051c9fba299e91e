"""Make the project's environment: ``.venv`` from ``requirements.lock``, the ``flowlake`` command, the jars. Standard library only.

``python3.11 infra/bootstrap.py`` (``make setup``). Nothing is done twice: a stamp in ``.venv`` holds the digest of the lock
file it was made from, and is checked against what is really installed. A broken or interrupted environment is made anew.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from infra import pythons

if pythons.this():
    # Before anything that an older Python lacks (from 3.6 on: it could not even read this file).
    sys.stderr.write(
        f"error: Python {pythons.names()} is needed, {sys.executable} {pythons.this()}\n"
        "  install one (Debian 12 and 13, Ubuntu 24.04: apt-get install python3 python3-venv; "
        "anywhere, without root: uv python install 3.12), then: make setup PYTHON=/path/to/it\n"
    )
    sys.exit(7)

import fcntl
import hashlib
import re
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

from infra import files, paths  # noqa: E402
from infra.errors import FlowlakeError, StackError, one_line  # noqa: E402
from infra.jvm import java  # noqa: E402

LOCK = ROOT / "requirements.lock"
VENV = Path(os.environ.get("FLOWLAKE_VENV") or ROOT / ".venv").absolute()
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "flowlake-stamp"


def main(sections: list[str]) -> int:
    """Environment, then the named jar sections (default: broker and spark)."""
    try:
        for folder, origin in ((ROOT, "the project's folder"), (VENV, "FLOWLAKE_VENV")):
            paths.check(folder, origin, (paths.COLON, paths.SHELL), "move it to another folder, then: make setup")
        java.find()
        (ROOT / "var").mkdir(exist_ok=True)
        with (ROOT / "var" / ".setup.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            environment()
        return subprocess.run([str(PYTHON), "-m", "infra.jvm.jars", *sections], cwd=ROOT).returncode
    except FlowlakeError as e:
        print(f"error: {e}\n  {e.hint}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        print("interrupted; make setup goes on from here", file=sys.stderr)
        return 130


def environment() -> None:
    """Bring ``.venv`` to the state of the lock file.

    Raises
    ------
    StackError
        The venv cannot be made, or a package cannot be had.
    """
    stamp = STAMP.read_text(encoding="ascii") if STAMP.is_file() else None
    if stamp == digest() and complete():
        return
    began = time.monotonic()
    if stamp is None or not runs():
        create()
    STAMP.unlink(missing_ok=True)
    count = len(pinned())
    print(f"environment: {count} packages into {VENV}", file=sys.stderr)
    install()
    if not complete():
        # The metadata was right and the files were not: a package was damaged by hand.
        create()
        install()
        if not complete():
            raise StackError(f"the environment {VENV} is incomplete after installing", f"rm -r {VENV} && make setup")
    files.replace(STAMP, digest())
    print(f"environment: ready in {time.monotonic() - began:.0f} s", file=sys.stderr)


def digest() -> str:
    """What the environment depends on: the lock file, the project's metadata, the interpreter's version."""
    text = LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode() + sys.version.encode()
    return hashlib.sha256(text).hexdigest()


def pinned() -> dict[str, str]:
    """Package -> version, of the lock file. Its only markers that exclude a supported platform are those of Windows and of browsers."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)( *;[^\\\n]*)?", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return {_plain(name): version for name, version, marker in found if not re.search("sys_platform == '(win32|emscripten)'", marker)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def runs() -> bool:
    """Whether the venv's interpreter starts and is of the version that runs this."""
    if not os.access(PYTHON, os.X_OK):
        return False
    probe = [str(PYTHON), "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        done = subprocess.run(probe, capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.split() == [str(n) for n in sys.version_info[:2]]


def complete() -> bool:
    """Whether every pinned package is there in its version with its code, and the ``flowlake`` command too."""
    if not runs() or not (VENV / "bin" / "flowlake").is_file():
        return False
    # The first file of each package's record stands for the rest: enough to notice a folder that was removed. The record itself is
    # read: from Python 3.12 on Distribution.files leaves out what is not there.
    probe = (
        "import csv, os, re\nfrom importlib import metadata\n"
        "for d in metadata.distributions():\n"
        " n = re.sub(r'[-_.]+', '-', d.metadata['Name']).lower()\n"
        " record = csv.reader((d.read_text('RECORD') or '').splitlines())\n"
        " code = [row[0] for row in record if row and row[0].endswith('.py') and not row[0].startswith('..')][:1]\n"
        " print(n, d.version, all(os.path.isfile(d.locate_file(name)) for name in code))"
    )
    done = subprocess.run([str(PYTHON), "-I", "-c", probe], capture_output=True, encoding="utf-8", errors="replace")
    there = {tuple(line.split()[:2]) for line in done.stdout.splitlines() if line.endswith(" True")}
    return done.returncode == 0 and set(pinned().items()) <= there


def create() -> None:
    """A fresh venv in place of whatever was there."""
    if VENV.exists():
        print(f"environment: {VENV} is incomplete or broken and is made anew", file=sys.stderr)
        shutil.rmtree(VENV)
    done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        shutil.rmtree(VENV, ignore_errors=True)
        raise StackError(
            f"no virtual environment could be made at {VENV}: {words[0] if words else done.returncode}",
            f"Debian/Ubuntu: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv",
        )


def install() -> None:
    """Install the lock file with its hashes: by uv (itself from the lock file; many times faster), else by pip; then this project."""
    if not _by_uv():
        print("environment: uv does not work here; pip takes over (some minutes)", file=sys.stderr)
        _run([str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", str(LOCK)])
    # By its relative name: brackets at the end of a path would be taken for the names of extras.
    _run([str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "-e", "."])


def _by_uv() -> bool:
    blocks = re.split(r"^(?=\S)", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    alone = VENV / "uv.lock.txt"
    alone.write_text("".join(block for block in blocks if block.startswith("uv==")), encoding="utf-8")
    pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r", str(alone)]
    if subprocess.run(pip, capture_output=True).returncode != 0:
        return False
    # Compiled now and in parallel, as pip does: otherwise by each of a dozen processes that start at once, and every time
    # where PYTHONDONTWRITEBYTECODE is set.
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(PYTHON)]
    uv += ["--require-hashes", "-r", str(LOCK)]
    return subprocess.run(uv, env=certified() | {"UV_LINK_MODE": "copy"}).returncode == 0


def certified() -> dict[str, str]:
    """Environment of uv: with the machine's certificates, as pip uses them. Behind a proxy uv's own list knows too few."""
    return {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", **os.environ}


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", errors="replace", cwd=ROOT)
    if done.returncode != 0:
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip() and not line.startswith("WARNING")]
        telling = [line for line in words if "ERROR" in line or "error" in line]
        reason = one_line((telling or words or ["?"])[-1])
        raise StackError(f"packages could not be installed: {reason}", "check the network, then: make setup")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
