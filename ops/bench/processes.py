"""Running one command and measuring it: wall clock, CPU seconds, peak memory, of its whole process tree."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.errors import StackError
from ops.harness.memory import family, tree_mb


@dataclass(frozen=True)
class Measured:
    """What a command took and said. ``processes``: the most that lived at once."""

    seconds: float
    cpu_seconds: float
    peak_mb: int
    processes: int
    said: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Without what it said."""
        return {
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "peak_mb": self.peak_mb,
            "processes": self.processes,
        }


def flowlake(*arguments: str | Path) -> list[str]:
    """The command line of ``flowlake`` in this environment."""
    return [str(Path(sys.executable).with_name("flowlake")), *map(str, arguments)]


def measure(command: Sequence[str], env: Mapping[str, str] | None = None) -> Measured:
    """Run ``command``, whose last line on standard output is JSON.

    Memory is the proportional set size of the tree, looked at ten times a second.

    Raises
    ------
    StackError
        It failed; with its last line.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(env) if env else None)
    peak, count, cpu = 0, 1, {process.pid: 0.0}
    done = threading.Event()

    def watch() -> None:
        nonlocal peak, count
        while not done.wait(0.1):
            members = family(process.pid)
            for member in members:
                try:
                    times = member.cpu_times()
                    cpu[member.pid] = times.user + times.system
                except psutil.Error:
                    continue
            peak, count = max(peak, *tree_mb({"": process.pid}).values()), max(count, len(members))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    out, err = process.communicate()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    if process.returncode:
        last = (err.strip().splitlines() or ["no message"])[-1]
        raise StackError(f"{' '.join(map(str, command[:4]))} ... ended with {process.returncode}: {last}")
    lines = [line for line in out.splitlines() if line.startswith("{")]
    return Measured(seconds, sum(cpu.values()), peak, count, json.loads(lines[-1]) if lines else {})
