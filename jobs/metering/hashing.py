"""BLAKE2b and SHA-1 inside compiled kernels: two hashes per flow record, without an object per record.

``hashlib`` costs 3.5 us a hash from Python, most of it the call; these take a tenth. Sources: RFC 7693 (BLAKE2), RFC 3174 (SHA-1; used
because Community ID names it, not for security).
"""

from __future__ import annotations

import numpy as np
from numba import njit

_IV = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip

_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    np.int64,
)  # fmt: skip


@njit(cache=True, nogil=True)
def _rotr(x, n):  # type: ignore[no-untyped-def]
    return (x >> np.uint64(n)) | (x << np.uint64(64 - n))


@njit(cache=True, nogil=True)
def _mixing(v, a, b, c, d, x, y):  # type: ignore[no-untyped-def]
    """RFC 7693, section 3.1: function G."""
    v[a] = v[a] + v[b] + x
    v[d] = _rotr(v[d] ^ v[a], 32)
    v[c] = v[c] + v[d]
    v[b] = _rotr(v[b] ^ v[c], 24)
    v[a] = v[a] + v[b] + y
    v[d] = _rotr(v[d] ^ v[a], 16)
    v[c] = v[c] + v[d]
    v[b] = _rotr(v[b] ^ v[c], 63)


@njit(cache=True, nogil=True)
def blake2b(message, length, size, h, v, m):  # type: ignore[no-untyped-def]
    """Unkeyed BLAKE2b of ``message[:length]`` with a digest of ``size`` bytes (RFC 7693, section 3.3).

    ``h`` (uint64, 8) holds the digest afterwards, little-endian words; ``v`` and ``m`` (uint64, 16 each) are scratch.
    """
    for i in range(8):
        h[i] = _IV[i]
    h[0] ^= np.uint64(0x01010000) ^ np.uint64(size)
    at = 0
    while True:
        last = length - at <= 128
        for i in range(16):
            word = np.uint64(0)
            for j in range(8):
                k = at + 8 * i + j
                if k < length:
                    word |= np.uint64(message[k]) << np.uint64(8 * j)
            m[i] = word
        at = length if last else at + 128
        for i in range(8):
            v[i] = h[i]
            v[i + 8] = _IV[i]
        v[12] ^= np.uint64(at)
        if last:
            v[14] = ~v[14]
        for turn in range(12):
            s = _SIGMA[turn % 10]
            _mixing(v, 0, 4, 8, 12, m[s[0]], m[s[1]])
            _mixing(v, 1, 5, 9, 13, m[s[2]], m[s[3]])
            _mixing(v, 2, 6, 10, 14, m[s[4]], m[s[5]])
            _mixing(v, 3, 7, 11, 15, m[s[6]], m[s[7]])
            _mixing(v, 0, 5, 10, 15, m[s[8]], m[s[9]])
            _mixing(v, 1, 6, 11, 12, m[s[10]], m[s[11]])
            _mixing(v, 2, 7, 8, 13, m[s[12]], m[s[13]])
            _mixing(v, 3, 4, 9, 14, m[s[14]], m[s[15]])
        for i in range(8):
            h[i] ^= v[i] ^ v[i + 8]
        if last:
            return


@njit(cache=True, nogil=True)
def _rotl32(x, n):  # type: ignore[no-untyped-def]
    return ((x << np.uint32(n)) | (x >> np.uint32(32 - n))) & np.uint32(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def sha1_short(message, length, h, w):  # type: ignore[no-untyped-def]
    """SHA-1 of ``message[:length]``, at most 55 bytes (one block; RFC 3174, section 6.1).

    ``h`` (uint32, 5) holds the digest afterwards, big-endian words; ``w`` (uint32, 80) is scratch.
    """
    for i in range(16):
        word = np.uint32(0)
        for j in range(4):
            k = 4 * i + j
            byte = np.uint32(0)
            if k < length:
                byte = np.uint32(message[k])
            elif k == length:
                byte = np.uint32(0x80)
            word = (word << np.uint32(8)) | byte
        w[i] = word
    w[15] = np.uint32(length * 8)
    for i in range(16, 80):
        w[i] = _rotl32(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1)
    a, b, c, d, e = np.uint32(0x67452301), np.uint32(0xEFCDAB89), np.uint32(0x98BADCFE), np.uint32(0x10325476), np.uint32(0xC3D2E1F0)
    for i in range(80):
        if i < 20:
            f = (b & c) | (~b & d)
            k32 = np.uint32(0x5A827999)
        elif i < 40:
            f = b ^ c ^ d
            k32 = np.uint32(0x6ED9EBA1)
        elif i < 60:
            f = (b & c) | (b & d) | (c & d)
            k32 = np.uint32(0x8F1BBCDC)
        else:
            f = b ^ c ^ d
            k32 = np.uint32(0xCA62C1D6)
        t = np.uint32(_rotl32(a, 5) + np.uint32(f) + e + k32 + w[i])
        e, d, c, b, a = d, c, np.uint32(_rotl32(b, 30)), a, t
    h[0] = np.uint32(np.uint32(0x67452301) + a)
    h[1] = np.uint32(np.uint32(0xEFCDAB89) + b)
    h[2] = np.uint32(np.uint32(0x98BADCFE) + c)
    h[3] = np.uint32(np.uint32(0x10325476) + d)
    h[4] = np.uint32(np.uint32(0xC3D2E1F0) + e)
