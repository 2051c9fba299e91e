"""What the lake holds already, remembered: the identities of the records it was given lately, by the minute in which they started.

The lake's owner is the only process that writes the table, so what it has seen committed it need not read again, and minutes after the
newest of the table hold nothing. Other minutes are read from the table once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

#: Start times are remembered by slots of so many microseconds.
SLOT_US = 60_000_000
#: Identities remembered (about 100 bytes each); the slots longest unused go first, and would be read again.
BOUND = 2_000_000
#: Spans of one reading at most: beyond, the smallest gaps between them are read too.
SPANS = 16


class Reader(Protocol):
    """Reads identities from the table."""

    def newest(self) -> int | None:
        """Largest start time of the table, microseconds; None when it is empty."""
        ...

    def within(self, spans: list[tuple[int, int]]) -> Iterable[tuple[bytes, int]]:
        """Flow ids (36 characters) and start times of the records whose start lies in one of the spans, microseconds, ends included."""
        ...


def _by_slot(ids: np.ndarray, slots: np.ndarray) -> Iterator[tuple[int, list[bytes]]]:
    for slot in np.unique(slots).tolist():
        yield slot, ids[slots == slot].tolist()


class Identities:
    """Which flow ids are in the table.

    Parameters
    ----------
    reader
        Access to the table.
    bound
        Identities remembered; those of the slots in use may exceed it.
    """

    def __init__(self, reader: Reader, bound: int = BOUND) -> None:
        self._reader = reader
        self._bound = bound
        self._slots: OrderedDict[int, set[bytes]] = OrderedDict()
        self._newest: int | None = None  # newest slot of the table; None: not asked yet
        self._held = 0

    def __len__(self) -> int:
        return self._held

    def new(self, ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Which records are new: not in the table, and the first of their identity here.

        Parameters
        ----------
        ids : ndarray of S36, shape (n,)
        starts : ndarray of int64, shape (n,)
            Start times, microseconds.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        slots = starts // SLOT_US
        self._load(np.unique(slots).tolist())
        fresh = np.ones(len(ids), bool)
        parts = list(_by_slot(ids, slots))
        if len(set(ids.tolist())) == len(ids) and all(self._slots[slot].isdisjoint(flows) for slot, flows in parts):
            return fresh  # as nearly always
        seen: set[bytes] = set()
        for i, (flow, slot) in enumerate(zip(ids.tolist(), slots.tolist(), strict=True)):
            if flow in seen or flow in self._slots[slot]:
                fresh[i] = False
            else:
                seen.add(flow)
        return fresh

    def add(self, ids: np.ndarray, starts: np.ndarray) -> None:
        """The table holds these now; their slots were asked for by :meth:`new` just before."""
        for slot, flows in _by_slot(ids, starts // SLOT_US):
            known = self._slots[slot]
            before = len(known)
            known.update(flows)
            self._held += len(known) - before
        if len(starts) and self._newest is not None:
            self._newest = max(self._newest, int(starts.max()) // SLOT_US)

    def forget(self) -> None:
        """After a write of unknown outcome: everything is read again."""
        self._slots.clear()
        self._held = 0
        self._newest = None

    def _load(self, wanted: list[int]) -> None:
        if self._newest is None:
            newest = self._reader.newest()
            self._newest = -(1 << 62) if newest is None else newest // SLOT_US
        asked = set(wanted)
        while self._held > self._bound and next(iter(self._slots)) not in asked:
            _, gone = self._slots.popitem(last=False)
            self._held -= len(gone)
        missing = []
        for slot in wanted:
            if slot in self._slots:
                self._slots.move_to_end(slot)
                continue
            self._slots[slot] = set()
            if slot <= self._newest:
                missing.append(slot)
        if not missing:
            return
        read = set(missing)
        try:
            for flow, start in self._reader.within([(a * SLOT_US, (b + 1) * SLOT_US - 1) for a, b in spans(missing)]):
                if (slot := start // SLOT_US) in read:
                    self._slots[slot].add(flow)
        except BaseException:
            self.forget()  # half-read slots must not pass for whole ones
            raise
        self._held += sum(len(self._slots[slot]) for slot in missing)


def spans(numbers: Iterable[int], most: int = SPANS) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, as first and last; at most ``most``, by closing the smallest gaps."""
    found: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if found and n == found[-1][1] + 1:
            found[-1] = (found[-1][0], n)
        else:
            found.append((n, n))
    if len(found) <= most:
        return found
    gaps = sorted(range(1, len(found)), key=lambda i: found[i][0] - found[i - 1][1])
    kept = sorted(gaps[len(found) - most :])
    return [(found[i][0], found[j - 1][1]) for i, j in zip([0, *kept], [*kept, len(found)], strict=True)]
