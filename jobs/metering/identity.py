"""Identities of flow records as Arrow columns: flow id, community id, addresses and times as text.

Compiled, row after row straight into the columns' buffers: made one by one in Python, the two ids and the addresses of a record took
longer than metering its packets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from infra.kernels import allocating_kernel
from jobs.metering.hashing import blake2b, sha1_short
from jobs.metering.row import OPENED_LATE

# ICMP messages that are one half of a conversation: type -> type of the answer (Community ID specification v1, ICMP mapping)
_ICMP4_PEER = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 10: 9, 9: 10, 17: 18, 18: 17}
_ICMP6_PEER = {128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135, 130: 131, 131: 130, 144: 145, 145: 144, 139: 140, 140: 139}


def _peer_table(peers: dict[int, int]) -> NDArray[np.int64]:
    table = np.full(256, -1, np.int64)
    table[list(peers)] = list(peers.values())
    return table


_PEERS4, _PEERS6 = _peer_table(_ICMP4_PEER), _peer_table(_ICMP6_PEER)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8).copy()
_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8).copy()
_UUID_CHARS, _COMMUNITY_CHARS, _ADDRESS_CHARS = 36, 30, 46


@njit(cache=True, nogil=True)
def _pack_address(version, hi, lo, out, at):  # type: ignore[no-untyped-def]
    """Network-order bytes of an address; returns the position behind them."""
    if version != 4:
        for i in range(8):
            out[at + i] = (hi >> np.uint64(56 - 8 * i)) & np.uint64(255)
        at += 8
        for i in range(8):
            out[at + i] = (lo >> np.uint64(56 - 8 * i)) & np.uint64(255)
        return at + 8
    for i in range(4):
        out[at + i] = (lo >> np.uint64(24 - 8 * i)) & np.uint64(255)
    return at + 4


@allocating_kernel
def _flow_ids(rows, names, name_at, out):  # type: ignore[no-untyped-def]
    h, v, m = np.empty(8, np.uint64), np.empty(16, np.uint64), np.empty(16, np.uint64)
    longest = 0
    for d in range(name_at.shape[0] - 1):
        longest = max(longest, name_at[d + 1] - name_at[d])
    message = np.empty(50 + longest, np.uint8)
    digest = np.empty(16, np.uint8)
    for n in range(rows.shape[0]):
        r = rows[n]
        message[0] = 4 if r.ipver == 4 else 16
        message[1], message[2] = r.sport >> 8, r.sport & 255
        message[3], message[4] = r.dport >> 8, r.dport & 255
        message[5] = r.proto
        start = np.uint64(r.start)
        for i in range(8):
            message[6 + i] = (start >> np.uint64(56 - 8 * i)) & np.uint64(255)
        for i in range(4):
            message[14 + i] = (r.part >> np.uint32(24 - 8 * i)) & np.uint32(255)
        if r.tcp & OPENED_LATE:  # a flow of the same key that began at the same time may have ended while the fragment waited
            message[14] |= 128
        at = _pack_address(r.ipver, r.src_hi, r.src_lo, message, 18)
        at = _pack_address(r.ipver, r.dst_hi, r.dst_lo, message, at)
        for i in range(name_at[r.domain], name_at[r.domain + 1]):
            message[at] = names[i]
            at += 1
        blake2b(message, at, 16, h, v, m)
        for i in range(16):
            digest[i] = (h[i >> 3] >> np.uint64(8 * (i & 7))) & np.uint64(255)
        digest[6] = (digest[6] & 0x0F) | 0x80
        digest[8] = (digest[8] & 0x3F) | 0x80
        k = 0
        for i in range(16):
            if i == 4 or i == 6 or i == 8 or i == 10:
                out[n, k] = 45
                k += 1
            out[n, k] = _HEX[digest[i] >> 4]
            out[n, k + 1] = _HEX[digest[i] & 15]
            k += 2


@allocating_kernel
def _community_ids(rows, seed, out):  # type: ignore[no-untyped-def]
    h, w = np.empty(5, np.uint32), np.empty(80, np.uint32)
    message = np.zeros(56, np.uint8)
    digest = np.zeros(21, np.uint8)
    for n in range(rows.shape[0]):
        r = rows[n]
        sport, dport = np.int64(r.sport), np.int64(r.dport)
        one_way = False
        if (r.proto == 1 or r.proto == 58) and r.conn_type >= 0:
            peer = _PEERS4[r.conn_type & 255] if r.proto == 1 else _PEERS6[r.conn_type & 255]
            sport = np.int64(r.conn_type)
            if peer >= 0:
                dport = peer
            else:
                dport = np.int64(r.conn_code)
                one_way = True
        ports = r.proto == 1 or r.proto == 6 or r.proto == 17 or r.proto == 58 or r.proto == 132
        same = r.src_hi == r.dst_hi and r.src_lo == r.dst_lo
        lower = r.src_hi < r.dst_hi or (r.src_hi == r.dst_hi and r.src_lo < r.dst_lo)
        message[0] = seed >> 8
        message[1] = seed & 255
        if one_way or lower or (same and (not ports or sport <= dport)):
            at = _pack_address(r.ipver, r.src_hi, r.src_lo, message, 2)
            at = _pack_address(r.ipver, r.dst_hi, r.dst_lo, message, at)
        else:
            at = _pack_address(r.ipver, r.dst_hi, r.dst_lo, message, 2)
            at = _pack_address(r.ipver, r.src_hi, r.src_lo, message, at)
            sport, dport = dport, sport
        message[at] = r.proto
        message[at + 1] = 0
        at += 2
        if ports:
            message[at], message[at + 1] = (sport >> 8) & 255, sport & 255
            message[at + 2], message[at + 3] = (dport >> 8) & 255, dport & 255
            at += 4
        sha1_short(message, at, h, w)
        for i in range(20):
            digest[i] = (h[i >> 2] >> np.uint32(24 - 8 * (i & 3))) & np.uint32(255)
        out[n, 0] = 49
        out[n, 1] = 58
        for i in range(7):
            a, b, c = np.int64(digest[3 * i]), np.int64(digest[3 * i + 1]), np.int64(digest[3 * i + 2])
            k = 2 + 4 * i
            out[n, k] = _BASE64[a >> 2]
            out[n, k + 1] = _BASE64[((a & 3) << 4) | (b >> 4)]
            out[n, k + 2] = _BASE64[((b & 15) << 2) | (c >> 6)]
            out[n, k + 3] = _BASE64[c & 63]
        out[n, 29] = 61  # 20 bytes leave one '='


@njit(cache=True, nogil=True)
def _write_decimal(value, out, at):  # type: ignore[no-untyped-def]
    """Decimal digits of 0..65535."""
    top = 1
    while top * 10 <= value:
        top *= 10
    while top:
        out[at] = 48 + value // top % 10
        at += 1
        top //= 10
    return at


@njit(cache=True, nogil=True)
def _write_dotted(lo, out, at):  # type: ignore[no-untyped-def]
    for i in range(4):
        if i:
            out[at] = 46
            at += 1
        at = _write_decimal(np.int64((lo >> np.uint64(24 - 8 * i)) & np.uint64(255)), out, at)
    return at


@njit(cache=True, nogil=True)
def _address_texts(version, hi, lo, out, ends):  # type: ignore[no-untyped-def]
    """Dotted quads, and the canonical text of IPv6 addresses (RFC 5952, as inet_ntop writes it)."""
    group = np.empty(8, np.int64)
    at = 0
    for n in range(version.shape[0]):
        if version[n] == 4:
            at = _write_dotted(lo[n], out, at)
            ends[n + 1] = at
            continue
        for i in range(4):
            group[i] = np.int64((hi[n] >> np.uint64(48 - 16 * i)) & np.uint64(0xFFFF))
            group[4 + i] = np.int64((lo[n] >> np.uint64(48 - 16 * i)) & np.uint64(0xFFFF))
        best, best_length, i = -1, 1, 0
        while i < 8:
            run = 0
            while i + run < 8 and group[i + run] == 0:
                run += 1
            if run > best_length:
                best, best_length = i, run
            i += max(run, 1)
        i = 0
        while i < 8:
            if i == best:
                out[at] = 58
                at += 1
                if i + best_length == 8:
                    out[at] = 58
                    at += 1
                i += best_length
                continue
            if i:
                out[at] = 58
                at += 1
            if i == 6 and best == 0 and (best_length == 6 or (best_length == 5 and group[5] == 0xFFFF)):
                at = _write_dotted(lo[n], out, at)
                break
            shift = 12
            while shift and group[i] >> shift == 0:
                shift -= 4
            while shift >= 0:
                out[at] = _HEX[(group[i] >> shift) & 15]
                at += 1
                shift -= 4
            i += 1
        ends[n + 1] = at


def _fixed(texts: NDArray[np.uint8]) -> pa.StringArray:
    """A column of texts that are all as long as ``texts`` is wide."""
    n, width = texts.shape
    ends = np.arange(0, (n + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(n, pa.py_buffer(ends), pa.py_buffer(texts))


def flow_ids(rows: NDArray, domains: Sequence[str]) -> pa.StringArray:
    """UUIDs (version 8, RFC 9562) of records: the first 16 bytes of BLAKE2b over domain, key, start time and part.

    The same packets give the same id wherever and however often they are metered.

    Raises
    ------
    ValueError
        A row's domain has no name.
    """
    if len(rows) and int(rows["domain"].max()) >= len(domains):  # the compiled code would read beyond the names
        raise ValueError(f"domain {int(rows['domain'].max())} of a flow row has no name among {len(domains)}")
    names = [name.encode() for name in domains]
    name_at = np.zeros(len(names) + 1, np.int64)
    np.cumsum([len(name) for name in names], out=name_at[1:])
    out = np.empty((len(rows), _UUID_CHARS), np.uint8)
    _flow_ids(rows, np.frombuffer(b"".join(names) or b"\0", np.uint8), name_at, out)
    return _fixed(out)


def community_ids(rows: NDArray, seed: int = 0) -> pa.StringArray:
    """Community ID v1 with a seed of 16 bits (github.com/corelight/community-id-spec)."""
    out = np.empty((len(rows), _COMMUNITY_CHARS), np.uint8)
    _community_ids(rows, seed, out)
    return _fixed(out)


def address_texts(version: NDArray, hi: NDArray, lo: NDArray) -> pa.StringArray:
    """Addresses as text: ``version`` 4 or 6, IPv4 in the low 32 bits of ``lo``."""
    n = len(version)
    out = np.empty(n * _ADDRESS_CHARS, np.uint8)
    ends = np.zeros(n + 1, np.int32)
    _address_texts(version, hi, lo, out, ends)
    return pa.StringArray.from_buffers(n, pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]].copy()))
