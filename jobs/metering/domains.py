"""Observation domains: whose clock says what. One per flow table and clock; by default each run of a sensor is one of its own.

What is late, and who has ended, follows from the messages in the order in which each Kafka partition holds them, and not from where
that order was cut into micro-batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.metering.envelope import KIND_JSON, Envelope
from schemas.wire import CLOCK_END

#: Watermark before every clock of a domain is known: nothing may be metered yet.
NO_WATERMARK = 0
#: How far back duplicates of a message are recognised, in messages of one run and partition.
_SEQ_WINDOW = 4096
#: A run that is silent for so long (ms) while a newer one of the same sensor speaks has died and was started again.
RESTARTED_MS = 15_000
#: Two runs of one sensor that both speak for longer than this (ms) are two sensors with one id.
BOTH_ALIVE_MS = 5_000


class LogTime:
    """Up to when each Kafka partition was read, as broker time (ms).

    A partition with messages in this micro-batch may hold more: it was read up to the time of the newest of them, which may be hours
    ago. One without has none left, so it was read up to now.
    """

    def __init__(self, now_ms: int, envelopes: Iterable[Envelope]) -> None:
        self._now = now_ms
        self._read: dict[int, int] = {}
        for e in envelopes:
            self._read[e.partition] = max(self._read.get(e.partition, 0), e.seen_ms)

    def reached(self, partition: int) -> int:
        """Up to when ``partition`` was read, ms."""
        read = self._read.get(partition, self._now)
        return min(read, self._now) if self._now else read  # a topic with its senders' times may hold some of the future

    def silence(self, partition: int, seen_ms: int) -> int:
        """How long nothing came after a message of time ``seen_ms``, ms."""
        return max(self.reached(partition) - seen_ms, 0)


@dataclass
class Lane:
    """One sensor run on one Kafka partition: its watermark (``clock``, ns), and which messages were seen."""

    clock: int = 0
    began_ms: int = 0
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
    closed: bool = False  # silent for too long: taken as ended

    def clock(self) -> int:
        """The least watermark; nothing as long as a partition has not been heard of."""
        if self.closed:
            return CLOCK_END
        if len(self.lanes) < self.partitions:
            return NO_WATERMARK
        return min(lane.clock for lane in self.lanes.values())

    def watermark(self, partition: int) -> int:
        """Its watermark on one partition; ``CLOCK_END`` when it has nothing to say there (any more)."""
        lane = self.lanes.get(partition)
        return CLOCK_END if lane is None or self.closed else lane.clock

    def silent(self, log: LogTime, limit_ms: int) -> bool:
        """Not heard of on any partition for so long."""
        return bool(self.lanes) and all(log.silence(p, lane.seen_ms) > limit_ms for p, lane in self.lanes.items())


class _Kept:
    """State of a checkpoint, pickled by attribute; versions before called the watermark ``frontier``."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "frontier" in state:
            state = {**state, "watermark": state["frontier"]}
            del state["frontier"]
        self.__dict__.update(state)


@dataclass
class Domain(_Kept):
    """One flow table's worth of traffic in time: its sensors and its watermark (ns).

    ``shared``: several sensors may be in it. ``join_ms``: so long after its first message on a partition its time begins to run there,
    so that sensors that are started together are waited for.
    """

    index: int
    name: str
    shared: bool = False
    join_ms: int = 0
    watermark: int = NO_WATERMARK
    max_ts: int = 0
    runs: dict[tuple[str, int], Run] = field(default_factory=dict)
    began: dict[int, int] = field(default_factory=dict)  # partition -> broker time of the first message, ms
    floors: dict[int, int] = field(default_factory=dict)  # partition -> highest watermark of all runs together, as of its last message

    def note(self, e: Envelope) -> tuple[bool, int]:
        """Take a message's envelope; ``(is new, watermark before it)``: its packets below that watermark are late."""
        run = self.runs.setdefault((e.sensor, e.run), Run(e.partitions))
        run.closed = False
        self.began.setdefault(e.partition, e.seen_ms)
        lane = run.lanes.setdefault(e.partition, Lane(began_ms=e.seen_ms))
        lane.seen_ms = max(lane.seen_ms, e.seen_ms)
        if not lane.is_new(e.seq):
            return False, lane.clock
        # A sensor that joins or comes back behind the domain's clock is late too. The watermark is never above the floor of a partition
        # on which the domain was heard; it counts where it was not.
        before = max(lane.clock, self.floors.get(e.partition, 0), self.watermark)
        self.max_ts = max(self.max_ts, e.max_ts)
        lane.clock = max(lane.clock, e.clock)
        if self.shared:  # else the floor is the lane's own clock
            self._raise_floor(e.partition, e.seen_ms)
        return True, before

    def _joined(self, partition: int, at_ms: int) -> bool:
        return not self.join_ms or at_ms - self.began[partition] >= self.join_ms

    def _raise_floor(self, partition: int, at_ms: int) -> None:
        watermark = min(run.watermark(partition) for run in self.runs.values())
        if watermark != CLOCK_END and self._joined(partition, at_ms):
            self.floors[partition] = max(self.floors.get(partition, 0), watermark)

    def over(self, partition: int, at_ms: int) -> bool:
        """Every run has ended on the partition, and it was waited for others."""
        ended = all(partition in run.lanes and run.lanes[partition].clock == CLOCK_END for run in self.runs.values())
        return ended and self._joined(partition, at_ms)

    def follows(self, other: AnyDomain) -> bool:
        """Whether it is the next life of another of its name: wherever it was heard, every run of the other had said its end before."""
        if not isinstance(other, Domain) or self.name != other.name:
            return False
        lanes = [(run.lanes.get(partition), began) for partition, began in self.began.items() for run in other.runs.values()]
        return all(lane is not None and lane.clock == CLOCK_END and lane.seen_ms <= began for lane, began in lanes)

    def end_silent(self, log: LogTime, timeout_ms: int, newest: dict[str, int]) -> None:
        """End runs that were silent for ``timeout_ms``, or for less when their sensor was started again (``newest`` run by sensor)."""
        for (sensor, number), run in self.runs.items():
            limit = min(RESTARTED_MS, timeout_ms) if number < newest.get(sensor, number) else timeout_ms
            run.closed = run.closed or run.silent(log, limit)
        for partition in self.began:
            self._raise_floor(partition, log.reached(partition))

    def advance(self, log: LogTime) -> bool:
        """Move the watermark; True when the domain's input has ended."""
        if not all(self._joined(partition, log.reached(partition)) for partition in self.began):
            return False
        clock = min((run.clock() for run in self.runs.values()), default=CLOCK_END)
        if clock == CLOCK_END:
            return True
        self.watermark = max(self.watermark, clock)
        return False

    def drain_ended(self) -> list[tuple[str, int]]:
        """Take out the runs that ended while others of the domain go on, or are waited for."""
        ended = [(key, run) for key, run in self.runs.items() if run.clock() == CLOCK_END]
        if len(ended) == len(self.runs):
            return []
        for key, _ in ended:
            del self.runs[key]
        return [key for key, run in ended if not run.closed]


