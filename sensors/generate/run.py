"""One run of a scenario: walks through time slice by slice, starts conversations as the rate asks for them, emits frames in time order.

Memory holds what has been written but not yet emitted (conversations reach at most some tens of seconds ahead) and the flow
table; a slice is rendered when everything that can fall into it has been written.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa

from schemas.labels import BENIGN
from sensors.generate.campaigns import Campaign, plan
from sensors.generate.conversation import Context
from sensors.generate.hosts import World
from sensors.generate.hours import habits, patient
from sensors.generate.kinds import BENIGN_KINDS
from sensors.generate.pace import Pace
from sensors.generate.payloads import Pool
from sensors.generate.render import render
from sensors.generate.repeat import Repeater
from sensors.generate.scenario import Scenario
from sensors.generate.table import TS, WIDTH, ConversationTable
from sensors.generate.truth import truth_table
from sensors.packets.frames import FrameBatch


class PacketWriter(Protocol):
    """Part of a run: writes the packets of what happens in a slice."""

    def write(self, k: int, begin: int, end: int) -> np.ndarray:
        """Packet matrix in time order, nothing before ``begin`` (ns); what lies behind ``end`` is kept for later slices."""
        ...


_EMPTY = np.empty((0, WIDTH), np.int64)
#: At the pace of an office: the longest transfer (bytes), and ns of a slice.
_SLOW_BYTES, _SLOW_SLICE = 150_000, 10_000_000_000


class TrafficGenerator:
    """An iterator of :class:`FrameBatch` in time order; :meth:`truth` says afterwards what was in them."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.flows = ConversationTable()
        self.packets = 0
        self.pool = Pool(scenario.seed)
        self.world = World(random.Random(f"{scenario.seed}/world"), scenario.clients, scenario.servers, scenario.outside)
        total = scenario.rate * scenario.duration_s
        # where a second has few packets one download must not silence everybody for minutes
        self._max_bytes = _SLOW_BYTES if scenario.slow else int(min(4_000_000, max(60_000, total * 12)))
        # about 8,000 packets a slice
        self._slice = int(min(_SLOW_SLICE if scenario.slow else 250_000_000, max(5_000_000, 8_000 / scenario.rate * 1e9)))
        self._slices = -(-int(scenario.duration_s * 1e9) // self._slice)
        self._pending: dict[int, list[np.ndarray]] = defaultdict(list)
        self._frames = self._run()

    def __iter__(self) -> Iterator[FrameBatch]:
        return self

    def __next__(self) -> FrameBatch:
        return next(self._frames)

    def truth(self) -> pa.Table:
        """Ground truth of what has been emitted so far (:mod:`sensors.generate.truth`)."""
        return truth_table(self.flows.rows[: self.flows.size])

    def _run(self) -> Iterator[FrameBatch]:
        s = self.scenario
        writers = self._writers()
        for k in range(self._slices):
            begin = s.start_ns + k * self._slice
            end = min(begin + self._slice, s.end_ns)
            for writer in writers:
                self._put(writer.write(k, begin, end))
            parts = self._pending.pop(k, [])
            rows = np.concatenate(parts) if parts else _EMPTY
            rows = rows[np.argsort(rows[:, TS], kind="stable")]
            if len(rows):
                self.flows.count(rows)
                self.packets += len(rows)
                yield render(rows, self.flows.rows, self.pool.data)

    def _writers(self) -> list[PacketWriter]:
        s = self.scenario
        if s.repeat:
            return [Repeater(self)]
        if s.slow:
            return [Ambient(self), Campaigns(self, habits(s, self.world)), Campaigns(self, patient(s))]
        writers: list[PacketWriter] = [Campaigns(self, plan(s))]
        if s.attack_share < 1:
            writers.insert(0, Ambient(self))
        return writers

    def context(self, rng: random.Random, label: str = BENIGN) -> Context:
        """A context to write conversations with."""
        return Context(rng, self.world, self.flows, self.pool, label, self._max_bytes)

    def slice_of(self, ts: np.ndarray) -> np.ndarray:
        """Slice numbers of times."""
        return (ts - self.scenario.start_ns) // self._slice

    @property
    def slice_ns(self) -> int:
        """Length of a slice, ns."""
        return self._slice

    def _put(self, rows: np.ndarray) -> None:
        """Sort written packets (in time order) into the slices; what lies behind the scenario's end is dropped."""
        rows = rows[: np.searchsorted(rows[:, TS], self.scenario.end_ns)]
        if not len(rows):
            return
        index = self.slice_of(rows[:, TS])
        cuts = np.flatnonzero(np.diff(index)) + 1
        starts = np.r_[0, cuts]
        for part, k in zip(np.split(rows, cuts), index[starts].tolist(), strict=True):
            self._pending[k].append(part if k == index[0] else part.copy())


class Ambient:
    """Benign conversations, started so that the packets per second come out as asked, in the shares of ``BENIGN_KINDS``."""

    def __init__(self, run: TrafficGenerator) -> None:
        self._run = run
        s = run.scenario
        self._ctx = run.context(random.Random(f"{s.seed}/benign"))
        self._names = s.benign_kinds
        # as if some of each had been before, so that the first second does not bring one of everything
        total = min(20_000.0, 0.15 * s.rate * s.duration_s)
        shares = sum(BENIGN_KINDS[n][1] for n in self._names)
        self._built = {n: self._ctx.rng.random() * total * BENIGN_KINDS[n][1] / shares for n in self._names}
        self._pace = Pace(s.rate * (1 if s.slow else 1 - s.attack_share), run.slice_ns)

    def write(self, k: int, begin: int, end: int) -> np.ndarray:
        """Conversations that start in slice ``k``; returns their packets in time order."""
        self._pace.open(k)
        parts: list[np.ndarray] = []
        rng = self._ctx.rng
        while self._pace.credit > 0:
            name = self._next()
            BENIGN_KINDS[name][0](self._ctx, rng.randrange(begin, end))
            rows = self._ctx.packets()
            self._built[name] += max(1, len(rows))
            self._pace.spend(self._run.slice_of(rows[:, TS]))
            parts.append(rows)
        if not parts:
            return _EMPTY
        rows = np.concatenate(parts)
        return rows[np.argsort(rows[:, TS], kind="stable")]

    def _next(self) -> str:
        """The kind that lags most behind its share, with some chance."""
        rng, built = self._ctx.rng, self._built
        return min(self._names, key=lambda name: (built[name] + 40) / BENIGN_KINDS[name][1] * rng.uniform(0.4, 1.6))


class Campaigns:
    """Campaigns, each advanced as far as the slice reaches."""

    def __init__(self, run: TrafficGenerator, campaigns: list[Campaign]) -> None:
        self._run = run
        self._waiting = sorted(campaigns, key=lambda c: c.start)[::-1]
        self._active: list[tuple[Context, Iterator[int], int]] = []

    def write(self, k: int, begin: int, end: int) -> np.ndarray:
        """What all campaigns do before ``end``; returns packets in time order (some may lie behind ``end``)."""
        while self._waiting and self._waiting[-1].start < end:
            c = self._waiting.pop()
            ctx = self._run.context(c.rng(), c.label)
            self._active.append((ctx, c.write(ctx), c.start))
        parts: list[np.ndarray] = []
        going = []
        for ctx, steps, t in self._active:
            at: int | None = t
            while at is not None and at < end:
                at = next(steps, None)
            if at != t:  # most of many rest for most of the time
                parts.append(ctx.packets())
            if at is not None:
                going.append((ctx, steps, at))
        self._active = going
        if not parts:
            return _EMPTY
        rows = np.concatenate(parts)
        return rows[np.argsort(rows[:, TS], kind="stable")]
