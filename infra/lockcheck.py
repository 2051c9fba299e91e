"""Whether every supported Python and processor can have all of ``requirements.lock`` as wheels: ``make lock-check``.

Asks the package index by uv, as an installation on each target would: for a wheel of every pin that fits the target, with no
dependency missing from the lock file. ``--download`` gets and unpacks them too (some GiB, one target after the other), by which each
is compared with its hash. The result is a Markdown table on standard output, as docs/reference/platforms.md has it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time

from infra import bootstrap, pythons
from infra.errors import FlowlakeError, StackError, one_line

#: The C library that the wheels ask for: glibc 2.28 (Debian 10, RHEL 8, Ubuntu 20.04) or newer.
PLATFORM = "{machine}-manylinux_2_28"
#: Pins that have no wheel on the index, and why that does no harm. What gets one is to be taken out of here.
SOURCE_ONLY = {"pyspark": "published as source only; pure Python, and built alike for every target"}


def check(version: tuple[int, int], machine: str, download: bool) -> int:
    """Resolve the lock file for one target.

    Parameters
    ----------
    version
        Minor version of CPython.
    machine
        Processor, as ``platform.machine()`` names it.
    download
        Whether to get the packages and compare their hashes too.

    Returns
    -------
    int
        How many packages the target gets.

    Raises
    ------
    StackError
        A pin has no wheel for the target, a dependency is not pinned, or a hash differs.
    """
    target = ["--python-version", f"{version[0]}.{version[1]}", "--python-platform", PLATFORM.format(machine=machine)]
    exceptions = [word for name in SOURCE_ONLY for word in ("--no-binary", name)]
    with tempfile.TemporaryDirectory(prefix="flowlake-lock-") as folder:
        rest = ["--require-hashes", "-r", str(bootstrap.LOCK), "--target", folder, *([] if download else ["--dry-run"])]
        done = _uv(*target, "--only-binary", ":all:", *exceptions, *rest)
    resolved = re.search(r"^Resolved (\d+) packages?", done.stderr, re.MULTILINE)
    if done.returncode != 0 or resolved is None:
        raise StackError(
            f"requirements.lock on Python {version[0]}.{version[1]}, {machine}: {_reason(done.stderr)}",
            "pin a version that has a wheel for every target in requirements.in, then: make lock",
        )
    return int(resolved[1])


def stale() -> list[str]:
    """Names of ``SOURCE_ONLY`` that have wheels after all."""
    pins = bootstrap.pinned()
    with tempfile.TemporaryDirectory(prefix="flowlake-lock-") as folder:
        asked = ("--dry-run", "--no-deps", "--only-binary", ":all:", "--target", folder)
        return [name for name in SOURCE_ONLY if name not in pins or _uv(*asked, f"{name}=={pins[name]}").returncode == 0]


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(bootstrap.VENV / "bin" / "uv"), "--no-progress", "pip", "install", "--python", str(bootstrap.PYTHON), *arguments]
    return subprocess.run(argv, env=bootstrap.certified(), capture_output=True, encoding="utf-8", errors="replace")


def _reason(stderr: str) -> str:
    """uv's own words, in one line: the last cause, or the error itself."""
    words = [line.strip() for line in stderr.splitlines()]
    telling = [line for line in words if line.startswith(("error:", "cause:", "Caused by:", "×", "╰"))]
    return one_line((telling or words or ["?"])[-1])


def main(arguments: list[str]) -> int:
    """Check every target, say each on standard error, print the table; exit code 7 when one lacks something."""
    parser = argparse.ArgumentParser(prog="make lock-check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--download", action="store_true", help="get every package and compare its hash (some GiB)")
    download = parser.parse_args(arguments).download
    rows, failed = [], 0
    targets = [(version, machine) for version in pythons.SUPPORTED for machine in pythons.MACHINES]
    for number, (version, machine) in enumerate(targets, 1):
        began = time.monotonic()
        target = f"Python {version[0]}.{version[1]}, {machine}"
        try:
            count = check(version, machine, download)
        except FlowlakeError as e:
            failed += 1
            print(f"error: {e}\n  {e.hint}", file=sys.stderr)
            rows.append(f"| {version[0]}.{version[1]} | {machine} | - | see above |")
            continue
        print(f"{number}/{len(targets)} {target}: {count} packages, {time.monotonic() - began:.0f} s", file=sys.stderr)
        source = ", ".join(SOURCE_ONLY)
        rows.append(f"| {version[0]}.{version[1]} | {machine} | {count - len(SOURCE_ONLY)} | {source} |")
    for name in stale():
        failed += 1
        print(f"error: {name} has wheels, or is no longer pinned\n  take it out of SOURCE_ONLY in infra/lockcheck.py", file=sys.stderr)
    print("\n".join(["| Python | processor | wheels | from source |", "|---|---|---|---|", *rows]))
    return StackError.exit_code if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
