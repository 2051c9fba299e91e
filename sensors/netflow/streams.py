"""What a datagram tells without being decoded: to which stream it belongs, and whether others are read by it.

Headers: Cisco's of NetFlow v5, RFC 3954 (5.1) of v9, RFC 7011 (3.1) of IPFIX, "sFlow Version 5" (sFlow.org 2004).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator

from schemas.rawflows import RawDatagram

_SET, _OPTIONS = struct.Struct(">HH"), struct.Struct(">HHH")
#: version -> where the domain lies (v5: engine; v9: source; IPFIX: observation domain)
_DOMAINS = {5: slice(20, 22), 9: slice(16, 20), 10: slice(12, 16)}
_NETFLOW9, _IPFIX = b"\x00\x09", b"\x00\x0a"
_OPTIONS_9, _OPTIONS_10 = 1, 3
#: version -> bytes of the header, kinds of sets that define templates
_SETS_OF = {_NETFLOW9: (20, (0, _OPTIONS_9)), _IPFIX: (16, (2, _OPTIONS_10))}
_NO_SETS: tuple[int, tuple[int, ...]] = (0, ())
#: Of templates; lower numbers are kinds of sets.
_FIRST_ID = 256
#: In front of an IPv4 address (RFC 4291, 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"
#: sFlow, by kind of the agent's address (IPv4, IPv6): version, kind, address and sub-agent.
_AGENTS = {b"\x00\x00\x00\x01": 16, b"\x00\x00\x00\x02": 28}
_SFLOW = b"\x00\x00\x00\x05"
#: Looked at in one datagram; exporters put a few into one, and a datagram of empty sets must not keep a listener busy.
_MOST_SETS = 64


def stream_key(payload: bytes, sender: bytes) -> bytes:
    """What is the same in all datagrams of one exporter and domain (sFlow: of agent and sub-agent), and only there.

    Parameters
    ----------
    payload
        Of any version; of an unknown one the sender alone is the key.
    sender
        16 bytes.
    """
    if payload[:4] == _SFLOW:
        return sender + payload[: _AGENTS.get(payload[4:8], 8)]
    version = payload[:2]
    return sender + version + payload[_DOMAINS.get(int.from_bytes(version, "big"), slice(0, 0))]


def stream_of(sender: bytes, agent: bytes, version: int, domain: int) -> int:
    """The hash of a stream, by what a decoder tells streams apart by (``version`` 105: sFlow): that of :func:`raw_datagram`."""
    if version == 105:
        four = agent.startswith(_MAPPED)
        kind, address = (1, agent[12:]) if four else (2, agent)
        return zlib.crc32(sender + _SFLOW + kind.to_bytes(4, "big") + address + domain.to_bytes(4, "big"))
    return zlib.crc32(sender + version.to_bytes(2, "big") + domain.to_bytes(2 if version == 5 else 4, "big"))


def raw_datagram(payload: bytes, sender: bytes, port: int, listening: int, received_us: int, kept_of: int = 1) -> RawDatagram:
    """A datagram with the hash of its stream."""
    return RawDatagram(payload, sender, port, listening, received_us, kept_of, zlib.crc32(stream_key(payload, sender)))


def teaches(payload: bytes, options: Collection[int] = ()) -> bool:
    """Whether it holds what data that follow are read by: definitions of templates, or data of the templates in ``options`` (ids)."""
    _, kinds = _SETS_OF.get(payload[:2], _NO_SETS)
    return any(kind in kinds or kind in options for kind, _, _ in sets(payload))


def option_ids(payload: bytes) -> list[int]:
    """Ids of the options templates that it defines: sampling rates, names of interfaces and such come in data of these."""
    if payload[:2] == _NETFLOW9:
        return [one for kind, at, end in sets(payload) if kind == _OPTIONS_9 for one in _options9(payload, at, end)]
    if payload[:2] == _IPFIX:
        return [one for kind, at, end in sets(payload) if kind == _OPTIONS_10 for one in _options10(payload, at, end)]
    return []


def sets(payload: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind of each set, and where its content begins and ends; as far as they make sense."""
    at, _ = _SETS_OF.get(payload[:2], _NO_SETS)
    for _ in range(_MOST_SETS if at else 0):
        if at + _SET.size > len(payload):
            return
        kind, length = _SET.unpack_from(payload, at)
        if length < _SET.size:
            return
        yield kind, at + _SET.size, min(at + length, len(payload))
        at += length


def _options9(payload: bytes, at: int, end: int) -> Iterator[int]:
    """RFC 3954, 6.1: id, and the bytes of the scopes and of the options."""
    while at + _OPTIONS.size <= end:
        number, scopes, options = _OPTIONS.unpack_from(payload, at)
        if number >= _FIRST_ID:  # else padding
            yield number
        at += _OPTIONS.size + scopes + options


def _options10(payload: bytes, at: int, end: int) -> Iterator[int]:
    """RFC 7011, 3.4.2.2: id, how many fields, how many of them are scopes; a field with the enterprise bit has four bytes more."""
    while at + _OPTIONS.size <= end:
        number, fields, _ = _OPTIONS.unpack_from(payload, at)
        if number < _FIRST_ID or not fields:  # padding, a withdrawal
            return
        yield number
        at += _OPTIONS.size
        for _ in range(fields):
            if at >= end:
                return
            at += 8 if payload[at] & 0x80 else 4
