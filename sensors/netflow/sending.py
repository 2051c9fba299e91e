"""Datagrams on their way to a collector: over UDP, or into a capture file from which they can be replayed."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from infra.errors import ConfigError
from sensors.packets.frames import FrameBatch
from sensors.packets.pcapwriter import PcapWriter
from sensors.packets.protocols import ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_UDP

#: Source port, and addresses of network cards (locally administered), in files.
_PORT = 40_000
_CARDS = bytes.fromhex("020000000002020000000001")
_TTL = 64
#: Frames that are written at once.
_AT_ONCE = 512
#: While the system has no room for a datagram.
_PAUSE_S = 0.001
#: Sleeps are longer than asked for: so much of the time lost is made good.
_BURST_S = 0.01


class DatagramSink(Protocol):
    """Takes datagrams, in order; a context manager.

    ``refused`` counts those of which the receiver's machine said that nobody listens.
    """

    refused: int

    def send(self, payload: bytes, exported_us: int) -> None:
        """Take one, exported at that time (us since the epoch)."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class UdpSender:
    """Sends to one address and port.

    Raises
    ------
    ConfigError
        There is no way there, or a datagram is too long for it.
    """

    def __init__(self, address: str, port: int) -> None:
        family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
        self.refused = 0
        self._where = f"{address} port {port}"
        self._raw = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._raw.connect((address, port))
        except OSError as e:
            self._raw.close()
            raise ConfigError(f"--to {self._where}: {e.strerror}", "name an address that this machine can reach") from e

    def send(self, payload: bytes, exported_us: int) -> None:
        """Send one now; where the system has no room for it, when it has."""
        while True:
            try:
                self._raw.send(payload)
                return
            except ConnectionRefusedError:  # said of one before: this one was not sent
                self.refused += 1
            except OSError as e:
                if e.errno not in (errno.ENOBUFS, errno.EAGAIN):
                    raise ConfigError(f"sending to {self._where}: {e.strerror}", "see ip route, and the size of the datagrams") from e
                time.sleep(_PAUSE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._raw.close()


class DatagramFile:
    """Writes datagrams into a pcap file, as they would be seen on an Ethernet.

    Parameters
    ----------
    path
        The file; it appears when it is whole.
    source, target
        Addresses, of one IP version.
    port
        That they are sent to.

    Raises
    ------
    CaptureError
        It cannot be written.
    """

    def __init__(self, path: Path, source: str, target: str, port: int) -> None:
        self.refused = 0
        self._ends = (ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed)
        self._port = port
        self._frames: list[bytes] = []
        self._moments: list[int] = []
        self._writer = PcapWriter(path)

    def send(self, payload: bytes, exported_us: int) -> None:
        """Write one, at its time."""
        self._frames.append(_framed(payload, *self._ends, self._port))
        self._moments.append(exported_us * 1000)
        if len(self._frames) == _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._writer.write(FrameBatch.from_frames(self._frames, self._moments))
        self._frames, self._moments = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._writer.__exit__(kind, error, trace)


def _framed(payload: bytes, source: bytes, target: bytes, port: int) -> bytes:
    """An Ethernet frame with a UDP datagram (RFC 768), in IPv4 (RFC 791) or IPv6 (RFC 8200), with checksums."""
    size = 8 + len(payload)
    ends = source + target
    udp = struct.pack(">HHHH", _PORT, port, size, 0)
    check = _checksum(ends + struct.pack(">II", size, IPPROTO_UDP) + udp + payload) or 0xFFFF
    datagram = udp[:6] + struct.pack(">H", check) + payload
    if len(source) == 16:
        head = struct.pack(">IHBB", 6 << 28, size, IPPROTO_UDP, _TTL) + ends
        return _CARDS + struct.pack(">H", ETHERTYPE_IPV6) + head + datagram
    bare = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, _TTL, IPPROTO_UDP, 0) + ends
    head = bare[:10] + struct.pack(">H", _checksum(bare)) + bare[12:]
    return _CARDS + struct.pack(">H", ETHERTYPE_IPV4) + head + datagram


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class SendPace:
    """When each datagram is due: by its own time, and never more than so many a second.

    Parameters
    ----------
    speed
        Multiple of the datagrams' own times; 0: as fast as ``rate`` allows.
    rate
        Datagrams a second, at most.
    stop
        Ends the waiting.
    """

    def __init__(self, speed: float, rate: float, stop: threading.Event) -> None:
        self._speed, self._gap_s = speed, 1 / rate
        self._stop = stop
        self._free_at = time.monotonic()
        self._began: tuple[int, float] | None = None  # a datagram's own time, and ours

    def begin(self) -> None:
        """What follows has times that do not go on from those before."""
        self._began = None

    def wait(self, exported_us: int) -> bool:
        """Wait until a datagram of that time is due; False: it was stopped."""
        now = time.monotonic()
        if self._began is None:
            self._began = (exported_us, now)
        first_us, began = self._began
        own = began + (exported_us - first_us) / 1e6 / self._speed if self._speed else now
        due = max(own, self._free_at)
        # what could not be sent in time is caught up with in a short burst only
        self._free_at = max(due, now - _BURST_S) + self._gap_s
        return not self._stop.wait(due - now) if due > now else not self._stop.is_set()
