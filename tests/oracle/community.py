"""Community ID v1, after the public specification (corelight/community-id-spec)."""

from __future__ import annotations

import base64
import hashlib
import struct

from tests.oracle.parse import ICMP, ICMP6, SCTP, TCP, UDP

_PAIRS4 = ((8, 0), (13, 14), (15, 16), (10, 9), (17, 18))
_PAIRS6 = ((128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145))


def _answers(pairs: tuple[tuple[int, int], ...]) -> dict[int, int]:
    return dict(pairs) | {b: a for a, b in pairs}


def community_id(
    src: bytes, dst: bytes, proto: int, sport: int = 0, dport: int = 0, icmp: tuple[int, int] = (-1, -1), seed: int = 0
) -> str:
    """``1:`` and the base64 of SHA-1 over seed, ordered addresses, protocol and ordered ports.

    ICMP messages that have an answer carry type and answer's type as ports; the others type and code, and keep their order. Those too
    short to have a type carry zeros.
    """
    ports, one_way = proto in (TCP, UDP, SCTP, ICMP, ICMP6), False
    if proto in (ICMP, ICMP6) and icmp[0] >= 0:
        answers = _answers(_PAIRS4 if proto == ICMP else _PAIRS6)
        sport, dport = icmp[0], answers.get(icmp[0], icmp[1])
        one_way = icmp[0] not in answers
    if not one_way and (src, sport) > (dst, dport):
        src, dst, sport, dport = dst, src, dport, sport
    data = struct.pack("!H", seed) + src + dst + bytes((proto, 0))
    if ports:
        data += struct.pack("!HH", sport, dport)
    return "1:" + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
