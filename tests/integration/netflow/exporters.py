"""Programs of others: where they are, a receiver for what they export, and captures whose truth is known."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from infra.config import load
from jobs.flowexport.columns import FlowColumns
from jobs.flowexport.datagrams import DatagramBatch, address16
from jobs.flowexport.decoder import decode
from jobs.flowexport.session import ExportSessions
from jobs.sources.netflow.exporting import ExportJob, ExportOptions
from sensors.generate import TrafficGenerator, preset
from sensors.netflow.sending import SendPace, UdpSender
from sensors.packets.capture import CaptureReader
from sensors.packets.decode import decode as decode_frames
from sensors.packets.files import Found
from sensors.packets.pcapwriter import PcapWriter
from tests.unit.flowexport.exported import ICMP, FlowKey

#: A folder with programs, or one into which Debian packages were unpacked.
FOLDER = "FLOWLAKE_EXPORTERS"
#: Looked up once: tests take away what may be settings.
UNPACKED = os.environ.get(FOLDER, "")
_PLACES = (".", "bin", "usr/bin", "usr/sbin", "usr/lib/openvswitch-switch", "usr/share/openvswitch/scripts")
_LIBRARIES = ("lib", "usr/lib", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu")
_SO_RCVBUFFORCE = 33
_BUFFER = 64 << 20


def program(name: str, how: str = "") -> str:
    """A program of another project; the test is skipped where there is none. ``how``: to get it, if it is no Debian package."""
    places = [str(Path(UNPACKED, place)) for place in _PLACES] if UNPACKED else []
    found = shutil.which(name, path=os.pathsep.join([*places, os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/openvswitch-switch"]))
    if found is None:
        package = {"nfcapd": "nfdump", "nfreplay": "nfdump", "pmacctd": "pmacct"}.get(name, name)
        unpacked = f"or apt-get download {package}; dpkg -x {package}_*.deb DIR; {FOLDER}=DIR"
        pytest.skip(f"the program {name} is not there: {how or f'apt install {package}, {unpacked}'}")
    return found


def environment() -> dict[str, str]:
    """Where programs of unpacked packages find their libraries."""
    libraries = os.pathsep.join([*(str(Path(UNPACKED, place)) for place in _LIBRARIES if UNPACKED), os.environ.get("LD_LIBRARY_PATH", "")])
    return os.environ | {"LD_LIBRARY_PATH": libraries.strip(os.pathsep)}


def run(*words: str | Path, timeout: float = 60) -> str:
    """What a program says; it must succeed."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=timeout, env=environment(), check=False)
    assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def running(*words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs until the end of the block, and gets SIGTERM then."""
    process = subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(done: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is so."""
    for _ in range(400):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError(otherwise)


def until_bound(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens on a UDP port of this machine."""
    until(lambda: bool(_sockets(port)) or process.poll() is not None, f"nobody listens on port {port}")
    assert process.poll() is None, "the collector ended"


def until_read(port: int) -> None:
    """Wait until whoever listens on a UDP port has taken everything from the kernel."""
    until(lambda: all(line.split()[4].endswith(":00000000") for line in _sockets(port)), f"datagrams wait on port {port}")


def _sockets(port: int) -> list[str]:
    lines = [line for file in ("udp", "udp6") for line in Path("/proc/net", file).read_text().splitlines()[1:]]
    return [line for line in lines if int(line.split()[1].rpartition(":")[2], 16) == port]


class Receiver:
    """A collector's socket: everything that was sent to it is there when the sender has ended."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((address, 0))
        self.address, self.port = self._socket.getsockname()
        self.payloads: list[bytes] = []
        self.sessions = ExportSessions()

    def take(self, patience_s: float = 0.3) -> list[bytes]:
        """What has come, until nothing comes for so long."""
        self._socket.settimeout(patience_s)
        try:
            while True:
                self.payloads.append(self._socket.recv(65_536))
        except TimeoutError:
            return self.payloads

    def flows(self, received_s: float | None = None) -> FlowColumns:
        """The records of what has come; nothing may be wrong with it."""
        moment = int((time.time() if received_s is None else received_s) * 1e6)
        batch = DatagramBatch.of((p, address16("127.0.0.1"), 2055, moment) for p in self.take())
        pieces = list(decode(batch, self.sessions))
        assert [r for piece in pieces for r in piece.rejected] == []
        assert len(pieces) == 1, "one piece, and something in it"
        return pieces[0].flows

    @property
    def lost(self) -> int:
        return sum(account["lost"] for _, account in self.sessions.accounts())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()


def make_capture(path: Path, seconds: float = 4, seed: int = 21) -> Path:
    """A capture of generated traffic: IPv4 and IPv6, TCP, UDP and ICMP, attacks among it."""
    with PcapWriter(path) as writer:
        for frames in TrafficGenerator(preset("demo", seed=seed, duration_s=seconds)):
            writer.write(frames)
    return path


def of_frames(path: Path, without: int) -> Counter[tuple[FlowKey, str]]:
    """A plain count: packets, and bytes of the frames but for the first ``without``, padding among them; as some exporters have it."""
    found: Counter[tuple[FlowKey, str]] = Counter()
    for frames in CaptureReader(path, 65_535):
        packets, reasons = decode_frames(frames.data, frames.offsets, frames.ts, frames.wire_len, frames.link_type)
        assert not reasons.any()
        for packet, size in zip(packets, frames.wire_len.tolist(), strict=True):
            six = packet["ipver"] == 6
            ends = []
            for end in ("src", "dst"):
                value = int(packet[f"{end}_hi"]) << 64 | int(packet[f"{end}_lo"])
                ends.append(str(ipaddress.IPv6Address(value) if six else ipaddress.IPv4Address(value)))
            proto = int(packet["proto"])
            ports = (0, 0) if proto in ICMP else (int(packet["sport"]), int(packet["dport"]))
            key = (proto, ends[0], ports[0], ends[1], ports[1])
            found[key, "packets"] += 1
            found[key, "bytes"] += size - without
    return found


def totals(flows: FlowColumns, *, scaled: bool = False) -> tuple[int, int]:
    """Packets and bytes of all records, both of their directions."""
    if scaled:
        return int(flows["scaled_packets"].sum()), int(flows["scaled_bytes"].sum())
    packets, size = (int(flows[name].sum() + flows[f"reverse_{name}"].sum()) for name in ("packets", "bytes"))
    return packets, size


def truth(counted: Counter[tuple[FlowKey, str]]) -> tuple[int, int]:
    """Packets and bytes, as the meter says them."""
    packets, size = (sum(n for (_, what), n in counted.items() if what == name) for name in ("packets", "bytes"))
    return packets, size


def near(estimate: float, packets: int, every: int, variation: float = 0.0) -> bool:
    """Whether a scaled total is what the sample allows.

    Of ``packets`` one of ``every`` is taken at random: the number taken has a variance of at most n (1 - p) / N, and the estimate a
    relative standard error of sqrt((1 - p) / (n p)), more for bytes by their coefficient of ``variation``. Four of them are allowed: a
    sampler that is right fails once in 16,000 runs.
    """
    p = 1 / every
    error = np.sqrt((1 - p + variation**2) / (packets * p))
    return bool(abs(estimate / packets - 1) <= 4 * error)


def export(capture: Path, port: int, options: ExportOptions) -> dict[str, Any]:
    """Send a capture's flows to a collector; what was sent."""
    stop = threading.Event()
    job = ExportJob(Found([capture]), options, load(None), stop)
    with UdpSender("127.0.0.1", port) as sender:
        job.run(sender, SendPace(0.0, 5000.0, stop))
        assert sender.refused == 0
    return job.summary(0.0, 0)
