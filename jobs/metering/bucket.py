"""Phase two: everything one hash bucket knows - clocks, packets that wait for them, open flows, accounts.

Pure: digests in, flow rows out. Spark's state (:mod:`jobs.sources.packets.stateful`) and the batch meter both drive this class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.metering.domains import JSON, SHARED, AnyDomain, Domain, JsonDomain, Key, LogTime, NewestRuns, key_of
from jobs.metering.envelope import KIND_JSON, Envelope
from jobs.metering.fragments import FragmentTable
from jobs.metering.gather import take
from jobs.metering.layout import Digest, MeterState
from jobs.metering.row import END_REASONS
from jobs.metering.settings import MeterSettings
from jobs.metering.slices import SLICE_DTYPE
from jobs.metering.table import FlowTable, Rows, Timeouts
from schemas.accounts import SHARED_ID
from schemas.wire import CLOCK_END
from sensors.packets.decode import FRAGMENT_ORPHAN, LATE, PACKET_DTYPE, REJECT_REASONS

_NS = 1_000_000_000
#: Ended sensor runs remembered, so that a copy of their last message is not taken for a new sensor.
_ENDED_KEPT = 1024


@dataclass
class Emission:
    """What one call gives: rows of the flow table, and how many were evicted or seen late."""

    closed: NDArray
    interim: NDArray
    domains: list[str]  # names by the rows' domain number
    sensors: list[str]
    community_id_seed: int = 0
    slices: NDArray = field(default_factory=lambda: np.zeros(0, SLICE_DTYPE))
    #: By domain, us: every packet before it has been metered. Of those that ended: to the last packet.
    clocks: dict[str, int] = field(default_factory=dict)
    #: Domains whose input has ended with this call.
    ended: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing to publish."""
        return not len(self.closed) and not len(self.interim)


def timeouts_of(settings: MeterSettings) -> Timeouts:
    """Metering rules of the configuration."""
    return Timeouts(
        idle_us=round(settings.idle_timeout_s * 1e6),
        active_us=round(settings.active_timeout_s * 1e6),
        linger_us=round(settings.tcp_linger_s * 1e6),
        interim_age_us=round(settings.interim_first_s * 1e6),
        interim_packets=settings.interim_first_packets,
        interim=settings.interim,
    )


