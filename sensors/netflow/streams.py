"""What a datagram tells without being decoded: to which stream it belongs, and whether it defines templates.

Headers: Cisco's of NetFlow v5, RFC 3954 (5.1) of v9, RFC 7011 (3.1) of IPFIX, "sFlow Version 5" (sFlow.org 2004).
"""

from __future__ import annotations

import struct
import zlib

from schemas.rawflows import RawDatagram

_SET = struct.Struct(">HH")
#: version -> where the domain lies (v5: engine; v9: source; IPFIX: observation domain)
_DOMAINS = {5: slice(20, 22), 9: slice(16, 20), 10: slice(12, 16)}
#: version -> bytes of the header, sets that define templates
_TEMPLATES = {9: (20, (0, 1)), 10: (16, (2, 3))}
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


def raw_datagram(payload: bytes, sender: bytes, port: int, listening: int, received_us: int, kept_of: int = 1) -> RawDatagram:
    """A datagram with the hash of its stream."""
    return RawDatagram(payload, sender, port, listening, received_us, kept_of, zlib.crc32(stream_key(payload, sender)))


def teaches(payload: bytes) -> bool:
    """Whether it defines templates, without which data that follow cannot be read."""
    header, kinds = _TEMPLATES.get(int.from_bytes(payload[:2], "big"), (0, ()))
    at = header
    for _ in range(_MOST_SETS if kinds else 0):
        if at + _SET.size > len(payload):
            break
        kind, length = _SET.unpack_from(payload, at)
        if kind in kinds:
            return True
        if length < _SET.size:
            break
        at += length
    return False
