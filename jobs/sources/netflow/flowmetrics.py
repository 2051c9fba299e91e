"""Prometheus metrics of exported flows in the driver, read from ``flows.accounts``: what the query publishes, of its live checkpoint.

Counters count since the checkpoint began; latencies are those of the last minutes. Labels are bounded: exporters beyond
:data:`jobs.sources.netflow.flowcounts.MOST_EXPORTERS` are counted together.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from infra import log
from infra.config import Settings
from infra.errors import one_line
from infra.kafka.following import follow
from infra.metrics import REGISTRY
from jobs.sources.netflow.flowcounts import MOST_EXPORTERS, OTHERS, FlowDelays
from schemas.exportedflows import FLOW_ACCOUNTS

LOG = log.get("jobs.sources.netflow.flowmetrics")

#: Sessions of exporters that the book keeps; those that were silent longest go first.
_MOST_SESSIONS = 20_000
#: Seconds for which a latency counts.
_WINDOW_S = 600.0
_QUANTILES = (0.5, 0.9, 0.99)
#: Protocols whose sequence numbers count records; the others count datagrams.
_OF_RECORDS = frozenset({"netflow-v5", "ipfix"})
#: Names of an account that are told as they are -> metric, help.
_COUNTS: Mapping[str, tuple[str, str]] = {
    "datagrams": ("flowlens_datagrams_decoded", "Datagrams decoded."),
    "records": ("flowlens_flows_received", "Records decoded."),
    "restarts": ("flowlens_exporter_restarts", "Restarts of the exporter."),
}
_LEVELS: Mapping[str, tuple[str, str]] = {
    "templates_known": ("flowlens_templates", "Templates known."),
    "waiting_sets": ("flowlens_pending_sets", "Sets of data that wait for their template."),
    "waiting_bytes": ("flowlens_pending_bytes", "Bytes that wait for their template."),
}


class FlowAccountBook:
    """The newest of what each bucket tells, of any checkpoint.

    Parameters
    ----------
    clock
        Seconds; of latencies.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._processed: dict[tuple[str, int], dict[str, list[int]]] = {}
        self._versions: dict[tuple[str, str, int], int] = {}
        self._recent: deque[tuple[float, str, FlowDelays]] = deque()
        self._summed: dict[str, tuple[int, float]] = {}

    def add(self, value: bytes | None, *, new: bool = True) -> None:
        """Take one message. What is no account is ignored, and so is a copy. Latencies count only of ``new`` ones."""
        for line in (value or b"").splitlines():
            try:
                row = json.loads(line)
                if row.get("exporter"):
                    self._session(row)
                elif "flow_bucket" in row:
                    self._flows(row, new)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue

    def _session(self, row: dict[str, Any]) -> None:
        key = tuple(row[name] for name in ("query", "bucket", "exporter", "sender", "export_protocol", "exporter_domain"))
        before = self._sessions.pop(key, row)
        self._sessions[key] = row if int(row["version"]) >= int(before["version"]) else before
        while len(self._sessions) > _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]

    def _flows(self, row: dict[str, Any], new: bool) -> None:
        query, bucket, version = str(row["query"]), int(row["flow_bucket"]), int(row["version"])
        what = "delays" if "delays" in row else "processed"
        if version <= self._versions.get((what, query, bucket), -1):
            return
        self._versions[what, query, bucket] = version
        if what == "processed":
            self._processed.setdefault((query, bucket), {}).update(row["processed"])
        elif new:
            delays = FlowDelays.of(row["delays"])
            self._recent.append((self._clock(), query, delays))
            records, seconds = self._summed.get(query, (0, 0.0))
            self._summed[query] = (records + delays.records, seconds + delays.seconds)

    def sessions(self, query: str) -> list[dict[str, Any]]:
        """Accounts of exporters of a checkpoint, a row each protocol and domain."""
        return [row for key, row in list(self._sessions.items()) if key[0] == query]

    def processed(self, query: str) -> dict[str, tuple[int, int]]:
        """Records that were published, and duplicates among them, by exporter."""
        records: Counter[str] = Counter()
        duplicates: Counter[str] = Counter()
        for (of, _), told in list(self._processed.items()):
            for name, (n, twice) in list(told.items()) if of == query else ():
                records[name] += n
                duplicates[name] += twice
        return {name: (n, duplicates[name]) for name, n in records.items()}

    def delays(self, query: str) -> tuple[FlowDelays, int, float]:
        """Latencies of the last minutes; number of records and sum of seconds of all that were taken."""
        while self._recent and self._recent[0][0] < self._clock() - _WINDOW_S:
            self._recent.popleft()
        found = FlowDelays()
        for _, of, delays in list(self._recent):
            if of == query:
                found.add(delays)
        return (found, *self._summed.get(query, (0, 0.0)))


