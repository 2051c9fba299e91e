"""Grouping keys that Spark spreads evenly over its shuffle partitions."""

from __future__ import annotations


def murmur3(value: int, seed: int = 42) -> int:
    """Spark's hash of an int column (Murmur3_x86_32 of one 4-byte block), signed 32 bit."""

    def rotate(x: int, r: int) -> int:
        return ((x << r) | (x >> (32 - r))) & 0xFFFFFFFF

    k = rotate(value * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
    h = (rotate(seed ^ k, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    h ^= 4
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    h ^= h >> 16
    return h - (1 << 32) if h >> 31 else h


def bucket_keys(buckets: int, partitions: int) -> list[int]:
    """A grouping key per bucket, such that Spark's hash spreads them evenly over the shuffle partitions (0..7 over 2 go 3 to 5)."""
    keys = []
    candidate = 0
    for b in range(buckets):
        while murmur3(candidate) % partitions != b % partitions:
            candidate += 1
        keys.append(candidate)
        candidate += 1
    return keys
