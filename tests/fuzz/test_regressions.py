"""What damaged bytes have brought to light, by the bytes."""

from __future__ import annotations

import numpy as np
import pytest

from sensors.packets.decode import decode
from tests.fuzz.check import by_product, file_faults, frame_faults, record_faults
from tests.oracle.craft import ethernet, ip, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import UDP
from tests.unit.metering.cases import at, of

#: What it is about, link type, frame, and what becomes of it: the reason of its rejection, or protocol, payload and tunnel.
FRAMES: list[tuple[str, int, str, str]] = [
    (
        "IP under its own LLC service access point",
        1,
        "020000000001020000000002002b0606034500002800000000400600000a0000010a000002000100020000000100000001501003e800000000",
        "6 0",
    ),
    (
        "a SNAP number of another organisation's making is no EtherType",
        1,
        "0200000000010200000000020030aaaa0300000c08004500002800000000400600000a0000010a000002000100020000000100000001501003e800000000",
        "not_ip",
    ),
    (
        "an LLC frame of three bytes is a whole one",
        1,
        "0200000000010200000000020003fefe03",
        "not_ip",
    ),
    (
        "LLC in a cooked capture",
        113,
        "00000001000602020202020200000004aaaa0300000008004500002800000000400600000a0000010a000002000100020000000100000001501003e800000000",
        "6 0",
    ),
    (
        "LLC in a cooked capture, version 2",
        276,
        "0004000000000003000100060202020202020000aaaa0300000008004500002800000000400600000a0000010a000002000100020000000100000001"
        "501003e800000000",
        "6 0",
    ),
    (
        "all four bytes of a loopback header are the family",
        0,
        "020080004500002800000000400600000a0000010a000002000100020000000100000001501003e800000000",
        "not_ip",
    ),
    (
        "an 802.11 acknowledgement of ten bytes is not cut",
        105,
        "d4000000020202020202",
        "not_ip",
    ),
    (
        "several 802.11 frames in one are not one LLC frame",
        105,
        "8801000002020202020202020202020202020202020200008000aaaa0300000008004500002800000000400600000a0000010a000002000100020000"
        "000100000001501003e800000000",
        "not_ip",
    ),
    (
        "all four bytes of the link type in a PPI header",
        192,
        "000008000101000002000000000102000000000208004500002800000000400600000a0000010a000002000100020000000100000001501003e800000000",
        "not_ip",
    ),
    (
        "PPP in GRE",
        1,
        "02000000000102000000000208004500004200000000402f0000c0000201c00002020000880b00214500002800000000400600000a0000010a000002"
        "000100020000000100000001501003e800000000",
        "6 0 gre",
    ),
    (
        "a service VLAN tag in GRE",
        1,
        "02000000000102000000000208004500004400000000402f0000c0000201c0000202000088a8000708004500002800000000400600000a0000010a00"
        "0002000100020000000100000001501003e800000000",
        "6 0 gre",
    ),
    (
        "a GRE header that is cut off hides a tunnel",
        1,
        "02000000000102000000000208004500004000000000402f0000c0000201c00002020000",
        "truncated",
    ),
    (
        "an inner IP version that is cut off hides a tunnel",
        1,
        "02000000000102000000000208004500003c0000000040040000c0000201c0000202",
        "truncated",
    ),
    (
        "a VXLAN header that is cut off hides a tunnel",
        1,
        "02000000000102000000000208004500005a0000000040110000c0000201c0000202c35012b500460000",
        "truncated",
    ),
    (
        "a Geneve header that is cut off hides a tunnel",
        1,
        "02000000000102000000000208004500005a0000000040110000c0000201c0000202c35017c1004600000000",
        "truncated",
    ),
    (
        "a GTP-U header that is cut off hides a tunnel",
        1,
        "0200000000010200000000020800450000540000000040110000c0000201c0000202c35008680040000034ff00300000000100000085",
        "truncated",
    ),
    (
        "a Teredo packet that is cut off hides a tunnel",
        1,
        "0200000000010200000000020800450000500000000040110000c0000201c0000202c3500dd8003c000060000000",
        "truncated",
    ),
    (
        "the innermost packet is judged on its own: TCP header",
        1,
        "02000000000102000000000208004500004000000000402f0000c0000201c0000202000008004500002800000000400600000a0000010a0000020001"
        "00020000000100000001401003e800000000",
        "malformed_l4",
    ),
    (
        "the innermost packet is judged on its own: extension header",
        1,
        "02000000000102000000000208004500004800000000402f0000c0000201c0000202000086dd6000000000083c4020010db800000000000000000000"
        "000120010db800000000000000000000000206ff000000000000",
        "malformed_ip",
    ),
    (
        "a Teredo packet must fit behind its origin indication",
        1,
        "0200000000010200000000020800450000580000000040110000c0000201c000020200050dd800400000000001020304050660000000000c11402001"
        "0db800000000000000000000000120010db800000000000000000000000200010002000c000075757575",
        "17 56",
    ),
    (
        "padding is no packet in an empty one",
        1,
        "0200000000010200000000020800450000140000000040040000c0000201c00002024500002800000000400600000a0000010a000002000100020000"
        "000100000001501003e800000000",
        "4 0",
    ),
]


