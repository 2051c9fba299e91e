"""The table of open flows of one bucket.

Packets arrive in time order; each is applied to its flow by the rules of ``docs/reference/flow-rules.md`` (direction, active and idle
timeout, TCP close with linger and reuse, bulk, active/idle periods). A flow is one row of :data:`jobs.metering.row.ROW_DTYPE`.
The compiled part: :mod:`jobs.metering.slots` (where rows lie), :mod:`jobs.metering.flows` (when they open and close),
:mod:`jobs.metering.aggregates` and :mod:`jobs.metering.connection` (what a packet changes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.metering import flows
from jobs.metering.gather import take
from jobs.metering.row import BACKWARD, EVICTED, FORCED, FORWARD, ROW_DTYPE
from jobs.metering.slices import OFF, SLICE_DTYPE
from jobs.metering.slots import DIRTY, FREE, NEVER, OPEN, USED, Limits, Slots, apply, index_all, release_all
from sensors.packets.decode import PACKET_DTYPE


@dataclass(frozen=True)
class Timeouts:
    """Metering rules in microseconds of event time."""

    idle_us: int = 60_000_000
    active_us: int = 120_000_000
    linger_us: int = 3_000_000
    interim_age_us: int = 500_000
    interim_packets: int = 8
    interim: bool = True

    def limits(self) -> Limits:
        """As the kernels take them."""
        age = max(self.interim_age_us, 1) if self.interim else NEVER
        return Limits(self.idle_us, self.active_us, self.linger_us, age, self.interim_packets if self.interim else NEVER)


#: Packets metered, and rows found by a scan, at a time: the table and the result have room for so many more.
_SLAB, _SCAN = 16_384, 4_096
NONE_WAITED = np.zeros(0, np.int64)
#: More than fit into any memory.
_MOST_SLOTS = 1 << 32


class Rows:
    """Rows that are found one part after the other, in one piece."""

    def __init__(self) -> None:
        self._data = np.empty(32_768, ROW_DTYPE)  # memory that is not written to costs nothing
        self._n = 0

    def room(self, n: int) -> NDArray:
        """Where the next ``n`` rows may be written; :meth:`filled` says how many were."""
        if self._n + n > len(self._data):
            grown = np.empty(max(2 * len(self._data), self._n + n), ROW_DTYPE)
            grown[: self._n] = self._data[: self._n]
            self._data = grown
        return self._data[self._n : self._n + n]

    def filled(self, n: int) -> None:
        """The first ``n`` rows of the last :meth:`room` are rows now."""
        self._n += n

    def found(self) -> NDArray:
        """All of them."""
        return self._data[: self._n]


class FlowTable:
    """Open flows of one bucket: rows, a chained hash index over their keys, and the time at which each needs attention."""

    def __init__(self, timeouts: Timeouts, capacity: int = 4096, slice_us: int = 0) -> None:
        self._slice_us = slice_us
        self._limits = timeouts.limits()
        self._with_interim = timeouts.interim
        self._slots = _room(capacity, np.zeros(4, np.int64), np.zeros(capacity * 2, np.int64))
        self._slots.counts[FREE] = capacity
        self._slots.free[:] = np.arange(capacity - 1, -1, -1)

    @property
    def rows(self) -> NDArray:
        """``ROW_DTYPE[capacity]``: a flow, or what is left of one, in each slot."""
        return self._slots.rows

    def __len__(self) -> int:
        return int(self._slots.counts[OPEN])

    def _reserve(self, n: int) -> None:
        """Room for ``n`` more flows, and for as many that change."""
        self._reserve_dirty(n)
        was = self._slots
        capacity, free = len(was.rows), int(was.counts[FREE])
        if free >= n:
            return
        grown = max(capacity * 2, capacity + n)
        now = _room(grown, was.counts, was.dirty)
        for name in ("rows", "used", "nxt", "wake", "mark"):
            getattr(now, name)[:capacity] = getattr(was, name)
        # fresh rows go below the freed ones, so that the table stays dense at its low end
        now.free[: grown - capacity] = np.arange(grown - 1, capacity - 1, -1)
        now.free[grown - capacity : grown - capacity + free] = was.free[:free]
        now.counts[FREE] = free + grown - capacity
        index_all(now)
        self._slots = now

    def meter(self, packets: NDArray, closed: Rows, waited: NDArray[np.int64] = NONE_WAITED) -> NDArray:
        """Apply packets (:data:`PACKET_DTYPE`) in time order; the rows that close on the way go to ``closed``.

        ``waited``: ns that each packet waited for its turn (see :mod:`jobs.metering.fragments`); empty when none did.

        Returns
        -------
        SLICE_DTYPE[m]
            What of each flow fell into each slot (:mod:`jobs.metering.slices`); none where the table makes none.
        """
        assert packets.dtype == PACKET_DTYPE
        slicing = OFF
        if self._slice_us and len(packets):
            slicing = OFF._replace(width=self._slice_us, rows=np.zeros(len(packets), SLICE_DTYPE), found=np.zeros(1, np.int64))
        for at in range(0, len(packets), _SLAB):
            slab = packets[at : at + _SLAB]
            self._reserve(len(slab))
            if slicing.width and len(slicing.current) < len(self.rows):
                grown = np.full(len(self.rows), -1, np.int64)  # no slice yet
                grown[: len(slicing.current)] = slicing.current
                slicing = slicing._replace(current=grown)
            n = flows.meter(self._slots, slab, waited[at : at + _SLAB], self._limits, closed.room(len(slab)), slicing)
            closed.filled(n)
        return slicing.rows[: slicing.found[0]]

    def expire(self, watermarks: NDArray[np.int64], closed: Rows) -> None:
        """Close what is due; ``watermarks``: per domain number, us: every packet before it has been metered."""
        at = 0
        while at < self._slots.counts[USED]:
            n, at = flows.expire(self._slots, watermarks, self._limits, closed.room(_SCAN), at)
            closed.filled(n)

    def interim(self, watermarks: NDArray[np.int64]) -> NDArray:
        """Snapshots of open flows that are due."""
        shown = Rows()
        if not self._with_interim:
            return shown.found()
        self._reserve_dirty(len(self))
        at = 0
        while at < self._slots.counts[USED]:
            n, at = flows.interim(self._slots, watermarks, self._limits, shown.room(_SCAN), at)
            shown.filled(n)
        return shown.found()

    def _reserve_dirty(self, n: int) -> None:
        dirty = self._slots.dirty
        need = int(self._slots.counts[DIRTY]) + n
        if need > len(dirty):
            grown = np.zeros(need * 2, np.int64)
            grown[: len(dirty)] = dirty
            self._slots = self._slots._replace(dirty=grown)

    def close_domain(self, domain: int, closed: Rows) -> None:
        """End of a domain's input: rows that were closing end as they closed, all others ``forced``."""
        top = int(self._slots.counts[USED])
        at = np.flatnonzero((self._slots.used[:top] == 1) & (self.rows["domain"][:top] == domain))
        self._close_rows(at, FORCED, closed)

    def evict(self, n: int, closed: Rows) -> None:
        """Give up ``n`` open flows: single-packet ones first (a flood must not push out real conversations), the least recent first."""
        top = int(self._slots.counts[USED])
        at = np.flatnonzero(self._slots.used[:top] == 1)
        start, last, forward, backward = (self.rows[name][at] for name in ("start", "last", "nf", "nb"))
        order = np.lexsort((start, last, forward + backward > 1))
        self._close_rows(at[order[:n]], EVICTED, closed)

    def _close_rows(self, at: NDArray[np.int64], reason: int, closed: Rows) -> None:
        out = closed.room(len(at))
        np.take(self.rows, at, out=out, mode="clip")  # unchecked, or it would go through a copy
        out["end_reason"] = np.where(out["closing"] != 0, out["closing"], reason)
        closed.filled(len(at))
        release_all(self._slots, at)

    def take_dirty(self) -> NDArray:
        """Copies of the open rows touched since the last call."""
        n = int(self._slots.counts[DIRTY])
        at = self._slots.dirty[:n]
        at = np.unique(at[(self._slots.used[at] == 1) & (self._slots.mark[at] == 1)])
        self.forget_dirty()
        return take(self.rows, at)

    def forget_dirty(self) -> None:
        """Nobody will ask what has changed so far. Without this, or :meth:`take_dirty`, now and then what is remembered grows for ever."""
        self._slots.mark[self._slots.dirty[: int(self._slots.counts[DIRTY])]] = 0
        self._slots.counts[DIRTY] = 0

    def open_domains(self) -> NDArray[np.uint16]:
        """Domain number of every open row."""
        top = int(self._slots.counts[USED])
        return self.rows["domain"][:top][self._slots.used[:top] == 1]

    def open_among(self, slots: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Those of ``slots`` that hold an open flow."""
        at = slots[slots < len(self.rows)].astype(np.int64)
        return at[self._slots.used[at] == 1]

    def rows_at(self, slots: NDArray[np.int64]) -> NDArray:
        """Copies of the rows at ``slots``, open flows all."""
        return take(self.rows, slots)

    def apply(self, released: NDArray[np.uint64], rows: NDArray) -> None:
        """Repeat what another copy of the table did: release slots, then set ``rows`` at theirs.

        Raises
        ------
        ValueError
            A slot that no table has: the bytes are damaged.
        """
        top = int(rows["slot"].max()) + 1 if len(rows) else 0
        highest = max(top - 1, int(released.max()) if len(released) else 0)
        if highest > _MOST_SLOTS:
            raise ValueError(f"slot {highest} is beyond what a table holds")
        if top > len(self.rows):
            self._reserve(top - len(self.rows) + int(self._slots.counts[FREE]))
        apply(self._slots, released, rows, self._limits)
        free = np.flatnonzero(self._slots.used == 0)[::-1]
        self._slots.free[: len(free)] = free
        self._slots.counts[FREE] = len(free)


def _room(capacity: int, counts: NDArray[np.int64], dirty: NDArray[np.int64]) -> Slots:
    """Room for ``capacity`` flows."""
    rows = np.zeros(capacity, ROW_DTYPE)
    return Slots(
        rows=rows,
        forward=rows.view(FORWARD),
        backward=rows.view(BACKWARD),
        used=np.zeros(capacity, np.uint8),
        nxt=np.full(capacity, -1, np.int64),
        wake=np.full(capacity, NEVER, np.int64),
        mark=np.zeros(capacity, np.uint8),
        free=np.zeros(capacity, np.int64),
        head=np.full(1 << max(int(capacity - 1).bit_length(), 10), -1, np.int64),
        counts=counts,
        dirty=dirty,
        blank=np.zeros(1, ROW_DTYPE),
    )
