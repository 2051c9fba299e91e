"""What a collector without Kafka tells of exporters and their records, for which the stream has a topic."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from prometheus_client.core import Metric

from jobs.flowexport.session import ExportSessions
from jobs.sources.netflow.accountmetrics import AccountMetrics, RecentDelays, latency
from jobs.sources.netflow.decoding import account_rows
from jobs.sources.netflow.flowcounts import MOST_EXPORTERS, OTHERS, FlowDelays

#: Accounts are read this often at most: thousands of exporters take some milliseconds.
_EVERY_S = 2.0


class DirectTally:
    """Counts records as they are stored, and keeps the accounts of their exporters. One thread notes, others ask.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._records: Counter[str] = Counter()
        self._duplicates: Counter[str] = Counter()
        self._delays = RecentDelays()
        self._rows: list[dict[str, Any]] = []
        self._read_at = -_EVERY_S
        self._shown = AccountMetrics()

    def stored(self, records: pa.Table) -> None:
        """Note records of :data:`schemas.exportedflows.EXPORTED_FLOWS`, which are stored now."""
        delays = FlowDelays()
        delays.note(records["received_time"].cast(pa.int64()).to_numpy(), self._clock())
        found = (
            records.select(["exporter_ip", "duplicate_of"])
            .group_by("exporter_ip")
            .aggregate([([], "count_all"), ("duplicate_of", "count")])
        )
        with self._lock:
            self._delays.note(delays)
            for row in found.to_pylist():
                name = row["exporter_ip"]
                if name not in self._records and len(self._records) >= MOST_EXPORTERS:
                    name = OTHERS
                self._records[name] += row["count_all"]
                self._duplicates[name] += row["duplicate_of_count"]

    def read(self, sessions: ExportSessions, *, now: bool = False) -> None:
        """Note the accounts of exporters, if it is time to, or at once. To be called by who decodes, as they change meanwhile."""
        if now or time.monotonic() - self._read_at >= _EVERY_S:
            rows = list(account_rows(sessions))
            with self._lock:
                self._rows = rows
            self._read_at = time.monotonic()

    def lost(self) -> dict[str, int]:
        """What sequence numbers say was lost before it came, by protocol: records (NetFlow v5, IPFIX) or datagrams (v9, sFlow)."""
        found: Counter[str] = Counter()
        with self._lock:
            for row in self._rows:
                found[row["export_protocol"]] += row["lost"]
        return {protocol: n for protocol, n in sorted(found.items()) if n}

    def metrics(self) -> Iterator[Metric]:
        """The same metrics as those of a stream (:mod:`jobs.sources.netflow.flowmetrics`)."""
        with self._lock:
            rows, told = list(self._rows), self._delays.told()
            records = {name: (n, self._duplicates[name]) for name, n in self._records.items()}
        yield from self._shown.of_sessions(rows)
        yield from self._shown.of_records(records)
        yield latency(*told)
