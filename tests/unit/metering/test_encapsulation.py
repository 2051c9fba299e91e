"""One conversation in every wrapping a capture can carry: the record is the same, but for VLAN ids and tunnel."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.oracle.compare import differences
from tests.oracle.craft import MAC, ethernet, ip, sctp, tcp, udp
from tests.oracle.meter import Frame
from tests.oracle.parse import ACK, PSH, SYN, TCP, UDP
from tests.unit.metering.cases import A, B, at
from tests.unit.metering.conftest import Metered

P, Q = "2001:db8::1", "2001:db8::2"
OUT4 = ("192.0.2.1", "192.0.2.2")
OUT6 = ("2001:db8:ff::1", "2001:db8:ff::2")

Wrap = Callable[[bytes], bytes]


def conversation(a: str, b: str) -> list[tuple[int, bytes]]:
    """(ns, IP packet) of a short TCP exchange."""
    steps = [
        (a, b, 40000, 443, SYN, 0, 12),
        (b, a, 443, 40000, SYN | ACK, 0, 12),
        (a, b, 40000, 443, ACK | PSH, 77, 0),
        (b, a, 443, 40000, ACK, 300, 0),
    ]
    return [
        (at(i / 10), ip(src, dst, TCP, tcp(sport, dport, flags, size, window=500 + i, options=options)))
        for i, (src, dst, sport, dport, flags, size, options) in enumerate(steps)
    ]


def kind(packet: bytes) -> int:
    return 0x86DD if packet[0] >> 4 == 6 else 0x0800


def typed(packet: bytes) -> bytes:
    """EtherType and packet."""
    return struct.pack("!H", kind(packet)) + packet


def inner_ethernet(packet: bytes) -> bytes:
    return ethernet(packet, pad=False)


def ppp_proto(packet: bytes) -> bytes:
    return b"\x00\x57" if kind(packet) == 0x86DD else b"\x00\x21"


def af(packet: bytes, six: int) -> int:
    return six if kind(packet) == 0x86DD else 2


def snap(packet: bytes) -> bytes:
    return b"\xaa\xaa\x03\0\0\0" + typed(packet)


def dot11(packet: bytes, control: bytes, extra: bytes = b"") -> bytes:
    return control + b"\0\0" + b"\x02" * 18 + b"\0\0" + extra + snap(packet)


LINKS: dict[str, tuple[int, Wrap]] = {
    "ethernet": (1, lambda p: ethernet(p)),
    "ethernet 802.3 with LLC and SNAP": (1, lambda p: MAC + struct.pack("!H", len(p) + 8) + snap(p)),
    "raw 101": (101, lambda p: p),
    "raw 12": (12, lambda p: p),
    "raw 14": (14, lambda p: p),
    "null, little-endian": (0, lambda p: struct.pack("<I", af(p, 30)) + p),
    "null, big-endian": (0, lambda p: struct.pack(">I", af(p, 24)) + p),
    "loop": (108, lambda p: struct.pack(">I", af(p, 28)) + p),
    "linux cooked v1": (113, lambda p: struct.pack("!HHH8s", 0, 1, 6, b"\2" * 6) + typed(p)),
    "linux cooked v1, VLAN-tagged": (113, lambda p: struct.pack("!HHH8s", 0, 1, 6, b"\2" * 6) + b"\x81\x00\x00\x07" + typed(p)),
    "linux cooked v2": (276, lambda p: struct.pack("!HHIHBB8s", kind(p), 0, 3, 1, 0, 6, b"\2" * 6) + p),
    "ppp": (9, lambda p: ppp_proto(p) + p),
    "ppp with address and control": (9, lambda p: b"\xff\x03" + ppp_proto(p) + p),
    "ppp with a compressed protocol field": (9, lambda p: ppp_proto(p)[1:] + p),
    "ppp in hdlc": (50, lambda p: b"\xff\x03" + ppp_proto(p) + p),
    "cisco hdlc under ppp in hdlc": (50, lambda p: b"\x0f\x00" + typed(p)),
    "pppoe": (51, lambda p: b"\x11\x00\x00\x01" + struct.pack("!H", len(p) + 2) + ppp_proto(p) + p),
    "cisco hdlc": (104, lambda p: b"\x0f\x00" + typed(p)),
    "802.11 data": (105, lambda p: dot11(p, b"\x08\x01")),
    "802.11 qos data": (105, lambda p: dot11(p, b"\x88\x02", b"\0\0")),
    "802.11 qos data with ht control": (105, lambda p: dot11(p, b"\x88\x81", b"\0\0\0\0\0\0")),
    "802.11 between access points": (105, lambda p: dot11(p, b"\x08\x03", b"\2" * 6)),
    "radiotap": (127, lambda p: b"\0\0\x08\0\0\0\0\0" + dot11(p, b"\x08\x01")),
    "radiotap with time and padding": (
        127,
        lambda p: struct.pack("<BBHIQB", 0, 0, 17, 3, 1, 0x20) + dot11(p, b"\x88\x01", b"\0\0" + b"\0\0"),
    ),
}

VN_TAG = b"\x89\x26\xc0\x01\x81\x00"  # its last two bytes look like a tag protocol identifier, and are none
VLANS: dict[str, tuple[Wrap, str]] = {
    "vlan": (lambda p: ethernet(p, (10,)), "10"),
    "qinq": (lambda p: ethernet(p, (10, 20)), "10,20"),
    "three tags": (lambda p: ethernet(p, (1, 2, 4094)), "1,2,4094"),
    "two 8100 tags": (lambda p: MAC + b"\x81\x00\x20\x0a\x81\x00\x00\x14" + typed(p), "10,20"),
    "9100 tag": (lambda p: MAC + b"\x91\x00\x00\x0a\x81\x00\x00\x14" + typed(p), "10,20"),
    "8200 tag": (lambda p: MAC + b"\x82\x00\x00\x0a" + typed(p), "10"),
    "vn-tag, which names no vlan": (lambda p: MAC + VN_TAG + typed(p), ""),
    "vlan in a vn-tag": (lambda p: MAC + VN_TAG + b"\x81\x00\x00\x07" + typed(p), "7"),
    "vn-tag in a vlan": (lambda p: MAC + b"\x88\xa8\x00\x07" + VN_TAG + b"\x81\x00\x00\x08" + typed(p), "7,8"),
    "vn-tag over 802.3": (lambda p: MAC + VN_TAG + struct.pack("!H", len(p) + 8) + snap(p), ""),
    "vlan over 802.3": (lambda p: MAC + b"\x81\x00\x00\x0a" + struct.pack("!H", len(p) + 8) + snap(p), "10"),
    "pppoe in a vlan": (
        lambda p: MAC + b"\x81\x00\x00\x07\x88\x64\x11\x00\x00\x01" + struct.pack("!H", len(p) + 2) + ppp_proto(p) + p,
        "7",
    ),
}


def outer(body_of: Wrap, proto: int, ends: tuple[str, str] = OUT4) -> Wrap:
    return lambda p: ethernet(ip(*ends, proto, body_of(p)))


def over_udp(port: int, head_of: Wrap, ends: tuple[str, str] = OUT4) -> Wrap:
    return outer(lambda p: udp(50000, port, head_of(p)), UDP, ends)


def gre(flags: int, options: bytes = b"") -> Wrap:
    return lambda p: struct.pack("!HH", flags, kind(p)) + options + p


def gtp(packet: bytes, flags: int = 0x30, options: bytes = b"") -> bytes:
    return struct.pack("!BBHI", flags, 255, len(options) + len(packet), 1) + options + packet


def capwap(inside: bytes, words: int = 2, binding: int = 1, native: int = 1, bits: int = 0) -> bytes:
    """CAPWAP data header (RFC 5415, 4.3) of ``words`` words; ``bits``: F, L, W, M, K and three more."""
    return struct.pack("!I", words << 19 | 1 << 14 | binding << 9 | native << 8 | bits).ljust(4 * words, b"\x03") + inside


def mpls(*labels: int) -> bytes:
    return b"".join(struct.pack("!I", n << 12 | (0x100 if i + 1 == len(labels) else 0) | 64) for i, n in enumerate(labels))


TUNNELS: dict[str, tuple[Wrap, str]] = {
    "ip in ip": (lambda p: ethernet(ip(*OUT4, 41 if kind(p) == 0x86DD else 4, p)), "?in4"),
    "ip in ipv6": (lambda p: ethernet(ip(*OUT6, 41 if kind(p) == 0x86DD else 4, p)), "?in6"),
    "gre": (outer(gre(0), 47), "gre"),
    "gre over ipv6": (outer(gre(0), 47, OUT6), "gre"),
    "gre with a checksum": (outer(gre(0x8000, b"\1\2\3\4"), 47), "gre"),
    "gre with a key": (outer(gre(0x2000, b"\1\2\3\4"), 47), "gre"),
    "gre with a sequence number": (outer(gre(0x1000, b"\1\2\3\4"), 47), "gre"),
    "gre with all three": (outer(gre(0xB000, b"\1\2\3\4" * 3), 47), "gre"),
    "gre with source routes": (outer(gre(0x4000, b"\0\0\0\0" + b"\x08\0\0\4\1\2\3\4" + b"\0\0\0\0"), 47), "gre"),
    "ethernet over gre": (outer(lambda p: b"\0\0\x65\x58" + inner_ethernet(p), 47), "gre"),
    "pptp": (outer(lambda p: b"\x20\x01\x88\x0b\0\0\0\1" + ppp_proto(p) + p, 47), "pptp"),
    "pptp with sequence and acknowledgement": (
        outer(lambda p: b"\x30\x81\x88\x0b\0\0\0\1" + b"\0\0\0\1\0\0\0\2" + b"\xff\x03" + ppp_proto(p) + p, 47),
        "pptp",
    ),
    "vxlan": (over_udp(4789, lambda p: b"\x08\0\0\0\0\0\1\0" + inner_ethernet(p)), "vxlan"),
    "vxlan over ipv6": (over_udp(4789, lambda p: b"\x08\0\0\0\0\0\1\0" + inner_ethernet(p), OUT6), "vxlan"),
    "geneve": (over_udp(6081, lambda p: b"\0\0\x65\x58\0\0\1\0" + inner_ethernet(p)), "geneve"),
    "geneve with options": (over_udp(6081, lambda p: b"\2\0\x65\x58\0\0\1\0" + b"\1" * 8 + inner_ethernet(p)), "geneve"),
    "geneve around ip": (over_udp(6081, lambda p: b"\0\0" + struct.pack("!H", kind(p)) + b"\0\0\1\0" + p), "geneve"),
    "gtp-u": (over_udp(2152, gtp), "gtp-u"),
    "gtp-u with a sequence number": (over_udp(2152, lambda p: gtp(p, 0x32, b"\0\1\0\0")), "gtp-u"),
    "gtp-u with an extension header": (over_udp(2152, lambda p: gtp(p, 0x34, b"\0\0\0\x85\1\0\0\0")), "gtp-u"),
    "capwap around 802.11": (over_udp(5247, lambda p: capwap(dot11(p, b"\x08\x01"))), "capwap"),
    "capwap from the controller": (outer(lambda p: udp(5247, 50000, capwap(dot11(p, b"\x08\x02"))), UDP), "capwap"),
    "capwap with its frame control swapped": (over_udp(5247, lambda p: capwap(dot11(p, b"\x01\x08"))), "capwap"),
    "capwap with optional fields and swapped qos data": (
        over_udp(5247, lambda p: capwap(dot11(p, b"\x02\x88", b"\0\0"), 6, bits=0x30)),
        "capwap",
    ),
    "capwap around qos data sent again": (over_udp(5247, lambda p: capwap(dot11(p, b"\x88\x0a", b"\0\0"))), "capwap"),
    "capwap around 802.3": (over_udp(5247, lambda p: capwap(inner_ethernet(p), 4, binding=0, native=0, bits=0x20)), "capwap"),
    "capwap over ipv6, around a vlan": (
        over_udp(5247, lambda p: capwap(ethernet(p, (9,), pad=False), native=0), OUT6),
        "capwap",
    ),
    "gre in authentication": (outer(lambda p: bytes((47, 4)) + b"\0" * 22 + gre(0)(p), 51), "gre"),
    "ip in authentication": (lambda p: ethernet(ip(*OUT4, 51, bytes((41 if kind(p) == 0x86DD else 4, 4)) + b"\0" * 22 + p)), "?in4"),
    "vxlan in authentication": (
        outer(lambda p: bytes((UDP, 4)) + b"\0" * 22 + udp(5, 4789, b"\x08\0\0\0\0\0\1\0" + inner_ethernet(p)), 51),
        "vxlan",
    ),
    "mpls": (lambda p: ethernet(mpls(16) + p, kind=0x8847), "mpls"),
    "mpls, three labels": (lambda p: ethernet(mpls(16, 17, 18) + p, kind=0x8847), "mpls"),
    "ethernet over mpls": (lambda p: ethernet(mpls(16) + b"\0\0\0\0" + inner_ethernet(p), kind=0x8847), "mpls"),
    "vxlan in gre": (outer(lambda p: gre(0)(ip(*OUT6, UDP, udp(5, 4789, b"\x08\0\0\0\0\0\1\0" + inner_ethernet(p)))), 47), "gre,vxlan"),
}
TEREDO: dict[str, bytes] = {
    "plain": b"",
    "with an origin": b"\0\0\1\2\3\4\5\6",
    "with authentication": b"\0\1\2\3" + b"idaut" + b"\0" * 9,
    "with both": b"\0\1\0\0" + b"\0" * 9 + b"\0\0\1\2\3\4\5\6",
}


@pytest.fixture(params=["ipv4", "ipv6"])
def ends(request: pytest.FixtureRequest) -> tuple[str, str]:
    return (A, B) if request.param == "ipv4" else (P, Q)


def run(metered: Metered, ends: tuple[str, str], wrap: Wrap, link_type: int = 1) -> dict:
    (record,) = metered(Frame(ns, wrap(p), link_type) for ns, p in conversation(*ends))
    return record


def same(record: dict, plain: dict, *but: str) -> None:
    names = [n for n in plain if n not in ("flow_id", *but)]
    assert differences([plain], [record], names) == []


@pytest.mark.parametrize("name", LINKS)
def test_link_types(metered: Metered, ends: tuple[str, str], name: str) -> None:
    link_type, wrap = LINKS[name]
    same(run(metered, ends, wrap, link_type), run(metered, ends, ethernet), "vlan_ids")


@pytest.mark.parametrize(("link_type", "ends"), [(228, (A, B)), (229, (P, Q))])
def test_link_types_of_one_ip_version(metered: Metered, link_type: int, ends: tuple[str, str]) -> None:
    same(run(metered, ends, lambda p: p, link_type), run(metered, ends, ethernet))


@pytest.mark.parametrize("name", VLANS)
def test_vlans(metered: Metered, ends: tuple[str, str], name: str) -> None:
    wrap, ids = VLANS[name]
    record = run(metered, ends, wrap)
    assert record["vlan_ids"] == ids
    same(record, run(metered, ends, ethernet), "vlan_ids")


@pytest.mark.parametrize("name", TUNNELS)
def test_tunnels_are_metered_by_the_innermost_packet(metered: Metered, ends: tuple[str, str], name: str) -> None:
    wrap, tunnel = TUNNELS[name]
    record = run(metered, ends, wrap)
    tunnel = tunnel.replace("?", "6" if ends == (P, Q) else "4")
    same(record, run(metered, ends, ethernet), "tunnel")
    assert record["tunnel"] == tunnel


@pytest.mark.parametrize("name", TEREDO)
def test_teredo(metered: Metered, name: str) -> None:
    record = run(metered, (P, Q), over_udp(3544, lambda p: TEREDO[name] + p))
    same(record, run(metered, (P, Q), ethernet), "tunnel")
    assert record["tunnel"] == "teredo"


@pytest.mark.parametrize(
    ("proto", "body"),
    [
        (47, b"\0\0\x08\x06" + b"\0" * 28),  # ARP in GRE
        (47, b"\0\0\x08\0" + b"\x15" * 28),  # what GRE calls IP and is none
        (4, b"\0" * 30),
        (UDP, udp(50000, 4789, b"\x08\0\0\0\0\0\1\0" + ethernet(b"\0" * 28, kind=0x0806))),
        (UDP, udp(50000, 2152, b"\x30\x01\0\0\0\0\0\0")),  # GTP echo request
        (UDP, udp(3544, 3544, b"hello")),
        *(
            (UDP, udp(50000, 5247, body))
            for body in (
                capwap(dot11(ip(A, B, UDP, udp(1, 2, 9)), b"\x08\x01"), bits=0x80),  # the first fragment
                capwap(dot11(ip(A, B, UDP, udp(1, 2, 9)), b"\x08\x01"), bits=0xC0),  # the last one
                capwap(dot11(ip(A, B, UDP, udp(1, 2, 9)), b"\x08\x01"), bits=0x08),  # keep-alive
                b"\1\0\0\0" + capwap(inner_ethernet(ip(A, B, UDP, udp(1, 2, 9))), native=0),  # DTLS
                b"\x10" + capwap(inner_ethernet(ip(A, B, UDP, udp(1, 2, 9))), native=0)[1:],  # another version
                capwap(dot11(ip(A, B, UDP, udp(1, 2, 9)), b"\x08\x01"), binding=3),
                capwap(dot11(ip(A, B, UDP, udp(1, 2, 9)), b"\x08\x41")),  # encrypted
                capwap(dot11(ip(A, B, UDP, udp(1, 2, 9)), b"\x80\x00")),  # a beacon
                capwap(dot11(ip(A, B, UDP, udp(1, 2, 9)), b"\x00\x80")),  # the same, swapped
                capwap(inner_ethernet(ip(A, B, UDP, udp(1, 2, 9))), words=1, native=0),
                capwap(b"\0" * 20, words=31, native=0)[:60],  # a header longer than the datagram
                capwap(b"", native=0),
            )
        ),
    ],
)
def test_a_tunnel_without_ip_inside_is_itself_the_innermost_packet(metered: Metered, proto: int, body: bytes) -> None:
    (r,) = metered([Frame(at(0), ethernet(ip(*OUT4, proto, body)))])
    assert (r["src_ip"], r["dst_ip"], r["protocol"], r["tunnel"]) == (*OUT4, proto, "")
    assert r["total_length_fwd_packets"] == len(body) - (8 if proto == UDP else 0)


# -- inside the IP header ------------------------------------------------------------------------------------------------------------

EXTENSIONS: dict[str, tuple[int, bytes]] = {
    "hop by hop": (0, bytes((TCP, 0)) + b"\0" * 6),
    "routing": (43, bytes((TCP, 2)) + b"\0" * 22),
    "destination options": (60, bytes((TCP, 1)) + b"\0" * 14),
    "authentication": (51, bytes((TCP, 4)) + b"\0" * 22),
    "atomic fragment": (44, bytes((TCP, 0)) + b"\0" * 6),
    "several": (0, bytes((60, 0)) + b"\0" * 6 + bytes((51, 0)) + b"\0" * 6 + bytes((TCP, 4)) + b"\0" * 22),
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_ipv6_extension_headers_are_no_payload(metered: Metered, name: str) -> None:
    first, chain = EXTENSIONS[name]
    (r,) = metered([Frame(at(0), ethernet(ip(P, Q, first, tcp(1, 2, ACK, 100, options=4), options=chain)))])
    assert (r["protocol"], r["src_port"], r["dst_port"], r["ip_version"]) == (TCP, 1, 2, 6)
    assert (r["total_length_fwd_packets"], r["fwd_header_length"], r["fwd_l3_bytes"]) == (100, 24, 40 + len(chain) + 124)


@pytest.mark.parametrize("words", [3, 5, 6])
def test_ipv4_authentication_headers_are_no_payload(metered: Metered, words: int) -> None:
    header = bytes((TCP, words - 2)) + b"\0" * (4 * words - 2)
    (r,) = metered([Frame(at(0), ethernet(ip(A, B, 51, header + tcp(1, 2, ACK, 100, options=4))))])
    assert (r["protocol"], r["src_port"], r["dst_port"], r["ip_version"]) == (TCP, 1, 2, 4)
    assert (r["total_length_fwd_packets"], r["fwd_header_length"], r["fwd_l3_bytes"]) == (100, 24, 20 + 4 * words + 124)


def test_ipv4_fragments_of_an_authenticated_datagram(metered: Metered) -> None:
    """The first piece alone has the header, and the ports; the others say protocol 51 only."""
    whole = bytes((UDP, 4)) + b"\0" * 22 + udp(7000, 8000, 1000)
    frames = [
        Frame(at(i), ethernet(ip(A, B, 51, whole[k : k + 512], ident=5, offset=k // 8, more=k < 1024)))
        for i, k in enumerate((0, 512, 1024))
    ]
    other = Frame(at(3), ethernet(ip(A, B, 17, b"n" * 16, ident=5, offset=64)))  # of UDP without authentication
    (r,) = metered([*frames, other])
    assert (r["protocol"], r["src_port"], r["dst_port"], r["total_fwd_packets"]) == (UDP, 7000, 8000, 3)
    assert (r["total_length_fwd_packets"], r["fwd_header_length"]) == (1000, 8)


@pytest.mark.parametrize(
    ("body", "captured"),
    [
        (bytes((TCP, 4)) + b"\0" * 22 + tcp(1, 2, ACK), 14 + 20 + 7),  # cut inside the header, behind it, inside TCP's
        (bytes((TCP, 4)) + b"\0" * 22 + tcp(1, 2, ACK), 14 + 20 + 24),
        (bytes((TCP, 4)) + b"\0" * 22 + tcp(1, 2, ACK), 14 + 20 + 24 + 19),
        (bytes((TCP, 30)) + b"\0" * 22 + tcp(1, 2, ACK), 200),  # longer than the packet
        (bytes((TCP, 4)) + b"\0" * 5, 200),
    ],
)
def test_authentication_headers_that_hide_what_is_behind(metered: Metered, body: bytes, captured: int) -> None:
    good = ethernet(ip(P, Q, TCP, tcp(1, 2, ACK, 10)))
    bad = ethernet(ip(A, B, 51, body), pad=False)[:captured]
    assert [r["src_ip"] for r in metered([Frame(at(0), bad), Frame(at(1), good)])] == [P]


def test_no_next_header(metered: Metered) -> None:
    (r,) = metered([Frame(at(0), ethernet(ip(P, Q, 59, b"")))])
    assert (r["protocol"], r["src_port"], r["total_length_fwd_packets"]) == (59, 0, 0)


def test_an_empty_ipv6_packet_has_no_payload_however_padded(metered: Metered) -> None:
    (r,) = metered([Frame(at(0), ethernet(ip(P, Q, 89, b"")))])
    assert (r["protocol"], r["total_length_fwd_packets"], r["fwd_l3_bytes"]) == (89, 0, 40)


def test_ipv4_options_are_no_payload(metered: Metered) -> None:
    (r,) = metered([Frame(at(0), ethernet(ip(A, B, TCP, tcp(1, 2, ACK, 9), options=b"\1" * 12)))])
    assert (r["total_length_fwd_packets"], r["fwd_header_length"], r["fwd_l3_bytes"]) == (9, 20, 61)


@pytest.mark.parametrize("ends", [(A, B), (P, Q)])
def test_fragments_belong_to_the_first_ones_flow(metered: Metered, ends: tuple[str, str]) -> None:
    datagram = udp(7000, 8000, 3000)
    pieces = [(0, datagram[:1400], True), (175, datagram[1400:2800], True), (350, datagram[2800:], False)]
    frames = [Frame(at(i), ethernet(ip(*ends, UDP, body, ident=77, offset=o, more=m))) for i, (o, body, m) in enumerate(pieces)]
    (r,) = metered(frames)
    assert (r["src_port"], r["dst_port"], r["total_fwd_packets"]) == (7000, 8000, 3)
    assert (r["total_length_fwd_packets"], r["fwd_header_length"], r["fwd_seg_size_min"]) == (3000, 8, 0)
    assert (r["fwd_packet_length_max"], r["fwd_packet_length_min"], r["malformed_packets"]) == (1400, 208, 0)


@pytest.mark.parametrize("ends", [(A, B), (P, Q)])
def test_a_later_fragment_alone_is_no_flow(metered: Metered, ends: tuple[str, str]) -> None:
    stray = Frame(at(0), ethernet(ip(*ends, UDP, b"x" * 64, ident=1, offset=10)))
    other = Frame(at(1), ethernet(ip(*ends, UDP, udp(1, 2, 3))))
    (r,) = metered([stray, other])
    assert (r["src_port"], r["total_fwd_packets"]) == (1, 1)


def test_fragments_are_told_apart_by_ip_id_and_direction(metered: Metered) -> None:
    first = [Frame(at(i), ethernet(ip(A, B, UDP, udp(10 + i, 53, 16), ident=i, more=True))) for i in range(2)]
    later = [Frame(at(2 + i), ethernet(ip(A, B, UDP, b"y" * 8, ident=i, offset=3))) for i in range(2)]
    back = Frame(at(5), ethernet(ip(B, A, UDP, b"z" * 8, ident=0, offset=3)))
    records = metered([*first, *later, back])
    assert [(r["src_port"], r["total_fwd_packets"], r["total_length_fwd_packets"]) for r in records] == [(10, 2, 24), (11, 2, 24)]


def test_later_tcp_fragments_carry_no_flags(metered: Metered) -> None:
    segment = tcp(1, 2, PSH | ACK, 100)
    frames = [
        Frame(at(0), ethernet(ip(A, B, TCP, segment[:40], ident=5, more=True))),
        Frame(at(1), ethernet(ip(A, B, TCP, segment[40:], ident=5, offset=5))),
    ]
    (r,) = metered(frames)
    assert (r["psh_flag_count"], r["ack_flag_count"], r["total_length_fwd_packets"], r["fwd_header_length"]) == (1, 1, 100, 20)


# -- cut, padded, lying --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in TUNNELS if "all three" in n or "capwap" in n or n in ("vxlan", "gtp-u", "ip in ip", "mpls")])
def test_frames_cut_behind_the_headers_give_the_same_record(metered: Metered, ends: tuple[str, str], name: str) -> None:
    wrap, _ = TUNNELS[name]

    def cut(packet: bytes) -> bytes:
        frame = wrap(packet)
        return frame[: frame.index(packet) + (40 if kind(packet) == 0x86DD else 20) + 20]

    same(run(metered, ends, cut), run(metered, ends, wrap))


@pytest.mark.parametrize("name", ["vxlan", "gre", "gtp-u", "capwap around 802.11", "vxlan in authentication"])
def test_an_inner_header_cut_by_the_snap_length_makes_no_flow_of_the_outer_packet(metered: Metered, name: str) -> None:
    """The innermost IP packet is known from its IP header; its cut TCP header rejects the packet."""
    packet = ip(A, B, TCP, tcp(1, 2, ACK, 100))
    frame = TUNNELS[name][0](packet)
    cut = frame[: frame.index(packet) + 20 + 12]
    good = ethernet(ip(P, Q, TCP, tcp(1, 2, ACK, 10)))
    assert [r["src_ip"] for r in metered([Frame(at(0), cut), Frame(at(1), good)])] == [P]


@pytest.mark.parametrize(("proto", "body", "need"), [(UDP, udp(1, 2, 500), 8), (132, sctp(1, 2, 500), 12), (1, b"\x08\0" + b"\0" * 500, 2)])
def test_cut_datagrams(metered: Metered, proto: int, body: bytes, need: int) -> None:
    whole = ethernet(ip(A, B, proto, body))
    (r,) = metered([Frame(at(0), whole)])
    (cut,) = metered([Frame(at(0), whole[: 34 + max(need, 4)])])
    same(cut, r)


@pytest.mark.parametrize(("stated", "payload", "malformed"), [(28, 20, 0), (20, 12, 0), (8, 0, 0), (7, 20, 1), (0, 20, 1), (29, 20, 1)])
def test_udp_lengths_that_lie(metered: Metered, stated: int, payload: int, malformed: int) -> None:
    (r,) = metered([Frame(at(0), ethernet(ip(A, B, UDP, udp(1, 2, 20, length=stated))))])
    assert (r["total_length_fwd_packets"], r["malformed_packets"]) == (payload, malformed)


def lying_offset(words: int) -> bytes:
    segment = bytearray(tcp(1, 2, ACK, 10))
    segment[12] = words << 4
    return bytes(segment)


@pytest.mark.parametrize(
    "packet",
    [
        ip(A, B, TCP, lying_offset(4)),
        ip(A, B, TCP, lying_offset(8)),
        ip(A, B, TCP, tcp(1, 2, ACK)[:19]),
        ip(P, Q, TCP, lying_offset(15)),
        b"\x44" + ip(A, B, TCP, tcp(1, 2, ACK))[1:],
        b"\x45\0\0\x13" + ip(A, B, TCP, tcp(1, 2, ACK))[4:],
        b"\x75" + ip(A, B, TCP, tcp(1, 2, ACK))[1:],
    ],
)
def test_malformed_packets_are_not_metered(metered: Metered, packet: bytes) -> None:
    good = Frame(at(1), ethernet(ip(A, B, TCP, tcp(1, 2, ACK, 10))))
    (r,) = metered([Frame(at(0), ethernet(packet)), good])
    assert (r["total_fwd_packets"], r["total_length_fwd_packets"]) == (1, 10)


def test_a_tcp_header_cut_by_the_snap_length_is_not_metered(metered: Metered) -> None:
    good = Frame(at(1), ethernet(ip(A, B, TCP, tcp(1, 2, ACK, 10))))
    cut = Frame(at(0), good.data[: 14 + 20 + 19])
    (r,) = metered([cut, good])
    assert r["total_fwd_packets"] == 1
