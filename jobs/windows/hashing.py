"""Hashes of 64 bits, of whole arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Of SplitMix64.
GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A hash of each value (the finalizer of SplitMix64: Steele, Lea, Flood, OOPSLA 2014)."""
    x = x.astype(np.uint64) + GOLDEN
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    return np.asarray(x ^ (x >> np.uint64(31)))


def named(name: str) -> int:
    """A hash of a name: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def tags(rows: npt.NDArray[np.void], domains: Sequence[str]) -> npt.NDArray[np.uint64]:
    """A hash of the source of each row, uint64[n]: its domain's name, and its address or network."""
    names = np.array([named(name) for name in domains] or [0], np.uint64)
    address = mixed(mixed(rows["src_hi"]) ^ rows["src_lo"])
    kind = (rows["ipver"].astype(np.uint64) << np.uint64(8)) + rows["bits"]
    return mixed(address ^ mixed(names[rows["domain"]] + kind))