class ExportedFlowMetrics(Collector):
    """Shows the metrics from :meth:`start` to :meth:`stop`; follows the topic in a thread of its own.

    Parameters
    ----------
    settings
        Where the broker is.
    live
        Gives the id of the checkpoint that the query goes on from; None as long as it has not begun.
    registry
        Where they are shown.
    """

    def __init__(self, settings: Settings, live: Callable[[], str | None], registry: CollectorRegistry = REGISTRY) -> None:
        self._settings, self._live, self._registry = settings, live, registry
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self.book = FlowAccountBook()
        self._names: set[str] = set()  # exporters with a label of their own

    def start(self) -> None:
        """Begin to follow; a broker that is away is waited for."""
        began_ms = int(time.time() * 1000)
        self._registry.register(self)
        threading.Thread(target=self._run, args=(began_ms,), name="flow-accounts", daemon=True).start()

    def stop(self) -> None:
        """Show nothing more; returns at once."""
        self._ending.set()
        self._registry.unregister(self)

    def _run(self, began_ms: int) -> None:
        while not self._ending.is_set():
            try:
                for messages in follow(self._settings, FLOW_ACCOUNTS.name, self._ending):
                    with self._lock:
                        for value, written_ms in messages:
                            self.book.add(value, new=written_ms >= began_ms)
            except Exception as e:  # the stream must not end because nobody counts
                LOG.debug("accounts of exporters cannot be read, trying again", cause=one_line(e, 200))
                self._ending.wait(5)

    def describe(self) -> list[Metric]:
        """Nothing is known before the query runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Metrics as of now."""
        query = self._live()
        if query is None:
            return
        with self._lock:
            sessions, processed = self.book.sessions(query), self.book.processed(query)
            found, records, seconds = self.book.delays(query)
        yield from self._of_sessions(sessions)
        yield from self._of_records(processed)
        yield _latency(found, records, seconds)

    def _of_sessions(self, sessions: list[dict[str, Any]]) -> Iterator[Metric]:
        sums: dict[str, Counter[str]] = {name: Counter() for name in (*_COUNTS, *_LEVELS)}
        seen: dict[str, float] = {}
        lost: Counter[tuple[str, ...]] = Counter()
        came: Counter[tuple[str, ...]] = Counter()
        for row in sessions:
            exporter, protocol = self._name(row["exporter"]), row["export_protocol"]
            for name, of in sums.items():
                of[exporter] += row.get(name, 0)
            seen[exporter] = max(seen.get(exporter, 0.0), row.get("seen_us", 0) / 1e6)
            lost[exporter, protocol] += row.get("lost", 0)
            came[exporter, protocol] += row.get("records" if protocol in _OF_RECORDS else "datagrams", 0)
        for name, (metric, text) in _COUNTS.items():
            yield _counter(metric, text, ["exporter"], {(exporter,): n for exporter, n in sums[name].items()})
        for name, (metric, text) in _LEVELS.items():
            yield _gauge_of(metric, text, sums[name])
        unit = "in records (NetFlow v5, IPFIX) or datagrams (NetFlow v9, sFlow)"
        labels = ["exporter", "export_protocol"]
        yield _counter("flowlens_export_lost", f"What sequence numbers say was lost, {unit}.", labels, lost)
        yield _counter("flowlens_export_counted", f"What came of that, {unit}.", labels, came)
        yield _gauge_of("flowlens_exporter_seen_timestamp_seconds", "When the exporter was heard of last.", seen)

    def _of_records(self, processed: Mapping[str, tuple[int, int]]) -> Iterator[Metric]:
        records: Counter[tuple[str, ...]] = Counter()
        duplicates: Counter[tuple[str, ...]] = Counter()
        for exporter, (n, twice) in processed.items():
            records[self._name(exporter),] += n
            duplicates[self._name(exporter),] += twice
        yield _counter("flowlens_flows_processed", "Records published.", ["exporter"], records)
        yield _counter("flowlens_flows_duplicate", "Records of flows that another exporter owns.", ["exporter"], duplicates)

    def _name(self, exporter: str) -> str:
        """What an exporter is called: who came first has a name of its own."""
        if exporter not in self._names:
            if len(self._names) >= MOST_EXPORTERS:
                return OTHERS
            self._names.add(exporter)
        return exporter


def _counter(name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    counter = CounterMetricFamily(name, text, labels=labels)
    for key, n in values.items():
        counter.add_metric(key, n)
    return counter


def _gauge_of(name: str, text: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=["exporter"])
    for exporter, n in values.items():
        gauge.add_metric([exporter], n)
    return gauge


def _latency(found: FlowDelays, records: int, seconds: float) -> Metric:
    name = "flowlens_processing_latency_seconds"
    summary = SummaryMetricFamily(name, "From the receipt of a datagram to its records' publication; quantiles of 10 minutes.")
    for share in _QUANTILES:
        summary.add_sample(name, {"quantile": str(share)}, found.quantile(share))
    summary.add_metric([], count_value=records, sum_value=seconds)
    return summary
