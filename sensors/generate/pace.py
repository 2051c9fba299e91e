"""How many conversations to start, so that the packets per second come out as asked."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

_LOOKAHEAD_NS = 2_000_000_000


class Pace:
    """A credit of packets, judged over the next two seconds: a conversation's packets mostly fall behind the slice it starts in.

    Parameters
    ----------
    rate : float
        Packets per second.
    slice_ns : int
        Length of a slice, ns.
    """

    def __init__(self, rate: float, slice_ns: int) -> None:
        self._per_slice = rate * slice_ns / 1e9
        self._ahead = max(1, _LOOKAHEAD_NS // slice_ns)
        self._settled = -1
        self._later: dict[int, int] = defaultdict(int)
        self.credit = 0.0

    def open(self, k: int) -> None:
        """Slice ``k`` begins. The first slices look less far ahead: they must not carry the load of two seconds at once."""
        horizon = k + min(k // 4, self._ahead)
        for number in range(self._settled + 1, horizon + 1):
            self.credit += self._per_slice - self._later.pop(number, 0)
        self._settled = max(self._settled, horizon)

    def spend(self, slices: np.ndarray) -> None:
        """Packets were written for these slices (int64[n])."""
        numbers, counts = np.unique(slices, return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            if number <= self._settled:
                self.credit -= count
            else:
                self._later[number] += count
