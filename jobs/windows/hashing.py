"""Hashes of 64 bits, of whole arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.kernels import piece
from jobs.mixing import GOLDEN, mixed
from sensors.packets.decode.hashing import mix


@piece
def mixed_one(x: Any) -> Any:
    """:func:`jobs.mixing.mixed` of one value, inside compiled kernels."""
    return mix(np.uint64(x) + GOLDEN)


def named(name: str) -> int:
    """A hash of a name: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def tags(rows: npt.NDArray[np.void], domains: Sequence[str]) -> npt.NDArray[np.uint64]:
    """A hash of the source of each row, uint64[n]: its domain's name, and its address or network."""
    names = np.array([named(name) for name in domains] or [0], np.uint64)
    address = mixed(mixed(rows["src_hi"]) ^ rows["src_lo"])
    kind = (rows["ipver"].astype(np.uint64) << np.uint64(8)) + rows["bits"]
    return mixed(address ^ mixed(names[rows["domain"]] + kind))
