"""Patched frames equal what Scapy builds from the same fields, checksums and lengths included, for every template."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from sensors.generate import templates as tp
from sensors.generate.render import render
from sensors.generate.table import ConversationTable

RNG = random.Random(11)
POOL = np.frombuffer(RNG.randbytes(4096), np.uint8)
_OPTIONS = {
    tp.TCP_PLAIN: lambda r: [],
    tp.TCP_MSS: lambda r: [("MSS", r["A"])],
    tp.TCP_SYN_LINUX: lambda r: [
        ("MSS", r["A"]),
        ("SAckOK", b""),
        ("Timestamp", (r["TSVAL"], r["TSECR"])),
        ("NOP", None),
        ("WScale", r["B"]),
    ],
    tp.TCP_SYN_WINDOWS: lambda r: [("MSS", r["A"]), ("NOP", None), ("WScale", r["B"]), ("NOP", None), ("NOP", None), ("SAckOK", b"")],
    tp.TCP_SYN_BSD: lambda r: [
        ("MSS", r["A"]),
        ("NOP", None),
        ("WScale", r["B"]),
        ("NOP", None),
        ("NOP", None),
        ("Timestamp", (r["TSVAL"], r["TSECR"])),
        ("SAckOK", b""),
        ("EOL", None),
    ],
    tp.TCP_TS: lambda r: [("NOP", None), ("NOP", None), ("Timestamp", (r["TSVAL"], r["TSECR"]))],
    tp.TCP_TS_SACK: lambda r: [
        ("NOP", None),
        ("NOP", None),
        ("Timestamp", (r["TSVAL"], r["TSECR"])),
        ("NOP", None),
        ("NOP", None),
        ("SAck", (r["A"], r["B"])),
    ],
    tp.TCP_SACK: lambda r: [("NOP", None), ("NOP", None), ("SAck", (r["A"], r["B"]))],
}


def _row(kind: int, back: int, length: int) -> dict[str, int]:
    wide = kind in (tp.TCP_TS_SACK, tp.TCP_SACK)
    row = {
        "TS": RNG.randrange(1 << 60),
        "FLOW": 0,
        "DIR": back,
        "KIND": kind,
        "FLAGS": RNG.randrange(256),
        "SEQ": RNG.getrandbits(32),
        "ACK": RNG.getrandbits(32),
        "WIN": RNG.getrandbits(16),
        "IPID": RNG.getrandbits(16),
        "OFF": RNG.randrange(2000),
        "LEN": length,
        "TSVAL": RNG.getrandbits(32),
        "TSECR": RNG.getrandbits(32),
        "A": RNG.getrandbits(32 if wide else 16),
        "B": RNG.getrandbits(32) if wide else RNG.randrange(15),
    }
    if kind == tp.UDP_KIND:
        row["A"] = 0
    return row


def _flow(version: int, vlan: int, protocol: int) -> dict[str, int]:
    wide = version == 6
    return {
        "src_hi": RNG.getrandbits(64) if wide else 0,
        "src_lo": RNG.getrandbits(64 if wide else 32),
        "dst_hi": RNG.getrandbits(64) if wide else 0,
        "dst_lo": RNG.getrandbits(64 if wide else 32),
        "src_mac": RNG.getrandbits(48),
        "dst_mac": RNG.getrandbits(48),
        "src_port": RNG.getrandbits(16),
        "dst_port": RNG.getrandbits(16),
        "vlan": vlan,
        "version": version,
        "protocol": protocol,
        "ttl_fwd": RNG.randrange(1, 256),
        "ttl_bwd": RNG.randrange(1, 256),
        "df": RNG.randrange(2),
    }


def _address(flow: dict[str, int], side: str) -> str:
    import ipaddress

    if flow["version"] == 4:
        return str(ipaddress.IPv4Address(flow[f"{side}_lo"]))
    return str(ipaddress.IPv6Address(flow[f"{side}_hi"] << 64 | flow[f"{side}_lo"]))


def _scapy(flow: dict[str, int], row: dict[str, int], payload: bytes) -> Packet:
    a, b = ("dst", "src") if row["DIR"] else ("src", "dst")
    mac = {s: flow[f"{s}_mac"].to_bytes(6).hex(":") for s in ("src", "dst")}
    ttl = flow["ttl_bwd"] if row["DIR"] else flow["ttl_fwd"]
    packet: Packet = Ether(src=mac[a], dst=mac[b])
    if flow["vlan"]:
        packet /= Dot1Q(vlan=flow["vlan"])
    if flow["version"] == 4:
        packet /= IP(src=_address(flow, a), dst=_address(flow, b), id=row["IPID"], ttl=ttl, flags="DF" if flow["df"] else 0)
    else:
        packet /= IPv6(src=_address(flow, a), dst=_address(flow, b), hlim=ttl)
    ports = {"sport": flow[f"{a}_port"], "dport": flow[f"{b}_port"]}
    kind = row["KIND"]
    if kind in _OPTIONS:
        l4 = TCP(**ports, seq=row["SEQ"], ack=row["ACK"], flags=row["FLAGS"], window=row["WIN"], options=_OPTIONS[kind](row))
    elif kind == tp.UDP_KIND:
        l4 = UDP(**ports)
    elif flow["version"] == 4:
        l4 = ICMP(type=8 if not row["DIR"] else 0, code=0, id=row["A"], seq=row["B"])
    else:
        l4 = (ICMPv6EchoReply if row["DIR"] else ICMPv6EchoRequest)(id=row["A"], seq=row["B"])
    return packet / l4 / Raw(payload) if payload else packet / l4


def _render(flows: list[dict[str, int]], rows: list[dict[str, int]]) -> list[bytes]:
    table = ConversationTable()
    for values in flows:
        view = table.reserve(1)
        for name, value in values.items():
            view[name] = value
    names = ["TS", "FLOW", "DIR", "KIND", "FLAGS", "SEQ", "ACK", "WIN", "IPID", "OFF", "LEN", "TSVAL", "TSECR", "A", "B"]
    matrix = np.array([[r[n] for n in names] for r in rows], np.int64)
    batch = render(matrix, table.rows, POOL)
    assert batch.ts.tolist() == [r["TS"] for r in rows]
    assert batch.wire_len.tolist() == np.diff(batch.offsets).tolist()
    return [batch.frame(i) for i in range(len(batch))]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("vlan", [0, 1234])
@pytest.mark.parametrize("kind", range(tp.ICMP_ERROR))
def test_frames_equal_scapys(kind: int, vlan: int, version: int) -> None:
    icmp = 1 if version == 4 else 58
    protocol = 6 if kind < tp.UDP_KIND else 17 if kind == tp.UDP_KIND else icmp
    for back in (0, 1):
        for length in (0, 1, 7, 8, 535, 1400):
            flow, row = _flow(version, vlan, protocol), _row(kind, back, length)
            if kind == tp.ICMP_ECHO:
                row["FLAGS"] = (([8, 0] if version == 4 else [128, 129])[back]) << 8
            payload = POOL[row["OFF"] : row["OFF"] + length].tobytes()
            assert _render([flow], [row])[0] == bytes(_scapy(flow, row, payload))


def test_dns_id_is_written_into_the_payload() -> None:
    flow, row = _flow(4, 0, 17), _row(tp.UDP_KIND, 0, 40)
    row["A"] = 0x10000 | 0xBEEF
    payload = b"\xbe\xef" + POOL[row["OFF"] + 2 : row["OFF"] + 40].tobytes()
    assert _render([flow], [row])[0] == bytes(_scapy(flow, row, payload))


@pytest.mark.parametrize("vlan", [0, 77])
def test_port_unreachable_quotes_the_datagram(vlan: int) -> None:
    probe = _flow(4, vlan, 17)
    error = _flow(4, vlan, 1) | {"src_lo": probe["dst_lo"], "dst_lo": probe["src_lo"], "src_port": 0, "dst_port": 0}
    sent = _row(tp.UDP_KIND, 0, 33)
    told = _row(tp.ICMP_ERROR, 0, 28) | {"FLOW": 1, "FLAGS": 3 << 8 | 3, "A": 0, "B": 33, "OFF": sent["OFF"], "IPID": sent["IPID"]}
    frames = _render([probe, error], [sent, told])
    l3 = 18 if vlan else 14
    ours = Ether(frames[1])
    quoted = frames[0][l3 : l3 + 28]
    assert frames[1][l3 + 28 : l3 + 56] == quoted
    expected = _scapy(error, told | {"KIND": tp.ICMP_ECHO, "A": 0, "B": 0}, b"")
    expected[ICMP].type, expected[ICMP].code = 3, 3
    expected[ICMP].id = expected[ICMP].seq = None
    assert frames[1] == bytes(expected / Raw(quoted))
    assert ours[IPerror].dst == _address(probe, "dst")
    assert ours[UDPerror].dport == probe["dst_port"]


def test_short_frames_are_padded_where_a_port_received_them() -> None:
    flow, row = _flow(4, 0, 6) | {"pad": 1}, _row(tp.TCP_PLAIN, 0, 0)
    frame = _render([flow], [row])[0]
    assert len(frame) == 60
    assert frame[:54] == bytes(_scapy(flow, row, b""))
    assert frame[54:] == bytes(6)


def test_a_zero_udp_checksum_is_sent_as_ones() -> None:
    flow, row = _flow(4, 0, 17), _row(tp.UDP_KIND, 0, 2)
    table = ConversationTable()
    view = table.reserve(1)
    for name, value in flow.items():
        view[name] = value
    for number in range(1, 1 << 16):  # one DNS id makes the sum come out as zero
        row["A"] = 0x10000 | number
        if int.from_bytes(_render([flow], [row])[0][40:42]) == 0xFFFF:
            break
    else:
        pytest.fail("no number gave the checksum 0xFFFF")
    payload = number.to_bytes(2)
    assert _render([flow], [row])[0] == bytes(_scapy(flow, row, payload))


def test_every_template_of_scapy_is_used() -> None:
    headers, offsets = tp.templates()
    assert headers.shape[0] == 4 * tp.KINDS
    assert (offsets[:, tp.LENGTH] > 0).all()
    assert ICMPv6DestUnreach in tp.layers(False, 6, tp.ICMP_ERROR).layers()
