"""Putting the packets of one capture in time order, and the clock that follows from them.

Captures are nearly in order: several queues of a card, or several interfaces in one file, shuffle packets by milliseconds.
A packet may lag by ``window`` behind the latest time seen before it and is still put right; the clock is the latest time
seen less that window. A packet that lags more is *late*: it is passed on behind the clock, and the meter counts it. What
time is "seen" must not be spoilt by a single damaged time stamp, and files put one behind the other must not make all of
the second one late:

- a packet more than an hour ahead of the latest time does not move the clock, unless 64 packets in a row agree;
- 64 late packets in a row, or fewer at the very end, that lie more than a minute behind the clock are the beginning of
  another *run*.

Each packet is judged by those before it. The outcome depends on the packets alone, never on how they were cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from infra.plurals import are, counted
from schemas.wire import CLOCK_END
from sensors.packets.frames import FrameBatch, concat

AGREE = 64  # packets in a row that overrule the clock
FAR_AHEAD = 3_600 * 1_000_000_000  # ns
FAR_BEHIND = 60 * 1_000_000_000  # ns
NO_CLOCK = 0  # the watermark before the first packet says nothing

_MOST_PACKETS = 1 << 20  # held back at most; see Reorderer._relieve
_MOST_BYTES = 256 * 1024 * 1024

_SEEN, _AHEAD, _BEHIND, _STREAK = 0, 1, 2, 3  # layout of the kernel's state: latest time, two counters, the times ahead
_UNSET = -1


@dataclass(slots=True)
class Disorder:
    """Packets further out of order than the window.

    Attributes
    ----------
    late : int
        How many packets.
    worst_ns : int
        How far behind the latest time before it the worst of them was, ns.
    """

    late: int = 0
    worst_ns: int = 0

    def note(self, behind: NDArray[np.int64]) -> None:
        """Count late packets, ``int64[n]`` ns behind the latest time."""
        self.late += len(behind)
        self.worst_ns = max(self.worst_ns, int(behind.max(initial=0)))

    def summary(self) -> dict[str, float]:
        """The same for programs: ``late`` packets, ``worst_s`` seconds."""
        return {"late": self.late, "worst_s": self.worst_ns / 1e9}

    def told(self, window_ms: int) -> str:
        """One line for people: how many packets, how far out of order, and what to do; empty when there are none."""
        if not self.late:
            return ""
        packets = f"{counted(self.late, 'packet')} {are(self.late)} up to {self.worst_ns / 1e9:.3f} s out of order"
        return (
            f"{packets}, which is more than sensor.reorder_ms ({window_ms} ms) puts right: late, and not metered; "
            "--sort puts the whole capture in order first"
        )


class Reorderer:
    """Packets in capture order in, ``(frames, clock)`` in time order out.

    Frames come out stably sorted by time (equal times keep their capture order) as soon as the clock has passed them. ``clock`` is the
    watermark of :mod:`schemas.wire`: every packet of this run with a time strictly below it is in this chunk or an earlier one, except late
    ones. Late packets come in chunks of their own, each behind a chunk with a watermark above theirs. ``CLOCK_END`` closes a
    run; what follows belongs to the next.

    Parameters
    ----------
    window_ms
        How far out of order packets are put right, in ms of capture time.
    disorder
        Where to count the late packets, over all runs.
    """

    def __init__(self, window_ms: int, disorder: Disorder | None = None) -> None:
        self._disorder = disorder or Disorder()
        self._window = window_ms * 1_000_000
        self._held = FrameBatch.empty()  # the last packets, possibly the first of another run
        self._held_behind = np.zeros(0, np.int64)
        self._begin()

    def _begin(self) -> None:
        self._state = np.zeros(_STREAK + AGREE, np.int64)
        self._state[_SEEN] = _UNSET
        self._waiting: list[FrameBatch] = []
        self._late: list[FrameBatch] = []
        self._clock = NO_CLOCK

    @property
    def clock(self) -> int:
        """The watermark given last in this run, ns."""
        return self._clock

    def feed(self, batch: FrameBatch) -> Iterator[tuple[FrameBatch, int]]:
        """Take packets in capture order (int64 ns within [0, 2**62]); give what is due."""
        start = len(self._held)
        batch = concat([self._held, batch])
        behind = np.concatenate([self._held_behind, np.zeros(len(batch) - start, np.int64)])
        while True:
            switch = int(_follow(batch.ts, start, self._window, self._state, behind))
            if switch < 0:
                break
            self._take(batch.slice(0, switch), behind[:switch])
            if self._late:
                yield from self._released()
            yield self._rest(), CLOCK_END
            self._begin()
            batch, behind, start = batch.slice(switch), np.zeros(len(batch) - switch, np.int64), 0
        body = len(batch) - int(self._state[_BEHIND])
        self._held, self._held_behind = batch.slice(body).compact(), behind[body:].copy()
        self._take(batch.slice(0, body), behind[:body])
        yield from self._released()

    def _take(self, batch: FrameBatch, behind: NDArray[np.int64]) -> None:
        """Packets that surely belong to this run: those in time wait for the clock, the late ones for the next chunk."""
        late = behind > 0
        if late.any():
            self._disorder.note(behind[late])
            self._late.append(batch.take(np.flatnonzero(late)))
            batch = batch.take(np.flatnonzero(~late))
        if len(batch):
            self._waiting.append(batch)

    def _released(self) -> Iterator[tuple[FrameBatch, int]]:
        """What the clock has passed, then the late packets; before these the clock is told even where it has passed nothing."""
        if self._state[_SEEN] != _UNSET:
            self._clock = max(self._clock, int(self._state[_SEEN]) - self._window)
        due = self._due()
        if len(due) or self._late:
            yield due, self._clock
        if self._late:
            late, self._late = by_time(concat(self._late)), []
            yield late, self._clock

    def advance(self, now: int) -> Iterator[tuple[FrameBatch, int]]:
        """Nothing before ``now`` (ns) is still to come, but for the window: what a live sensor knows when its socket is empty."""
        if self._state[_SEEN] == _UNSET or now > self._state[_SEEN]:
            self._state[_SEEN] = now
        yield from self._released()

    def finish(self) -> Iterator[tuple[FrameBatch, int]]:
        """The end of the capture: everything that is left, run by run."""
        yield self._rest(), CLOCK_END
        held, self._held, self._held_behind = self._held, FrameBatch.empty(), np.zeros(0, np.int64)
        self._begin()
        if len(held):  # too few to overrule the clock, but nothing followed that could have contradicted them
            yield by_time(held), CLOCK_END

    def _due(self) -> FrameBatch:
        """Take out what lies below the clock."""
        due: list[FrameBatch] = []
        left: list[FrameBatch] = []
        for batch in self._waiting:
            passed = batch.ts < self._clock
            n = int(np.count_nonzero(passed))
            if n == 0:
                left.append(batch)
                continue
            if n == len(batch):
                due.append(batch)
            elif passed[:n].all():
                due.append(batch.slice(0, n))
                left.append(batch.slice(n).compact())
            else:
                due.append(batch.take(np.flatnonzero(passed)))
                left.append(batch.take(np.flatnonzero(~passed)))
        self._waiting = left
        self._relieve(due)
        return by_time(concat(due))

    def _relieve(self, due: list[FrameBatch]) -> None:
        """Bound what is held back: a watermark forbids sending late, not sending early, so the earliest half goes ahead of the clock."""
        if sum(len(b) for b in self._waiting) <= _MOST_PACKETS and sum(b.nbytes for b in self._waiting) <= _MOST_BYTES:
            return
        waiting = by_time(concat(self._waiting))
        half = len(waiting) // 2
        due.append(waiting.slice(0, half))
        self._waiting = [waiting.slice(half).compact()]

    def _rest(self) -> FrameBatch:
        rest = by_time(concat(self._waiting))
        self._waiting = []
        return rest


def by_time(batch: FrameBatch) -> FrameBatch:
    """Stably sorted by time; the same batch when it is already."""
    if len(batch) < 2 or bool((batch.ts[1:] >= batch.ts[:-1]).all()):
        return batch
    return batch.take(np.argsort(batch.ts, kind="stable"))


@njit(cache=True, nogil=True)
def _follow(ts, start, window, state, behind):  # type: ignore[no-untyped-def]
    """Move the latest time along ``ts[start:]``; index of the first packet of another run, or -1.

    ``behind``: ``int64[n]``, filled from ``start`` on: ns by which a late packet lags behind the latest time before it, else 0.
    """
    for i in range(start, len(ts)):
        t = ts[i]
        behind[i] = 0
        if state[_SEEN] == _UNSET:
            state[_SEEN] = t
            continue
        seen = state[_SEEN]
        if t - seen > FAR_AHEAD:
            state[_BEHIND] = 0
            state[_STREAK + state[_AHEAD]] = t
            state[_AHEAD] += 1
            if state[_AHEAD] == AGREE:
                # The least of them is what all of them agree on; those close to it then count as usual.
                seen = state[_STREAK : _STREAK + AGREE].min()
                for k in range(AGREE):
                    u = state[_STREAK + k]
                    if u > seen and u - seen <= FAR_AHEAD:
                        seen = u
                state[_SEEN] = seen
                state[_AHEAD] = 0
            continue
        state[_AHEAD] = 0
        if t < seen - window:
            behind[i] = seen - t
            if t < seen - window - FAR_BEHIND:
                state[_BEHIND] += 1
                if state[_BEHIND] == AGREE:
                    state[_BEHIND] = 0
                    return i + 1 - AGREE
                continue
        state[_BEHIND] = 0
        if t > seen:
            state[_SEEN] = t
    return -1
