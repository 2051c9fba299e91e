"""Addresses cut to their networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.windows.hashing import tags


def shorten(rows: npt.NDArray[np.void], v4: int, v6: int, domains: Sequence[str]) -> None:
    """Cut the sources of rows (ROW_DTYPE, changed in place) to so many bits, where they have more."""
    old = rows["ipver"] == 4
    rows["bits"] = np.minimum(rows["bits"], np.where(old, v4, v6))
    bits = rows["bits"].astype(np.int64)
    rows["src_lo"] = _cleared(rows["src_lo"], np.where(old, 32 - bits, np.clip(128 - bits, 0, 64)))
    rows["src_hi"] = _cleared(rows["src_hi"], np.where(old, 0, np.clip(64 - bits, 0, 64)))
    rows["tag"] = tags(rows, domains)


def _cleared(values: npt.NDArray[np.uint64], bits: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Values whose lowest bits are 0."""
    shift = np.minimum(bits, 63).astype(np.uint64)
    some = (values >> shift) << shift
    return np.asarray(np.where(bits >= 64, np.uint64(0), some))
