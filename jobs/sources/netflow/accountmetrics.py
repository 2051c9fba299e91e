"""Metrics of accounts of exporters, of their records, and of how long these took: the same of a stream and of a collector without one."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from jobs.sources.netflow.flowcounts import MOST_EXPORTERS, OTHERS, FlowDelays

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


class RecentDelays:
    """Latencies of the last minutes, and sums over all.

    Parameters
    ----------
    clock
        Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[tuple[float, FlowDelays]] = deque()
        self._records, self._seconds = 0, 0.0

    def note(self, delays: FlowDelays) -> None:
        """Add those of records that left now."""
        self._recent.append((self._clock(), delays))
        self._records += delays.records
        self._seconds += delays.seconds

    def told(self) -> tuple[FlowDelays, int, float]:
        """Latencies of the last minutes; number of records and sum of seconds of all that were noted."""
        while self._recent and self._recent[0][0] < self._clock() - _WINDOW_S:
            self._recent.popleft()
        found = FlowDelays()
        for _, delays in self._recent:
            found.add(delays)
        return found, self._records, self._seconds


class AccountMetrics:
    """Makes them; labels are bounded: who came first has a name of its own."""

    def __init__(self) -> None:
        self._names: set[str] = set()  # exporters with a label of their own

    def of_sessions(self, sessions: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
        """Of accounts of exporters, a row each protocol and domain."""
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
            yield counter(metric, text, ["exporter"], {(exporter,): n for exporter, n in sums[name].items()})
        for name, (metric, text) in _LEVELS.items():
            yield _gauge_of(metric, text, sums[name])
        unit = "in records (NetFlow v5, IPFIX) or datagrams (NetFlow v9, sFlow)"
        labels = ["exporter", "export_protocol"]
        yield counter("flowlens_export_lost", f"What sequence numbers say was lost, {unit}.", labels, lost)
        yield counter("flowlens_export_counted", f"What came of that, {unit}.", labels, came)
        yield _gauge_of("flowlens_exporter_seen_timestamp_seconds", "When the exporter was heard of last.", seen)

    def of_records(self, processed: Mapping[str, tuple[int, int]]) -> Iterator[Metric]:
        """Of records, and duplicates among them, by exporter."""
        records: Counter[tuple[str, ...]] = Counter()
        duplicates: Counter[tuple[str, ...]] = Counter()
        for exporter, (n, twice) in processed.items():
            records[self._name(exporter),] += n
            duplicates[self._name(exporter),] += twice
        yield counter("flowlens_flows_processed", "Records published.", ["exporter"], records)
        yield counter("flowlens_flows_duplicate", "Records of flows that another exporter owns.", ["exporter"], duplicates)

    def _name(self, exporter: str) -> str:
        """What an exporter is called: who came first has a name of its own."""
        if exporter not in self._names:
            if len(self._names) >= MOST_EXPORTERS:
                return OTHERS
            self._names.add(exporter)
        return exporter


def counter(name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Counts by the values of their labels."""
    made = CounterMetricFamily(name, text, labels=labels)
    for key, n in values.items():
        made.add_metric(key, n)
    return made


def _gauge_of(name: str, text: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=["exporter"])
    for exporter, n in values.items():
        gauge.add_metric([exporter], n)
    return gauge


def latency(found: FlowDelays, records: int, seconds: float) -> Metric:
    """Of records that left in the last minutes; number of all that ever did, and the sum of their seconds."""
    name = "flowlens_processing_latency_seconds"
    summary = SummaryMetricFamily(name, "From the receipt of a datagram to its records' publication; quantiles of 10 minutes.")
    for share in _QUANTILES:
        summary.add_sample(name, {"quantile": str(share)}, found.quantile(share))
    summary.add_metric([], count_value=records, sum_value=seconds)
    return summary
