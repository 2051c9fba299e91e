"""How a command ends when nobody reads what it says, when there is no room for it, and when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # a process each

FLOWLAKE = [sys.executable, "-m", "ops.cli.main"]
COMMANDS = (["--help"], ["config", "show", "--json"], ["sql", "--help"], ["sql", "select 1"], ["sql", "--format", "csv", "select 1"])


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_nobody_reads(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*FLOWLAKE, *words], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_failure_that_nobody_reads_stays_one() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*FLOWLAKE, "nonsense"], stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (done.returncode, done.stdout) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device of Linux that has no room")
def test_no_room_for_what_is_said() -> None:
    with open("/dev/full", "wb") as full:
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run([*FLOWLAKE, "--version"], stdout=full, stderr=subprocess.PIPE, env=buffered, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[0] == f"error: standard output cannot be written: {os.strerror(28)}"
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["yaml", "pydantic", "infra.sources", "typer", "ops.cli.config"])
def test_ctrl_c_while_it_is_imported(module: str) -> None:
    """At the moment at which a module is looked for: some before the command's own code, some within it."""
    program = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from ops.cli.main import main\n"
        "main(['config', 'show'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"interrupted\n")


def test_importing_the_command_changes_no_signal_of_a_program() -> None:
    program = "import signal; from ops.cli import main; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"True\n"
    ignored = subprocess.run(
        [sys.executable, "-c", program.replace("default_int_handler", "SIG_IGN")],
        capture_output=True,
        check=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert ignored.stdout == b"True\n"