class BucketMeter:
    """Meters the packets of one bucket.

    Parameters
    ----------
    bucket, buckets
        Number of this bucket and of all; messages are accounted for in bucket ``partition % buckets``.
    settings
        Metering rules.
    slice_s
        Seconds of the slots that slices are made of (:mod:`jobs.metering.slices`); 0: none are.
    """

    def __init__(self, bucket: int, buckets: int, settings: MeterSettings, slice_s: int = 0) -> None:
        self.bucket = bucket
        self._buckets = buckets
        self._settings = settings
        self._for_windows = slice_s > 0
        self.table = FlowTable(timeouts_of(settings), slice_us=slice_s * 1_000_000)
        self._fragments = FragmentTable(round(settings.fragment_timeout_s * 1e6), settings.max_waiting_fragments)
        self._held = np.zeros(0, PACKET_DTYPE)
        self._domains: dict[Key, AnyDomain] = {}
        self._names: dict[int, str] = {}  # domain number -> name, of domains with state
        self._sensors: dict[str, int] = {}
        self._ended: dict[tuple[str, int], int] = {}
        self.accounts: dict[str, Counter[str]] = {}  # by domain name, cumulative

    # ---- ingest

    def ingest(self, digests: Iterable[Digest], now_ms: int) -> Emission:
        """Take the digests of one micro-batch; meter what their clocks release.

        ``now_ms``: wall clock in ms, from the input (so that a replayed batch decides the same).
        """
        # any arrival order gives the same result
        in_order = sorted(digests, key=lambda digest: digest.order)
        return self.ingest_decoded([(digest.envelopes, digest.packets) for digest in in_order], now_ms)

    def ingest_decoded(self, digests: Iterable[tuple[list[Envelope], NDArray]], now_ms: int) -> Emission:
        """The same for digests that never left the process; their packets' ``msg`` indexes the envelopes."""
        digests = list(digests)
        log = LogTime(now_ms, (e for envelopes, _ in digests for e in envelopes))
        newest = NewestRuns(self._domains.values())
        pool = [self._held, *(self._admit(envelopes, packets, newest) for envelopes, packets in digests)]
        return self._meter(pool, log, newest, now_ms)

    def _admit(self, envelopes: list[Envelope], packets: NDArray, newest: NewestRuns) -> NDArray:
        """Note clocks and accounts of the envelopes; returns the packets that are neither copies nor late."""
        n = len(envelopes)
        domain_of = np.zeros(n, np.uint16)
        sensor_of = np.zeros(n, np.uint16)
        seq_of = np.zeros(n, np.uint32)
        before_of = np.zeros(n, np.int64)  # watermark before the message
        fresh = np.zeros(n, bool)
        for i, e in enumerate(envelopes):
            home = e.partition % self._buckets == self.bucket
            if (e.sensor, e.run) in self._ended:
                self._count(e.domain, "duplicate_messages", int(home))
                continue
            domain = self._domain(e)
            new, before = domain.note(e)
            if home:
                self._account_message(e, new)
            if e.kind != KIND_JSON and newest.share_id(e):
                self._count(e.domain, SHARED_ID, int(home))
            domain_of[i], sensor_of[i] = domain.index, self._sensor(e.sensor)
            seq_of[i], before_of[i], fresh[i] = e.seq & 0xFFFFFFFF, before, new
        if not len(packets):
            return packets
        if not fresh.all():
            packets = take(packets, fresh[packets["msg"]])
        message = packets["msg"]
        packets["domain"] = domain_of[message]
        packets["sensor"] = sensor_of[message]
        late = packets["ts"] < before_of[message]
        if late.any():
            for i, count in Counter(packets["domain"][late].tolist()).items():
                self._reject(self._names[i], REJECT_REASONS[LATE], count)
            packets = take(packets, ~late)
        packets["msg"] = seq_of[packets["msg"]]
        return packets

    def _account_message(self, e: Envelope, new: bool) -> None:
        if not new:
            self._count(e.domain, "duplicate_messages", 1)
            return
        self._count(e.domain, "messages", 1)
        self._count(e.domain, "packets", e.packets)
        for reason, count in e.rejected.items():
            self._reject(e.domain, reason, count)

    def _domain(self, e: Envelope) -> AnyDomain:
        key = key_of(e, self._domains)
        domain = self._domains.get(key)
        if domain is None:
            index = next(i for i in range(len(self._names) + 1) if i not in self._names)
            domain = self._domains[key] = self._new_domain(key, index)
            self._names[index] = e.domain
        return domain

    def _new_domain(self, key: Key, index: int) -> AnyDomain:
        name, kind, _ = key
        if kind == JSON:
            return JsonDomain(index, name, round(self._settings.json_lateness_s * _NS))
        if kind == SHARED:
            return Domain(index, name, shared=True, join_ms=round(self._settings.domain_join_s * 1000))
        return Domain(index, name)

    def _sensor(self, name: str) -> int:
        return self._sensors.setdefault(name, len(self._sensors))

    # ---- metering

    def _meter(self, pool: list[NDArray], log: LogTime, newest: NewestRuns, now_ms: int) -> Emission:
        watermarks = np.full(max(self._names, default=0) + 1, 0, np.int64)
        release = watermarks.copy()
        ended: list[tuple[Key, AnyDomain]] = []
        next_lives: set[int] = set()
        for key, domain in self._domains.items():
            if self._waits(domain, ended):
                next_lives.add(domain.index)
                release[domain.index] = watermarks[domain.index] = domain.watermark
            elif self._advance(domain, log, newest):
                ended.append((key, domain))
                release[domain.index] = CLOCK_END
                # flows that were idle by the last packet of the domain end as idle, not as forced
                watermarks[domain.index] = max(domain.max_ts, domain.watermark)
            else:
                release[domain.index] = watermarks[domain.index] = domain.watermark
                if isinstance(domain, Domain):
                    self._remember(domain.drain_ended(), now_ms)

        packets = np.concatenate(pool) if len(pool) > 1 else pool[0]
        due = packets["ts"] < release[packets["domain"]]
        if due.all():
            self._held, ready = packets[:0], packets
        else:
            self._held, ready = take(packets, ~due), take(packets, due)
        ready = self._ordered(ready)
        watermarks_us = watermarks // 1000
        waited = np.zeros(0, np.int64)
        if len(ready) and ready["frag"].any():
            ready, waited, orphans = self._fragments.resolve(ready)
            self._reject_orphans(orphans)
        self._reject_orphans(self._fragments.expire(watermarks_us))
        self._reject_orphans(Counter({domain.index: self._fragments.end_domain(domain.index) for _, domain in ended}))
        for i, count in _per_domain(ready["domain"]):
            self._count(self._names[i], "metered", count)

        closed = Rows()
        slices = self.table.meter(ready, closed, waited)
        self.table.expire(watermarks_us, closed)
        for _, domain in ended:
            self.table.close_domain(domain.index, closed)
        bound = max(self._settings.max_open_flows // self._buckets, 1)
        if len(self.table) > bound:
            self.table.evict(len(self.table) - bound, closed)
        interim = self.table.interim(watermarks_us)

        rows = closed.found()
        for i, count in _per_domain(rows["domain"]):
            self._count(self._names[i], "flows", count)
        for (i, reason), count in Counter(zip(rows["domain"].tolist(), rows["end_reason"].tolist(), strict=True)).items():
            self._count(self._names[i], f"flows_{END_REASONS[reason]}", count)
        names = [self._names.get(i, "") for i in range(len(watermarks))]
        told = {index: name for index, name in self._names.items() if index not in next_lives}
        clocks = _clocks(told, watermarks_us)
        self._forget(ended, now_ms)
        gone = clocks.keys() - {name for index, name in told.items() if index in self._names}
        return Emission(rows, interim, names, list(self._sensors), self._settings.community_id_seed, slices, clocks, tuple(sorted(gone)))

    def _waits(self, domain: AnyDomain, ended: list[tuple[Key, AnyDomain]]) -> bool:
        """Whether a domain is the next life of one that ends with this call.

        Windows know a domain by its name, and of one call one clock and one end of it. So the next life is metered with the next call,
        whatever time it has; without windows, to whom both are of one call is nothing.
        """
        return self._for_windows and isinstance(domain, Domain) and any(domain.follows(other) for _, other in ended)

    def _advance(self, domain: AnyDomain, log: LogTime, newest: NewestRuns) -> bool:
        """Move a domain's watermark; True when its input has ended."""
        if isinstance(domain, JsonDomain):
            return domain.advance(log, round(self._settings.idle_timeout_s * _NS))
        domain.end_silent(log, round(self._settings.sensor_timeout_s * 1000), newest.number)
        return domain.advance(log)

    def _ordered(self, packets: NDArray) -> NDArray:
        """By capture time; equal times by sensor name, then in the order of capture."""
        if len(packets) < 2:
            return packets
        ts = packets["ts"]
        step = np.diff(ts)
        if bool((step >= 0).all()):
            tied = step == 0
            order = None
            if not tied.any():
                return packets
        else:
            # stable, and quick on runs that are in order, as those of each partition are
            order = np.argsort(ts, kind="stable")
            ts = ts[order]
            tied = ts[1:] == ts[:-1]
        if tied.any():
            among = np.flatnonzero(np.concatenate([tied, [False]]) | np.concatenate([[False], tied]))
            members = among if order is None else order[among]
            sorted_ties = members[
                np.lexsort((packets["idx"][members], packets["msg"][members], self._rank(packets["sensor"][members]), ts[among]))
            ]
            if order is None:
                if bool((sorted_ties == members).all()):
                    return packets
                order = np.arange(len(packets))
            order[among] = sorted_ties
        return packets if order is None else take(packets, order)

    def _rank(self, sensor: NDArray[np.uint16]) -> NDArray[np.int64]:
        """Place of each packet's sensor among the names of all sensors."""
        rank = np.empty(len(self._sensors), np.int64)
        rank[[self._sensors[name] for name in sorted(self._sensors)]] = np.arange(len(self._sensors))
        return rank[sensor]

    def _forget(self, ended: list[tuple[Key, AnyDomain]], now_ms: int) -> None:
        for key, domain in ended:
            if isinstance(domain, Domain):
                self._remember((run_key for run_key, run in domain.runs.items() if not run.closed), now_ms)
            del self._domains[key]
            del self._names[domain.index]

    def _remember(self, runs: Iterable[tuple[str, int]], now_ms: int) -> None:
        for run in runs:
            self._ended[run] = now_ms
        while len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]

    # ---- accounts

    def _count(self, domain: str, name: str, by: int) -> None:
        if by:
            self.accounts.setdefault(domain, Counter())[name] += by

    def _reject(self, domain: str, reason: str, by: int) -> None:
        self._count(domain, "rejected", by)
        self._count(domain, f"rejected_{reason}", by)

    def _reject_orphans(self, orphans: Counter[int]) -> None:
        for i, count in orphans.items():
            self._reject(self._names[i], REJECT_REASONS[FRAGMENT_ORPHAN], count)

    def account_rows(self) -> list[dict[str, Any]]:
        """Cumulative accounts, one row per domain: packets = metered + rejected + waiting, over all buckets."""
        waiting = Counter(self._held["domain"].tolist()) + self._fragments.waiting()
        held: Counter[str] = Counter()
        for i, n in waiting.items():
            held[self._names[i]] += n
        open_flows: Counter[str] = Counter()
        for i, n in _per_domain(self.table.open_domains()):
            open_flows[self._names[i]] += n
        return [
            {"domain": name, "bucket": self.bucket, **dict(sorted(counts.items())), "waiting": held[name], "open": open_flows[name]}
            for name, counts in sorted(self.accounts.items())
        ]

    # ---- state

    def state(self) -> MeterState:
        """Everything but the open flows; shared with this meter, so to be encoded before it goes on."""
        firsts, waiting = self._fragments.state()
        return MeterState(self._held, firsts, waiting, self._domains, self._names, self._sensors, self._ended, self.accounts)

    def load(self, state: MeterState) -> None:
        """Set what :meth:`state` gave; the open flows are applied separately."""
        self._held = state.held
        self._fragments.load(state.firsts, state.waiting)
        self._domains = state.domains
        self._names = state.names
        self._sensors = state.sensors
        self._ended = state.ended
        self.accounts = state.accounts


def _clocks(names: Mapping[int, str], watermarks_us: NDArray[np.int64]) -> dict[str, int]:
    """By name: a domain of frames and one of JSON may share it."""
    clocks: dict[str, int] = {}
    for index, name in names.items():
        clocks[name] = min(int(watermarks_us[index]), clocks.get(name, CLOCK_END))
    return clocks


def _per_domain(index: NDArray) -> list[tuple[int, int]]:
    counts = np.bincount(index) if len(index) else np.zeros(0, np.int64)
    return [(i, int(c)) for i, c in enumerate(counts) if c]
