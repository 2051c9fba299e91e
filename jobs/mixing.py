"""SplitMix64 of whole arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A hash of each value (the finalizer of SplitMix64: Steele, Lea, Flood, OOPSLA 2014)."""
    x = x.astype(np.uint64) + GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
