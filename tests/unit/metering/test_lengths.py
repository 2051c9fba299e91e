"""Lengths that a header leaves to the network card, and what a capture says of a frame's length: one reading for all ways in."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs.metering.digest import Digester, KafkaMessage
from jobs.metering.layout import Digest
from schemas.wire import CONTENT_JSON, Header
from sensors.packets.capture import CaptureReader
from sensors.packets.decode import MAX_WIRE, decode, flow_hashes
from sensors.packets.encoding import split
from sensors.packets.frames import FrameBatch, concat
from tests.fuzz.check import frame_faults
from tests.oracle.craft import ethernet, icmp, ip, tcp, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import ACK, TCP, UDP
from tests.unit.metering.cases import A, B, at
from tests.unit.metering.conftest import Metered
from tests.unit.metering.test_encapsulation import TEREDO
from tests.unit.sensors.packets import captures

P, Q = "2001:db8::1", "2001:db8::2"
T = 1_700_000_000 * 10**9


def open_length(packet: bytes) -> bytes:
    """The packet with its IP length left to the card."""
    place = 4 if packet[0] >> 4 == 6 else 2
    return packet[:place] + b"\0\0" + packet[place + 2 :]


def offloaded(proto: int, body: bytes, ends: tuple[str, str] = (P, Q)) -> bytes:
    return open_length(ip(*ends, proto, body))


@pytest.mark.parametrize("ends", [(A, B), (P, Q)], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("wire", [None, 500, 1514, 65_000, 65_549, 65_590, 100_074, MAX_WIRE])
def test_the_frame_says_how_long_a_packet_is_that_does_not(metered: Metered, ends: tuple[str, str], wire: int | None) -> None:
    frame = ethernet(offloaded(TCP, tcp(1, 2, ACK, 100), ends))
    (r,) = metered([Frame(at(0), frame[: 14 + 60], wire=wire or len(frame))])
    head = 14 + (20 if ends == (A, B) else 40) + 20
    assert (r["total_length_fwd_packets"], r["fwd_l3_bytes"]) == ((wire or len(frame)) - head, (wire or len(frame)) - 14)


@pytest.mark.parametrize("ends", [(A, B), (P, Q)], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize(("stated", "payload", "malformed"), [(0, 100, 0), (58, 50, 0), (108, 100, 0), (7, 100, 1), (109, 100, 1)])
def test_a_udp_length_is_left_out_together_with_that_of_ip(
    metered: Metered, ends: tuple[str, str], stated: int, payload: int, malformed: int
) -> None:
    (r,) = metered([Frame(at(0), ethernet(offloaded(UDP, udp(1, 2, 100, length=stated), ends)))])
    assert (r["total_length_fwd_packets"], r["malformed_packets"]) == (payload, malformed)


@pytest.mark.parametrize(("proto", "padding", "payload"), [(89, 0, 0), (89, 6, 0), (89, 7, 0), (89, 8, 8), (59, 6, 0), (59, 10, 0)])
def test_padding_is_no_payload_of_an_ipv6_packet_without_a_length(metered: Metered, proto: int, padding: int, payload: int) -> None:
    """60 bytes of Ethernet are six more than an IPv6 header; nothing follows "no next header", whatever stands there."""
    (r,) = metered([Frame(at(0), ethernet(ip(P, Q, proto, b""), pad=False) + b"\xee" * padding)])
    assert (r["protocol"], r["total_length_fwd_packets"], r["fwd_l3_bytes"]) == (proto, payload, 40 + payload)


def test_a_small_icmpv6_packet_without_a_length(metered: Metered) -> None:
    (r,) = metered([Frame(at(0), ethernet(offloaded(58, icmp(128, 0, 8))))])
    assert (r["icmp_type"], r["total_length_fwd_packets"], r["malformed_packets"]) == (128, 16, 0)


def jumbogram(body: bytes, length: int | None = None) -> bytes:
    """RFC 2675: payload length 0, and the true one, beyond 65,535, in a hop-by-hop option."""
    return open_length(ip(P, Q, 0, body, options=struct.pack("!BBBBI", UDP, 0, 0xC2, 4, length or 8 + len(body))))


@pytest.mark.parametrize(
    ("length", "counts"), [(65_536, 65_536), (MAX_WIRE, MAX_WIRE), (65_535, 1416), (MAX_WIRE + 1, 1416), (0xFFFFFFFF, 1416)]
)
def test_a_jumbogram_says_its_own_length(metered: Metered, length: int, counts: int) -> None:
    """What is no length of a jumbogram, or of anything that a card takes, is none."""
    frame = ethernet(jumbogram(udp(1, 2, 1400, length=0), length))
    (r,) = metered([Frame(at(0), frame[:192], wire=len(frame))])
    assert (r["total_length_fwd_packets"], r["fwd_l3_bytes"], r["malformed_packets"]) == (counts - 16, counts + 40, 0)


def over(packet: bytes, proto: int) -> bytes:
    return ethernet(ip("192.0.2.1", "192.0.2.2", proto, packet))


def teredo(packet: bytes, length: int | None = None) -> bytes:
    return ip("192.0.2.1", "192.0.2.2", UDP, udp(50000, 3544, packet, length))


SEGMENT = tcp(1, 2, ACK, 1400)
#: Frames in which the length of a packet, or of one around it, is the frame's.
OPEN: dict[str, bytes] = {
    "ipv4": ethernet(offloaded(TCP, SEGMENT, (A, B))),
    "ipv6": ethernet(offloaded(TCP, SEGMENT)),
    "ipv6, udp": ethernet(offloaded(UDP, udp(1, 2, 1400, length=0))),
    "ipv6, a fragment": ethernet(open_length(ip(P, Q, UDP, udp(1, 2, 1400), more=True, ident=3))),
    "ipv6 with an extension header": ethernet(open_length(ip(P, Q, 60, SEGMENT, options=bytes((TCP, 0)) + b"\0" * 6))),
    "a jumbogram": ethernet(jumbogram(udp(1, 2, 1400, length=0), 70_000)),
    "an option that is no length": ethernet(jumbogram(udp(1, 2, 1400, length=0))),
    "ipv6 in ipv4": over(offloaded(TCP, SEGMENT), 41),
    "ipv6 in ipv4, both": ethernet(open_length(ip("192.0.2.1", "192.0.2.2", 41, offloaded(TCP, SEGMENT)))),
    "ipv6 in gre": over(b"\0\0\x86\xdd" + offloaded(TCP, SEGMENT), 47),
    "vxlan over ipv6": ethernet(
        offloaded(UDP, udp(5, 4789, b"\x08\0\0\0\0\0\1\0" + ethernet(ip(A, B, TCP, SEGMENT)), 0), ("2001:db8::f1", "2001:db8::f2"))
    ),
    "teredo over ipv4": ethernet(open_length(teredo(ip(P, Q, TCP, SEGMENT)))),
    "teredo over ipv4, udp length left out": ethernet(open_length(teredo(ip(P, Q, TCP, SEGMENT), 0))),
    "teredo, all lengths left out": ethernet(open_length(teredo(offloaded(TCP, SEGMENT), 0))),
    "capwap over ipv4": ethernet(open_length(ip(A, B, UDP, udp(5247, 5247, b"\0\x10\0\0\0\0\0\0" + ethernet(offloaded(TCP, SEGMENT)), 0)))),
}


def batch(frames: list[bytes], wire: list[int], snaplen: int) -> FrameBatch:
    return FrameBatch.from_frames(frames, list(range(len(frames))), wire_len=wire, snaplen=snaplen)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPEN)
def test_no_snap_length_changes_a_packet_or_its_hash(name: str) -> None:
    """One reading at the sensor and at the meter, whatever was captured of the frame and whatever stood behind that."""
    frame = OPEN[name]
    for wire in (len(frame), 100_000):
        seen = set()
        for snaplen in range(60, len(frame) + 1, 7):
            b = batch([frame], [wire], snaplen)
            assert frame_faults([Frame(T, b.frame(0), 1, wire)]) == []
            packets, reasons = decode(b.data, b.offsets, b.ts, b.wire_len, b.link_type)
            (flow_hash,) = flow_hashes(b.data, b.offsets, b.wire_len, b.link_type)
            if reasons[0] == 0:
                seen.add(packets[0].tobytes())
                assert flow_hash == packets["flow_hash"][0]
        assert len(seen) == 1


INNER = ip("1.1.1.1", "2.2.2.2", UDP, udp(7, 8, 30))
#: Frames whose tunnel ends before the frame does, or whose headers a snap length may hide; and the tunnel of the packet that counts.
EDGES: dict[str, tuple[bytes, int]] = {
    "vxlan without anything in it, then a trailer": (ethernet(ip(A, B, UDP, udp(5, 4789, b"\x08" + b"\0" * 7))) + ethernet(INNER), 0),
    "gre without anything in it, then a trailer": (ethernet(ip(A, B, 47, b"\0\0\x08\0"), pad=False) + INNER, 0),
    "4in4, cut short by its outer length, then a trailer": (ethernet(ip(A, B, 4, INNER[:16]), pad=False) + INNER[16:], 0),
    "gtp-u without anything in it, then a trailer": (
        ethernet(ip(A, B, UDP, udp(2152, 2152, b"\x30\xff\0\0\0\0\0\1")), pad=False) + INNER,
        0,
    ),
    "capwap without anything in it, then a trailer": (
        ethernet(ip(A, B, UDP, udp(5247, 5247, b"\0\x10\0\0\0\0\0\0")), pad=False) + ethernet(INNER),
        0,
    ),
    **{
        f"teredo {name}, {len(options)} bytes of options": (
            ethernet(ip(A, B, UDP, udp(50000, 3544, head + ip(P, Q, TCP, SEGMENT)), options=options)),
            9,
        )
        for name, head in TEREDO.items()
        for options in (b"", b"\1" * 40)
    },
}


@pytest.mark.parametrize("name", EDGES)
def test_a_tunnel_ends_where_its_packet_ends_at_every_snap_length(name: str) -> None:
    frame, tunnel = EDGES[name]
    seen = set()
    for snaplen in range(34, len(frame) + 1):
        b = batch([frame], [len(frame)], snaplen)
        assert frame_faults([Frame(T, b.frame(0), 1, len(frame))]) == []
        packets, reasons = decode(b.data, b.offsets, b.ts, b.wire_len, b.link_type)
        if reasons[0] == 0:
            seen.add(packets[0].tobytes())
            assert packets[0]["tunnel"] == tunnel
    assert len(seen) == 1


def digested(frames: FrameBatch, of: Callable[[FrameBatch], list[KafkaMessage]]) -> np.ndarray:
    digester = Digester(4, 2 * 10**9)
    for message in of(frames):
        digester.add(message)
    assert not digester.refused
    found = [Digest.decode(blob).packets for _, blob in digester.finish()]
    for b, packets in enumerate(found):
        assert (packets["flow_hash"] % 4 == b).all()
    packets = np.concatenate(found)
    return packets[np.argsort(packets["ts"])]


def arrow_messages(frames: FrameBatch) -> list[KafkaMessage]:
    out = []
    for seq, (partition, value, _) in enumerate(split(frames, 3)):
        headers = {Header.SENSOR: "s", Header.RUN: "1", Header.CLOCK: "0", Header.PARTITIONS: "3", Header.SEQ: str(seq)}
        headers[Header.CONTENT_TYPE] = "application/vnd.flowlake.packets+arrow; v=1"
        out.append(KafkaMessage(value, {k: v.encode() for k, v in headers.items()}, partition, seq, 0))
    return out


def json_messages(frames: FrameBatch) -> list[KafkaMessage]:
    out = []
    for i in range(len(frames)):
        value = {"timestamp": i / 1e9, "raw_bytes": frames.frame(i).hex(), "wire_len": int(frames.wire_len[i])}
        out.append(KafkaMessage(json.dumps(value).encode(), {Header.CONTENT_TYPE: CONTENT_JSON.encode()}, 0, i, 0))
    return out


@pytest.mark.parametrize("stated", [0, 1, 60, 1000, MAX_WIRE + 1, 0xFFFFFFFF])
@pytest.mark.parametrize("messages", [arrow_messages, json_messages])
def test_more_captured_than_stated_is_what_there_was(stated: int, messages: Callable[[FrameBatch], list[KafkaMessage]]) -> None:
    """Also in messages of sensors that pass on what a capture says."""
    frames = list(OPEN.values())
    right = batch(frames, [len(f) for f in frames], 65_535)
    wrong = batch(frames, [stated] * len(frames), 65_535)
    packets, reasons = decode(wrong.data, wrong.offsets, wrong.ts, wrong.wire_len, wrong.link_type)
    assert not reasons.any()
    for name in ("payload", "l3_bytes", "malformed", "flow_hash", "tunnel"):
        assert (digested(wrong, messages)[name] == packets[name]).all(), name
        assert (digested(right, messages)[name] == packets[name]).all(), name
    assert (flow_hashes(wrong.data, wrong.offsets, wrong.wire_len, wrong.link_type) == packets["flow_hash"]).all()


def captured_as(stated: int, data: bytes) -> dict[str, bytes]:
    """One frame in a file of every kind, its original length overwritten."""
    n, wrong = struct.pack("<I", len(data)), struct.pack("<I", stated)
    out = {}
    for kind in ("us", "ns", "modified"):
        out[f"pcap {kind}"] = captures.pcap([(T, data)], kind, "<", 1)
    out["pcapng"] = captures.section("<") + captures.interface(1, "<", [], 0) + captures.enhanced(T // 1000, data, "<", 0, b"")
    out["pcapng, obsolete block"] = captures.section("<") + captures.interface(1, "<", [], 0) + captures.obsolete(T // 1000, data, "<", 0)
    for name, body in out.items():
        at = body.rindex(data[:20]) - (12 if name == "pcap modified" else 4)
        assert name == "pcap modified" or body[at - 4 : at] == n
        out[name] = body[:at] + wrong + body[at + 4 :]
    return out


@pytest.mark.parametrize("stated", [0, 60, MAX_WIRE + 1, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", captured_as(0, OPEN["ipv4"]))
def test_a_capture_is_read_with_the_longer_length_before_it_is_cut(tmp_path: Path, kind: str, stated: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(captured_as(stated, OPEN["ipv4"])[kind])
    for snaplen in (64, 65_535):
        frames = concat(list(CaptureReader(path, snaplen)))
        assert frames.wire_len.tolist() == [len(OPEN["ipv4"])]
        packets, reasons = decode(frames.data, frames.offsets, frames.ts, frames.wire_len, frames.link_type)
        assert (reasons.tolist(), packets["payload"].tolist()) == ([0], [1400])


def test_a_record_longer_than_it_says_is_metered(metered: Metered) -> None:
    (r,) = metered([Frame(at(0), OPEN["ipv6"], wire=60)])
    assert (r["total_length_fwd_packets"], r["fwd_header_length"]) == (1400, 20)