@pytest.mark.parametrize(("link_type", "frame", "outcome"), [f[1:] for f in FRAMES], ids=[f[0] for f in FRAMES])
def test_frames(link_type: int, frame: str, outcome: str) -> None:
    one = Frame(at(0), bytes.fromhex(frame), link_type)
    assert frame_faults([one]) == []
    assert product_outcome(one) == outcome


def product_outcome(frame: Frame) -> str:
    """Of the product alone, so that a mistake made twice is seen too."""
    n = len(frame.data)
    packets, reasons = decode(
        np.frombuffer(frame.data, np.uint8),
        np.array([0, n]),
        np.array([frame.ns]),
        np.array([n], np.uint32),
        np.array([frame.link_type], np.uint16),
    )
    p = by_product(packets[0], int(reasons[0]), frame.link_type)
    return p.get("rejected") or f"{p['proto']} {p['payload']} {p['tunnels']}".strip()


@pytest.mark.parametrize("wire", [1 << 20, (1 << 20) + 1, 0xFFFFFFFF])
@pytest.mark.parametrize("packet", ["450000000000000040590000 0a000001 0a000002", f"60000000 0000 0040 {'20' * 32}"])
def test_a_length_left_to_the_card_is_not_4_gib(packet: str, wire: int) -> None:
    """Two packets whose lengths, squared, do not fit into 64 bits together."""
    frames = [Frame(at(i), bytes.fromhex(packet), 101, wire) for i in range(2)]
    assert frame_faults(frames) == []
    assert record_faults(frames) == []


def test_icmp_too_short_for_a_type_has_a_community_id() -> None:
    assert record_faults([Frame(at(0), ethernet(ip("10.0.0.1", "10.0.0.2", 1, b"")))]) == []


@pytest.mark.parametrize(
    "data", [b"", b"\n\r\r\n", b"\n\r\r\n\x1c\0\0\0M<+\x1a", b"\xd4\xc3\xb2\xa1\2\0\4\0", b"\x1f\x8b", b"\x1f\x8b\x08"]
)
def test_files_that_are_only_a_beginning(data: bytes) -> None:
    assert file_faults(data) == []


# -- what was wrong elsewhere than in the decoder --------------------------------------------------------------------------------------


def test_a_rejected_packet_moves_the_clock() -> None:
    """61 s of silence, then an ARP packet: the flow ended idle, and was not cut off by the end of the file."""
    arp = Frame(at(61), ethernet(b"\0" * 28, kind=0x0806))
    assert record_faults([of(0, "10.0.0.1", "10.0.0.2", UDP, 1, 2, 3), arp]) == []


def test_fragments_with_an_extension_header_behind_the_fragment_header() -> None:
    """RFC 8200: the identification, source and destination make the datagram; each fragment names the first header of the whole."""
    options, body = b"\x11\0" + b"\0" * 6, udp(1, 2, 100)
    ends = ("2001:db8::1", "2001:db8::2")
    first = ip(*ends, 60, options + body[:56], ident=7, more=True)
    later = ip(*ends, 60, body[56:], ident=7, offset=8)
    assert record_faults([Frame(at(0), ethernet(first)), Frame(at(1), ethernet(later))]) == []


def test_ipv6_fragments_that_name_another_next_header() -> None:
    """RFC 8200, 4.5: the next headers of the fragments of a datagram may differ; that of the first one holds."""
    ends = ("2001:db8::1", "2001:db8::2")
    first = ip(*ends, UDP, udp(1, 2, 100)[:56], ident=0, more=True)
    later = ip(*ends, 6, bytes(52), ident=0, offset=7)
    assert record_faults([Frame(at(0), ethernet(first)), Frame(at(0), ethernet(later))]) == []