@dataclass
class JsonLane:
    """JSON packets of one producer on one partition."""

    max_ts: int = 0
    seen_ms: int = 0


@dataclass
class JsonDomain(_Kept):
    """A producer of JSON packets, which has no clock: time is what its packets say on each partition, less the allowed lateness."""

    index: int
    name: str
    lateness_ns: int
    watermark: int = NO_WATERMARK
    max_ts: int = 0
    lanes: dict[int, JsonLane] = field(default_factory=dict)

    def note(self, e: Envelope) -> tuple[bool, int]:
        """As :meth:`Domain.note`; which packets were late by others of the same message, the digester knows."""
        lane = self.lanes.setdefault(e.partition, JsonLane())
        before = max(lane.max_ts - self.lateness_ns, self.watermark)
        lane.max_ts = max(lane.max_ts, e.max_ts)
        lane.seen_ms = max(lane.seen_ms, e.seen_ms)
        self.max_ts = max(self.max_ts, e.max_ts)
        return True, before

    def advance(self, log: LogTime, idle_ns: int) -> bool:
        """Move the watermark: on a partition that is silent, time goes on by the wall clock. True when the input has ended."""
        silence = {p: log.silence(p, lane.seen_ms) * 1_000_000 for p, lane in self.lanes.items()}
        clock = min(lane.max_ts + silence[p] for p, lane in self.lanes.items())
        self.watermark = max(self.watermark, clock - self.lateness_ns)
        return min(silence.values()) > 2 * idle_ns + self.lateness_ns


AnyDomain = Domain | JsonDomain
#: Kinds of domains: of JSON packets, of one run of one sensor, configured.
JSON, RUN, SHARED = "json", "run", "shared"
#: name, kind, number of the run or of the generation
Key = tuple[str, str, int]


def key_of(e: Envelope, domains: Mapping[Key, AnyDomain]) -> Key:
    """Which domain a message belongs to.

    A sensor that is a domain of its own gets a fresh one with every run, so that the same file can be replayed twice. Sensors
    that share a configured domain share one table and one clock across their runs; when all of them have ended, the next one
    begins a new generation, whether it comes in the same micro-batch or in a later one.
    """
    if e.kind == KIND_JSON:
        return (e.domain, JSON, 0)
    if e.domain == e.sensor:
        return (e.domain, RUN, e.run)
    generations = {k[2]: d for k, d in domains.items() if k[:2] == (e.domain, SHARED) and isinstance(d, Domain)}
    for number, domain in generations.items():
        if (e.sensor, e.run) in domain.runs:
            return (e.domain, SHARED, number)
    newest = max(generations, default=0)
    return (e.domain, SHARED, newest + (newest in generations and generations[newest].over(e.partition, e.seen_ms)))


class NewestRuns:
    """The newest run of every sensor, and since when it speaks on each partition."""

    def __init__(self, domains: Iterable[AnyDomain]) -> None:
        self.number: dict[str, int] = {}
        self._began: dict[tuple[str, int], int] = {}  # sensor, partition -> ms
        for domain in domains:
            for (sensor, number), run in domain.runs.items() if isinstance(domain, Domain) else ():
                for partition, lane in run.lanes.items():
                    self._note(sensor, number, partition, lane.began_ms)

    def _note(self, sensor: str, number: int, partition: int, began_ms: int) -> None:
        if number > self.number.get(sensor, -1):
            self.number[sensor] = number
            self._began = {key: ms for key, ms in self._began.items() if key[0] != sensor}
        if number == self.number[sensor]:
            self._began.setdefault((sensor, partition), began_ms)

    def share_id(self, e: Envelope) -> bool:
        """Take a message; whether it shows that two live sensors have one id: an older run speaks on beside a newer one."""
        if self.number.get(e.sensor) == e.run and (e.sensor, e.partition) in self._began:
            return False
        self._note(e.sensor, e.run, e.partition, e.seen_ms)
        began = self._began.get((e.sensor, e.partition))
        return e.run < self.number[e.sensor] and began is not None and e.seen_ms - began > BOTH_ALIVE_MS
