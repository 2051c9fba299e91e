"""In which slots of the last hour flows began, of each destination or pair: a ring of windows of the largest size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Largest windows that are remembered: an hour of 180 s.
WINDOWS = 20
#: What one window leaves behind of one destination or pair.
TRACE_DTYPE = np.dtype([("domain", "u8"), ("source", "u8"), ("tag", "u8"), ("window", "i8"), ("when", "u8")])


class Rings:
    """By tag, a column each: those of :data:`TRACE_DTYPE`, the newest ``window``; ``when`` is uint64[n, WINDOWS].

    Window ``w`` has its bits at place ``w % WINDOWS`` of the ring.
    """

    def __init__(self, **columns: npt.NDArray[Any]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["tag"])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name]

    @classmethod
    def of(cls, new: npt.NDArray[np.void]) -> Rings:
        """Traces of one window, by tag."""
        when = np.zeros((len(new), WINDOWS), np.uint64)
        when[np.arange(len(new)), new["window"] % WINDOWS] = new["when"]
        return cls(**{name: new[name].copy() for name in ("domain", "source", "tag", "window")}, when=when)

    def where(self, mask: npt.NDArray[np.bool_]) -> Rings:
        """Those that a mask selects."""
        return self if mask.all() else Rings(**{name: column[mask] for name, column in self._columns.items()})

    def _with_more(self, more: Rings) -> Rings:
        """Together with others, whose tags are none of these."""
        at = np.searchsorted(self["tag"], more["tag"])
        return Rings(**{name: np.insert(column, at, more[name], axis=0) for name, column in self._columns.items()})

    def added(self, new: npt.NDArray[np.void], window: int) -> Rings:
        """With the traces of one window; the rings that are there change in place."""
        new = new[np.argsort(new["tag"])]
        at = np.searchsorted(self["tag"], new["tag"])
        there = at < len(self)
        there[there] = self["tag"][at[there]] == new["tag"][there]
        old = at[there]
        gone = window - self["window"][old]  # windows since the last: their places in the ring are of an hour ago
        for step in range(1, min(int(gone.max(initial=0)), WINDOWS) + 1):
            some = old[gone >= step]
            self["when"][some, (self["window"][some] + step) % WINDOWS] = 0
        self["window"][old] = np.maximum(self["window"][old], window)
        self["when"][old, window % WINDOWS] = new["when"][there]
        return self if there.all() else self._with_more(Rings.of(new[~there]))
