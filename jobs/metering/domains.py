"""Observation domains: whose clock says what. One per flow table and clock; by default each run of a sensor is one of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.metering.digest import KIND_JSON, Envelope
from schemas.wire import CLOCK_END

#: Frontier before every clock of a domain is known: nothing may be metered yet.
NO_FRONTIER = 0
#: How far back duplicates of a message are recognised, in messages of one run and partition.
_SEQ_WINDOW = 4096


@dataclass
class Lane:
    """One sensor run on one Kafka partition: its promise, and which messages were seen."""

    clock: int = 0
    seen_ms: int = 0
    high: int = -1  # highest message number
    mask: int = 0  # bit i: number high - i was seen

    def is_new(self, seq: int) -> bool:
        """Note message ``seq``; False when it was seen before (or is too old to tell)."""
        if seq > self.high:
            shift = seq - self.high
            self.mask = ((self.mask << shift) | 1) & ((1 << _SEQ_WINDOW) - 1) if shift < _SEQ_WINDOW else 1
            self.high = seq
            return True
        back = self.high - seq
        if back >= _SEQ_WINDOW or self.mask >> back & 1:
            return False
        self.mask |= 1 << back
        return True


@dataclass
class Run:
    """One run of one sensor over all its partitions."""

    partitions: int
    lanes: dict[int, Lane] = field(default_factory=dict)
    closed: bool = False  # silent for too long, or superseded: taken as ended

    def clock(self) -> int:
        """The least promise; nothing as long as a partition has not been heard of."""
        if self.closed:
            return CLOCK_END
        if len(self.lanes) < self.partitions:
            return NO_FRONTIER
        return min(lane.clock for lane in self.lanes.values())


@dataclass
class Domain:
    """One flow table's worth of traffic in time: its sensors and its frontier (ns)."""

    index: int
    name: str
    clockless: bool = False  # JSON packets: time is what the packets say, less the allowed lateness
    frontier: int = NO_FRONTIER
    max_ts: int = 0
    news_ms: int = 0
    runs: dict[tuple[str, int], Run] = field(default_factory=dict)

    def note(self, e: Envelope) -> tuple[bool, int]:
        """Take a message's envelope; ``(is new, promise before it)``: its packets below that promise are late."""
        self.news_ms = max(self.news_ms, e.seen_ms)
        if self.clockless:
            self.max_ts = max(self.max_ts, e.max_ts)
            return True, self.frontier
        run = self.runs.setdefault((e.sensor, e.run), Run(e.partitions))
        run.closed = False
        lane = run.lanes.setdefault(e.partition, Lane())
        lane.seen_ms = max(lane.seen_ms, e.seen_ms)
        if not lane.is_new(e.seq):
            return False, lane.clock
        # a sensor that joins or comes back behind the domain's clock is late too
        before = max(lane.clock, self.frontier)
        self.max_ts = max(self.max_ts, e.max_ts)
        lane.clock = max(lane.clock, e.clock)
        return True, before

    def supersede(self, sensor: str, run: int, partition: int) -> None:
        """A newer run of ``sensor`` spoke on ``partition``: older ones end there."""
        for (name, number), old in self.runs.items():
            if name == sensor and number < run and partition in old.lanes:
                old.lanes[partition].clock = CLOCK_END

    def end_silent(self, now_ms: int, timeout_ms: int) -> None:
        """End runs that have not been heard of for ``timeout_ms`` of wall clock."""
        for run in self.runs.values():
            if run.lanes and now_ms - max(lane.seen_ms for lane in run.lanes.values()) > timeout_ms:
                run.closed = True

    def advance(self, now_ms: int, lateness_ns: int, idle_ns: int) -> bool:
        """Move the frontier; True when the domain's input has ended."""
        if self.clockless:
            silent_ns = max(now_ms - self.news_ms, 0) * 1_000_000
            self.frontier = max(self.frontier, self.max_ts - lateness_ns + silent_ns)
            return silent_ns > 2 * idle_ns + lateness_ns
        clock = min((run.clock() for run in self.runs.values()), default=CLOCK_END)
        if clock == CLOCK_END:
            return True
        self.frontier = max(self.frontier, clock)
        return False

    def drain_ended(self) -> list[tuple[str, int]]:
        """Take out the runs that ended while others of the domain go on."""
        ended = [(key, run) for key, run in self.runs.items() if run.clock() == CLOCK_END]
        for key, _ in ended:
            del self.runs[key]
        return [key for key, run in ended if not run.closed]


def instance_key(e: Envelope) -> tuple[str, int]:
    """Which domain a message belongs to.

    A sensor that is a domain of its own gets a fresh one with every run, so that the same file can be replayed twice. Sensors
    that share a configured domain share one table and one clock across their runs.
    """
    return (e.domain, e.run if e.domain == e.sensor and e.kind != KIND_JSON else 0)
