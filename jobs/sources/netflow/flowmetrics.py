"""Prometheus metrics of exported flows in the driver, read from ``flows.accounts``: what the query publishes, of its live checkpoint.

Counters count since the checkpoint began; latencies are those of the last minutes. Labels are bounded: exporters beyond
:data:`jobs.sources.netflow.flowcounts.MOST_EXPORTERS` are counted together.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from infra import log
from infra.config import Settings
from infra.errors import one_line
from infra.kafka.following import follow
from infra.metrics import REGISTRY
from jobs.sources.netflow.accountmetrics import AccountMetrics, RecentDelays, latency
from jobs.sources.netflow.flowcounts import FlowDelays
from schemas.exportedflows import FLOW_ACCOUNTS

LOG = log.get("jobs.sources.netflow.flowmetrics")

#: Sessions of exporters that the book keeps; those that were silent longest go first.
_MOST_SESSIONS = 20_000


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
        self._delays: dict[str, RecentDelays] = {}

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
            self._delays.setdefault(query, RecentDelays(self._clock)).note(FlowDelays.of(row["delays"]))

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
        return self._delays[query].told() if query in self._delays else (FlowDelays(), 0, 0.0)


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
        self._shown = AccountMetrics()

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
        yield from self._shown.of_sessions(sessions)
        yield from self._shown.of_records(processed)
        yield latency(found, records, seconds)
