"""Identities of a flow record: flow id, community id, addresses as text."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# ICMP messages that are one half of a conversation: type -> type of the answer (Community ID specification v1, ICMP mapping)
_ICMP4_PEER = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 10: 9, 9: 10, 17: 18, 18: 17}
_ICMP6_PEER = {128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135, 130: 131, 131: 130, 144: 145, 145: 144, 139: 140, 140: 139}


def address_texts(version: NDArray, hi: NDArray, lo: NDArray) -> tuple[list[str], list[bytes]]:
    """Addresses as text and as network-order bytes; every distinct address is formatted once."""
    n = len(version)
    texts: list[str] = [""] * n
    packed: list[bytes] = [b""] * n
    v4 = np.flatnonzero(version == 4)
    # a hash table over 64-bit integers is several times faster than sorting structured keys
    codes = pa.array(lo[v4]).dictionary_encode()
    own = [struct.pack("!I", a) for a in codes.dictionary.to_pylist()]
    shown = [socket.inet_ntop(socket.AF_INET, b) for b in own]
    for i, code in zip(v4.tolist(), codes.indices.to_pylist(), strict=True):
        texts[i], packed[i] = shown[code], own[code]
    known: dict[tuple[int, int], tuple[str, bytes]] = {}
    for i in np.flatnonzero(version != 4).tolist():
        key = (int(hi[i]), int(lo[i]))
        if key not in known:
            address = struct.pack("!QQ", *key)
            known[key] = (socket.inet_ntop(socket.AF_INET6, address), address)
        texts[i], packed[i] = known[key]
    return texts, packed


def flow_id(domain: str, src: bytes, dst: bytes, sport: int, dport: int, proto: int, start_us: int, part: int) -> str:
    """UUID (version 8, RFC 9562) of a record: the first 16 bytes of BLAKE2b over domain, key, start time and part.

    The same packets give the same id wherever and however often they are metered.
    """
    head = struct.pack("!BHHBqI", len(src), sport, dport, proto, start_us, part)
    d = bytearray(hashlib.blake2b(head + src + dst + domain.encode(), digest_size=16).digest())
    d[6] = (d[6] & 0x0F) | 0x80
    d[8] = (d[8] & 0x3F) | 0x80
    h = d.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def community_id(src: bytes, dst: bytes, sport: int, dport: int, proto: int, icmp_type: int, icmp_code: int) -> str:
    """Community ID v1, seed 0 (github.com/corelight/community-id-spec)."""
    one_way = False
    if proto in (1, 58) and icmp_type >= 0:
        peers = _ICMP4_PEER if proto == 1 else _ICMP6_PEER
        sport = icmp_type
        if icmp_type in peers:
            dport = peers[icmp_type]
        else:
            dport = icmp_code
            one_way = True
    ports = proto in (1, 6, 17, 58, 132)
    if not one_way and not (src < dst or (src == dst and (not ports or sport <= dport))):
        src, dst, sport, dport = dst, src, dport, sport
    message = b"\x00\x00" + src + dst + bytes((proto, 0))
    if ports:
        message += struct.pack("!HH", sport, dport)
    return "1:" + base64.b64encode(hashlib.sha1(message, usedforsecurity=False).digest()).decode()
