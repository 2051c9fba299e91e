"""Where hashes lie among many that are sorted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobs.windows.recalling import places_of

Hashes = npt.NDArray[np.uint64]


class Places:
    """Sorted hashes, each once, and where those begin whose upper bits are the same: as many upper bits as leave one or two of them.

    Parameters
    ----------
    hashes
        uint64[n], sorted.
    """

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = np.ascontiguousarray(hashes)
        bits = max(len(hashes).bit_length(), 1)
        self.shift = np.uint64(64 - bits)
        #: Of each value of the upper bits the first place, and the end.
        self.starts = np.append(np.searchsorted(self.hashes, np.arange(1 << bits, dtype=np.uint64) << self.shift), len(hashes))

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def index(self) -> tuple[Hashes, npt.NDArray[np.int64], np.uint64]:
        """As compiled code takes it."""
        return self.hashes, self.starts, self.shift

    def find(self, wanted: Hashes) -> npt.NDArray[np.int64]:
        """Place of each, int64[m]; -1: it is not there."""
        found = np.empty(len(wanted), np.int64)
        places_of(*self.index, np.ascontiguousarray(wanted), found)
        return found
