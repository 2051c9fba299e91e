"""Datagrams out of capture files, and their replay."""

from __future__ import annotations

import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from infra.errors import CaptureError
from schemas.rawflows import RawDatagram
from sensors.netflow.recorded import RecordedDatagrams
from sensors.netflow.replaying import ReplayPace, replay
from tests.unit.sensors.netflow.senders import DATA, NOW_US, ipfix, sender, some
from tests.unit.sensors.packets.captures import enhanced, interface, pcap, section

PORTS = (2055, 4739)
PAYLOAD = ipfix(7, DATA)
ETHERNET = bytes(12)
SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::7")


def udp(payload: bytes, port: int = 4739, source: int = 50_000) -> bytes:
    return struct.pack(">HHHH", source, port, len(payload) + 8, 0) + payload


def ipv4(content: bytes, options: bytes = b"", fragment: int = 0, protocol: int = 17) -> bytes:
    size = 20 + len(options)
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return struct.pack(">BBHHHBBH", 0x40 | size // 4, 0, size + len(content), 1, fragment, 64, protocol, 0) + addresses + options + content


def ipv6(content: bytes, hops: bytes = b"") -> bytes:
    """``hops``: a hop-by-hop header."""
    return struct.pack(">IHBB", 6 << 28, len(hops) + len(content), 0 if hops else 17, 64) + SIX + SIX + hops + content


def recorded(tmp_path: Path, content: bytes) -> tuple[list[RawDatagram], RecordedDatagrams]:
    file = tmp_path / "export.pcap"
    file.write_bytes(content)
    source = RecordedDatagrams(file, PORTS)
    return list(source), source


V4, V6, TAG = b"\x08\x00", b"\x86\xdd", b"\x81\x00\x00\x05"
FRAMES = [
    ETHERNET + V4 + ipv4(udp(PAYLOAD)),
    ETHERNET + V4 + ipv4(udp(b"x")) + bytes(17),  # filled up to the least length of a frame
    ETHERNET + TAG + V4 + ipv4(udp(PAYLOAD), options=bytes([1, 1, 1, 0])),
    ETHERNET + TAG + TAG + V6 + ipv6(udp(PAYLOAD)),
    ETHERNET + V6 + ipv6(udp(PAYLOAD), hops=bytes([17, 0, 1, 4, 0, 0, 0, 0])),
]


@pytest.mark.parametrize("frame", FRAMES, ids=["plain", "padded", "vlan-options", "qinq-ipv6", "hop-by-hop"])
def test_a_datagram_wherever_it_lies(tmp_path: Path, frame: bytes) -> None:
    (got,), source = recorded(tmp_path, pcap([(NOW_US * 1000, frame)]))
    assert got.payload == (b"x" if frame is FRAMES[1] else PAYLOAD)
    assert (got.sender, got.port, got.listening) == (SIX if V6 in frame[:24] else sender(1), 50_000, 4739)
    assert (got.received_us, got.kept_of) == (NOW_US, 1)
    assert source.counts == {"packets": 1, "datagrams": 1}
    assert source.problem == ""


def test_raw_ip_in_pcapng(tmp_path: Path) -> None:
    content = section() + interface(link=101) + enhanced(NOW_US, ipv4(udp(PAYLOAD, 2055))) + enhanced(NOW_US, ipv6(udp(PAYLOAD)))
    (first, second), _ = recorded(tmp_path, content)
    assert (first.listening, second.listening) == (2055, 4739)
    assert first.payload == second.payload == PAYLOAD
    assert second.sender == SIX


def test_what_is_no_whole_datagram_to_these_ports_is_counted(tmp_path: Path) -> None:
    frames = [
        FRAMES[0],
        ETHERNET + V4 + ipv4(udp(PAYLOAD, 53)),
        ETHERNET + V4 + ipv4(struct.pack(">HHIIBBHHH", 1, 4739, 0, 0, 0x50, 2, 0, 0, 0), protocol=6),
        ETHERNET + V4 + ipv4(udp(PAYLOAD), fragment=0x2000),
        FRAMES[0][:50],  # by a snap length
        ETHERNET + b"\x08\x06" + bytes(28),
    ]
    got, source = recorded(tmp_path, pcap([(NOW_US * 1000 + i, frame) for i, frame in enumerate(frames)]))
    assert [d.payload for d in got] == [PAYLOAD]
    assert source.counts == {"packets": 6, "datagrams": 1, "fragments": 1, "cut": 1}


def test_a_damaged_file_gives_what_is_whole(tmp_path: Path) -> None:
    whole = pcap([(NOW_US * 1000 + i, FRAMES[0]) for i in range(3)])
    got, source = recorded(tmp_path, whole[:-5])
    assert len(got) == 2
    assert "ends within a record" in source.problem


def test_no_capture(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"export\.pcap"):
        recorded(tmp_path, b"no capture at all, and long enough")


def test_as_recorded_and_flat_out() -> None:
    sent = some(3000, step_us=1000)
    batches = list(replay(sent, ReplayPace(speed=0)))
    assert [d for batch in batches for d in batch] == sent
    assert len(batches) == 30


def test_several_times_over(tmp_path: Path) -> None:
    file = tmp_path / "export.pcap"
    file.write_bytes(pcap([(NOW_US * 1000 + i * 10**9, FRAMES[0]) for i in range(3)]))
    came = [d for batch in replay(RecordedDatagrams(file, PORTS), ReplayPace(speed=0, times=3)) for d in batch]
    assert [d.received_us - NOW_US for d in came] == [i * 1_000_000 for i in range(9)]
    assert {d.payload for d in came} == {PAYLOAD}


def test_shifted_to_now() -> None:
    now = time.time_ns() // 1000
    came = [d for batch in replay(some(3, step_us=1_000_000), ReplayPace(speed=0, times=2, shift_to_now=True)) for d in batch]
    assert 0 <= came[0].received_us - now < 60_000_000
    assert [d.received_us - came[0].received_us for d in came] == [i * 1_000_000 for i in range(6)]


def test_at_a_pace() -> None:
    began = time.monotonic()
    came = [(time.monotonic() - began, d) for batch in replay(some(11, step_us=200_000), ReplayPace(speed=10)) for d in batch]
    assert len(came) == 11
    assert all(at >= (d.received_us - NOW_US) / 10e6 - 0.001 for at, d in came)  # never before it is due


def test_out_of_order_as_recorded() -> None:
    sent = [d for i in (5, 1, 3, 2, 4) for d in some(1, at_us=NOW_US + i * 1_000_000)]
    assert [d for batch in replay(sent, ReplayPace(speed=0)) for d in batch] == sent


def test_stopped() -> None:
    stop = threading.Event()
    came = []
    for batch in replay(some(3, step_us=3_600_000_000), ReplayPace(), stop):
        came += batch
        threading.Timer(0.05, stop.set).start()
    assert len(came) == 1


@pytest.mark.parametrize("wrong", [{"speed": -1.0}, {"speed": float("nan")}, {"times": 0}])
def test_a_pace_that_is_none(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"negative|not once"):
        ReplayPace(**wrong)  # type: ignore[arg-type]
