"""Hashes of addresses, inside compiled kernels."""

from __future__ import annotations

import numpy as np

from infra.kernels import piece


@piece
def mix(x):
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014): uint64 -> uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@piece
def address_hash(hi, lo):
    """64-bit hash of one address, given as its two halves (uint64)."""
    return mix(mix(hi + np.uint64(0x9E3779B97F4A7C15)) + lo)


@piece
def pair_hash(src_hi, src_lo, dst_hi, dst_lo):
    """32-bit hash of two addresses, the same in both directions."""
    h = mix(address_hash(src_hi, src_lo) + address_hash(dst_hi, dst_lo))
    return np.uint32(h >> np.uint64(32))
