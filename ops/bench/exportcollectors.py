"""Collectors of others, nfcapd and goflow2, beside the decoder of flow export: the same datagrams, over UDP, CPU seconds of their process.

They also receive and write what they decoded, which the decoder alone does not. Datagrams are sent only as fast as they are taken.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import StackError
from infra.process import free_port

#: Datagrams that are sent before the kernel's queue is looked at, and bytes that may wait in it.
_BURST, _MOST_WAITING = 16, 64 << 10
_PATIENCE_S, _LOOK_S = 30.0, 0.1


@dataclass(frozen=True)
class PeerCollector:
    """A collector: its command line for a port and a folder, and how to count what it wrote there."""

    name: str
    protocols: frozenset[str]
    command: Callable[[str, int, Path], list[str]]
    count: Callable[[Path], int]
    fewer: int = 1  # one of so many datagrams is enough for one so slow

    @property
    def program(self) -> str | None:
        """Where it is; None: it is not there."""
        return shutil.which(self.name)


def _nfcapd(program: str, port: int, folder: Path) -> list[str]:
    return [program, "-w", str(folder), "-p", str(port), "-b", "127.0.0.1", "-B", str(8 << 20), "-t", "3600"]


def _nfcapd_flows(folder: Path) -> int:
    said = "".join(
        subprocess.run(["nfdump", "-r", str(file), "-I"], capture_output=True, text=True, check=False).stdout
        for file in folder.glob("nfcapd.*")
    )
    return sum(int(n) for n in re.findall(r"^Flows: (\d+)", said, re.MULTILINE))


def _goflow2(program: str, port: int, folder: Path) -> list[str]:
    listen = f"netflow://127.0.0.1:{port}?count=1&workers=1&blocking=true,sflow://127.0.0.1:{port + 1}?count=1&workers=1&blocking=true"
    out = ["-format", "bin", "-transport", "file", "-transport.file", str(folder / "flows"), "-transport.file.sep", ""]
    return [program, "-listen", listen, *out, "-addr", f"127.0.0.1:{free_port()}"]


def _goflow2_flows(folder: Path) -> int:
    """Messages of protobuf, each behind its length as a varint."""
    content, at, found = (folder / "flows").read_bytes(), 0, 0
    while at < len(content):
        size = shift = 0
        while True:
            byte = content[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        at += size
        found += 1
    return found


COLLECTORS = (
    PeerCollector("nfcapd", frozenset({"v5", "v9", "IPFIX"}), _nfcapd, _nfcapd_flows),
    PeerCollector("goflow2", frozenset({"v5", "v9", "IPFIX", "sFlow"}), _goflow2, _goflow2_flows, 10),
)


def measure_collector(peer: PeerCollector, protocol: str, payloads: Sequence[bytes]) -> tuple[int, float]:
    """Records that a collector wrote of some datagrams, and CPU seconds that it took for them.

    Raises
    ------
    StackError
        It is not there, or ended, or does not take them.
    """
    if peer.program is None:
        raise StackError(f"the program {peer.name} is not there", "install it, or leave it out")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        process = subprocess.Popen(peer.command(peer.program, port, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            to = port + (protocol == "sFlow" and peer.name == "goflow2")
            _until(lambda: _waiting(to) is not None, f"{peer.name} does not listen", process)
            before = _cpu_s(process.pid)
            _send(payloads, to, process)
            _until(lambda: _waiting(to) == 0, f"{peer.name} does not take datagrams", process)
            _settle(process.pid)
            cpu_s = _cpu_s(process.pid) - before
        finally:
            process.terminate()
            process.wait()
        return peer.count(folder), cpu_s


def _send(payloads: Sequence[bytes], port: int, process: subprocess.Popen[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        for i, payload in enumerate(payloads):
            if i % _BURST == 0:
                _until(lambda: (_waiting(port) or 0) < _MOST_WAITING, "datagrams wait", process, 0.001)
            out.send(payload)


def _until(done: Callable[[], bool], otherwise: str, process: subprocess.Popen[bytes], look_s: float = _LOOK_S) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not done():
        if process.poll() is not None or time.monotonic() > end:
            raise StackError(f"{otherwise}; it ended with {process.poll()}")
        time.sleep(look_s)


def _waiting(port: int) -> int | None:
    """Bytes that wait in the kernel for whoever listens on a UDP port of this machine; None: nobody does."""
    found = None
    for file in ("/proc/net/udp", "/proc/net/udp6"):
        for line in Path(file).read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port:
                found = (found or 0) + int(words[4].rpartition(":")[2], 16)
    return found


def _cpu_s(pid: int) -> float:
    """Seconds that its threads were on a CPU; to the nanosecond, where the times of the process count in hundredths."""
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _settle(pid: int) -> None:
    """Wait until a process does nothing any more."""
    last = -1.0
    while (now := _cpu_s(pid)) > last:
        last = now
        time.sleep(5 * _LOOK_S)
