"""An encoder of NetFlow v5, v9, IPFIX and sFlow v5, written from the specifications and apart from the decoder."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import Any

from jobs.flowexport.columns import FlowColumns
from jobs.flowexport.datagrams import DatagramBatch, address16
from jobs.flowexport.decoder import Decoded, decode
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.session import ExportSession, ExportSessions

#: Seconds and uptime (ms) of every header unless a test says otherwise.
NOW, UPTIME = 1_767_225_600, 10_000_000
EXPORTER = "192.0.2.1"
VARIABLE = 0xFFFF

#: A template of flows that most tests use: element and length.
PLAIN = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (1, 4), (2, 4), (22, 4), (21, 4))


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def plain(source: str = "10.0.0.1", size: int = 1000, packets: int = 10, sport: int = 1234, dport: int = 80) -> bytes:
    """A record of :data:`PLAIN`, a TCP flow from 5 s to 1 s before the export."""
    times = struct.pack(">II", UPTIME - 5000, UPTIME - 1000)
    return ip(source) + ip("10.0.0.2") + struct.pack(">HHBBII", sport, dport, 6, 0x1B, size, packets) + times


# ---- NetFlow v5


def v5_record(
    source: str = "10.0.0.1", size: int = 1000, packets: int = 10, first: int = UPTIME - 5000, last: int = UPTIME - 1000
) -> bytes:
    head = ip(source) + ip("10.0.0.2") + ip("10.0.0.254") + struct.pack(">HHIIII", 3, 4, packets, size, first, last)
    return head + struct.pack(">HHxBBBHHBBxx", 1234, 80, 0x1B, 6, 0x48, 64500, 64501, 24, 16)


def v5(
    records: Sequence[bytes],
    sequence: int = 0,
    *,
    now: int = NOW,
    uptime: int = UPTIME,
    sampling: int = 0,
    count: int = -1,
    engine: int = 0,
) -> bytes:
    n = len(records) if count < 0 else count
    return struct.pack(">HHIIIIBBH", 5, n, uptime, now, 250_000_000, sequence, engine >> 8, engine & 255, sampling) + b"".join(records)


# ---- sets of v9 and IPFIX


def a_set(number: int, body: bytes, *, pad: bool = True) -> bytes:
    body += bytes(-len(body) % 4) if pad else b""
    return struct.pack(">HH", number, len(body) + 4) + body


def specifiers(fields: Sequence[tuple[int, ...]]) -> bytes:
    """Element and length, or element, length and enterprise."""
    made = b""
    for element, length, *enterprise in fields:
        made += struct.pack(">HHI", element | 0x8000, length, *enterprise) if enterprise else struct.pack(">HH", element, length)
    return made


def template(number: int, fields: Sequence[tuple[int, ...]]) -> bytes:
    return struct.pack(">HH", number, len(fields)) + specifiers(fields)


def templates9(*some: bytes) -> bytes:
    return a_set(0, b"".join(some))


def templates10(*some: bytes) -> bytes:
    return a_set(2, b"".join(some))


def options9(number: int, scopes: Sequence[tuple[int, int]], fields: Sequence[tuple[int, int]]) -> bytes:
    return a_set(1, struct.pack(">HHH", number, 4 * len(scopes), 4 * len(fields)) + specifiers(scopes) + specifiers(fields))


def options10(number: int, scopes: Sequence[tuple[int, ...]], fields: Sequence[tuple[int, ...]]) -> bytes:
    head = struct.pack(">HHH", number, len(scopes) + len(fields), len(scopes))
    return a_set(3, head + specifiers([*scopes, *fields]))


def data(number: int, *records: bytes, pad: bool = True) -> bytes:
    return a_set(number, b"".join(records), pad=pad)


def variable(value: bytes, *, long: bool = False) -> bytes:
    """A value behind its length."""
    if long or len(value) >= 255:
        return b"\xff" + struct.pack(">H", len(value)) + value
    return bytes([len(value)]) + value


def v9(*sets: bytes, sequence: int = 0, domain: int = 1, now: int = NOW, uptime: int = UPTIME, count: int = 1) -> bytes:
    return struct.pack(">HHIIII", 9, count, uptime, now, sequence, domain) + b"".join(sets)


def ipfix(*sets: bytes, sequence: int = 0, domain: int = 1, now: int = NOW, length: int = -1) -> bytes:
    body = b"".join(sets)
    return struct.pack(">HHIII", 10, len(body) + 16 if length < 0 else length, now, sequence, domain) + body


# ---- sFlow v5


def xdr_address(text: str) -> bytes:
    packed = ip(text)
    return struct.pack(">I", 1 if len(packed) == 4 else 2) + packed


def sflow_record(kind: int, body: bytes, enterprise: int = 0) -> bytes:
    return struct.pack(">II", enterprise << 12 | kind, len(body)) + body + bytes(-len(body) % 4)


def raw_header(frame: bytes, length: int = 0, protocol: int = 1, stripped: int = 4) -> bytes:
    length = length or len(frame) + stripped
    return sflow_record(1, struct.pack(">IIII", protocol, length, stripped, len(frame)) + frame + bytes(-len(frame) % 4))


def flow_sample(
    *records: bytes, number: int = 1, source: int = 7, rate: int = 100, pool: int = 100, came: int = 7, went: int = 8, drops: int = 0
) -> bytes:
    body = struct.pack(">IIIIIIII", number, source, rate, pool, drops, came, went, len(records)) + b"".join(records)
    return struct.pack(">II", 1, len(body)) + body


def expanded_sample(
    *records: bytes, number: int = 1, source: int = 7, rate: int = 100, pool: int = 100, went: tuple[int, int] = (0, 8)
) -> bytes:
    body = struct.pack(">IIIIIIIIIII", number, 0, source, rate, pool, 0, 0, 7, *went, len(records)) + b"".join(records)
    return struct.pack(">II", 3, len(body)) + body


def sflow(*samples: bytes, sequence: int = 1, agent: str = EXPORTER, sub_agent: int = 0, uptime: int = UPTIME, count: int = -1) -> bytes:
    n = len(samples) if count < 0 else count
    return struct.pack(">I", 5) + xdr_address(agent) + struct.pack(">IIII", sub_agent, sequence, uptime, n) + b"".join(samples)


# ---- frames


def ethernet(payload: bytes, kind: int = 0x0800, tags: Sequence[tuple[int, int]] = ()) -> bytes:
    made = bytes.fromhex("020000000002020000000001")
    for tag, vlan in tags:
        made += struct.pack(">HH", tag, vlan)
    return made + struct.pack(">H", kind) + payload


def ipv4(payload: bytes, proto: int = 17, source: str = "10.0.0.1", target: str = "10.0.0.2", tos: int = 0) -> bytes:
    return struct.pack(">BBHHHBBH", 0x45, tos, 20 + len(payload), 1, 0, 64, proto, 0) + ip(source) + ip(target) + payload


def ipv6(
    payload: bytes, proto: int = 17, source: str = "2001:db8::1", target: str = "2001:db8::2", traffic: int = 0, label: int = 0
) -> bytes:
    return struct.pack(">IHBB", 6 << 28 | traffic << 20 | label, len(payload), proto, 64) + ip(source) + ip(target) + payload


def udp(payload: bytes = b"x" * 12, sport: int = 1111, dport: int = 2222) -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


# ---- decoding


class Collector:
    """A decoder with its state, fed with datagrams of one exporter unless told otherwise."""

    def __init__(self, **rules: Any) -> None:
        self.rules = DecodeRules(**rules)
        self.sessions = ExportSessions()
        self.rejected: list[tuple[str, bool]] = []

    def feed(self, *payloads: bytes, sender: str = EXPORTER, port: int = 2055, received: float = NOW) -> FlowColumns:
        """Records of datagrams that come together (their seconds of receipt: ``received``)."""
        found = self.decoded(*payloads, sender=sender, port=port, received=received)
        self.rejected += [(str(r.reason), r.whole) for piece in found for r in piece.rejected]
        (flows,) = [piece.flows for piece in found] or [FlowColumns.empty(0)]
        return flows

    def decoded(self, *payloads: bytes, sender: str = EXPORTER, port: int = 2055, received: float = NOW) -> list[Decoded]:
        batch = DatagramBatch.of((p, address16(sender), port, int(received * 1_000_000)) for p in payloads)
        return list(decode(batch, self.sessions, self.rules))

    @property
    def session(self) -> ExportSession:
        (only,) = self.sessions.known.values()
        return only

    @property
    def account(self) -> dict[str, int]:
        return self.session.account()


def text(address: Any) -> str:
    """An address of 16 bytes as people write it."""
    found = ipaddress.IPv6Address(bytes(address))
    return str(found.ipv4_mapped or found)


def extra(flows: FlowColumns, row: int = 0) -> dict[str, bytes]:
    """The extras of one record."""
    return dict(flows.to_arrow().column("extra")[row].as_py())
