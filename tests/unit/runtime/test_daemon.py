"""The process that Spark forks its Python workers from."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from infra.config import ROOT
from jobs.runtime import daemon


def test_everything_is_loaded_before_the_first_fork() -> None:
    """In a process of its own, as Spark starts it; a fork of it meters without importing anything."""
    code = """
import os, sys
from infra.sources import discover
from jobs.runtime import daemon
daemon.prepare(discover(("jobs.sources",)).sources)
before = set(sys.modules)
if os.fork() == 0:
    from jobs.sources.packets import warm
    from jobs.sources.packets.publish import publish
    good = warm.metering() > 0 and not {m for m in set(sys.modules) - before if m.split('.')[0] in ('pandas', 'pyarrow', 'numba', 'jobs')}
    os._exit(0 if good else 9)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    # From Python 3.12 on a fork beside native threads (Arrow's, which mind it) warns; Spark's own module forks, where it is not shown.
    python = [sys.executable, "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run([*python, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "Spark reads the daemon's port from its standard output"


def test_what_cannot_be_loaded_is_told_and_left_to_the_workers(capsys: pytest.CaptureFixture[str]) -> None:
    daemon.prepare((), ("no_such_module",))
    gc.unfreeze()
    told = capsys.readouterr()
    assert told.out == ""
    assert "workers start cold: ModuleNotFoundError: No module named 'no_such_module'" in told.err
