"""Peers of what is measured: environments of their own, from lock files of their own; no dependencies of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.errors import StackError, one_line
from ops.bench.processes import Measured, measure

LOCK = Path(__file__).with_name("nfstream.lock")

#: Meters the capture file argv[1] with argv[2] meter processes and the timeouts argv[3], argv[4] (s); flows are counted, not written.
#: ``splt_analysis`` and dissection are off: both are work that nobody asked for here.
_PROGRAM = """
import json, sys
from nfstream import NFStreamer
if __name__ == "__main__":
    flows = packets = 0
    for flow in NFStreamer(
        source=sys.argv[1], n_meters=int(sys.argv[2]), idle_timeout=int(float(sys.argv[3])), active_timeout=int(float(sys.argv[4])),
        statistical_analysis=True, n_dissections=0, accounting_mode=3,
    ):
        flows += 1
        packets += flow.bidirectional_packets
    print(json.dumps({"flows": flows, "packets": packets}))
"""


def environment(folder: Path, lock: Path = LOCK) -> Path:
    """Python of an environment below ``folder`` with what ``lock`` names (NFStream), made when it is not there.

    Raises
    ------
    StackError
        It cannot be had.
    """
    python = folder / "bin" / "python"
    stamp = folder / "lock"
    if python.is_file() and stamp.is_file() and stamp.read_text() == lock.read_text():
        return python
    uv = Path(sys.executable).with_name("uv")
    env = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", **os.environ}
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder],
        [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock],
    ):
        done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True)
        if done.returncode:
            said = one_line((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
            raise StackError(f"{lock.stem} cannot be installed into {folder}: {said}", "or measure with --no-peer")
    shutil.copy(lock, stamp)
    return python


def run(python: Path, capture: Path, idle_s: float, active_s: float, meters: int = 1) -> Measured:
    """Meter a capture file with NFStream."""
    program = python.parent.parent / "meter.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    return measure([str(python), str(program), str(capture), str(meters), str(idle_s), str(active_s)])
