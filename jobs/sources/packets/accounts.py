"""The meter's accounts, read from their topic: where every packet went, summed over buckets and domains.

Each message is the cumulative count of one query, domain and bucket (``schemas.topics.ACCOUNTS``); the newest counts.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from infra import log, metrics
from infra.config import Settings
from infra.errors import one_line
from schemas.accounts import SHARED_ID
from schemas.topics import ACCOUNTS

LOG = log.get("accounts")
_NOT_COUNTS = frozenset({"query", "domain", "bucket", "version"})


class AccountBook:
    """The newest account of every query, domain and bucket."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, int], dict[str, Any]] = {}

    def add(self, value: bytes | None) -> None:
        """Take one message; an older version than the one known is ignored, and so is what is no account."""
        try:
            row = json.loads(value or b"")
            key = (str(row["query"]), str(row["domain"]), int(row["bucket"]))
            version = int(row["version"])
        except (ValueError, KeyError, TypeError):
            return
        known = self._rows.get(key)
        if known is None or version >= known["version"]:
            self._rows[key] = row

    def totals(self, query: str | None = None, domain: str | None = None) -> Counter[str]:
        """Sums by name (``packets``, ``metered``, ``rejected``, ``rejected_late``, ``flows``, ``flows_idle``, ``waiting``, ...)."""
        total: Counter[str] = Counter()
        for (of_query, of_domain, _), row in self._rows.items():
            if query in (None, of_query) and domain in (None, of_domain):
                total.update({k: v for k, v in row.items() if k not in _NOT_COUNTS})
        return total

    def sharing_ids(self) -> Counter[str]:
        """Messages that show two live sensors with one id, by domain."""
        found: Counter[str] = Counter()
        for (_, domain, _), row in self._rows.items():
            found[domain] += row.get(SHARED_ID, 0)
        return +found

    def domains(self) -> list[str]:
        """Domains that have been heard of."""
        return sorted({domain for _, domain, _ in self._rows})


class Exporter(threading.Thread):
    """Follows the topic and keeps the Prometheus counters of the meter."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="accounts-exporter", daemon=True)
        self._settings = settings
        self._ending = threading.Event()
        self.book = AccountBook()
        self._shown: Counter[str] = Counter()
        self._sharing: Counter[str] = Counter()  # messages of sensors that share an id, by domain
        self._warned: set[str] = set()

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._ending.set()

    def run(self) -> None:
        """Read until stopped; a broker that is away is waited for."""
        began_ms = time.time() * 1000
        while not self._ending.is_set():
            try:
                for value, written_ms in follow(self._settings, self._ending):
                    self.book.add(value)
                    self._export()
                    self.tell(new=written_ms >= began_ms)
            except Exception as e:  # the stream must not end because nobody counts
                LOG.debug("accounts cannot be read, trying again", cause=one_line(e, 200))
                self._ending.wait(5)

    def tell(self, *, new: bool) -> None:
        """Count what two live sensors of one id send, and log it once for each domain; unless not ``new``: then it was told before."""
        for domain, messages in self.book.sharing_ids().items():
            gained = messages - self._sharing[domain]
            self._sharing[domain] = messages
            if not new or gained <= 0:
                continue
            metrics.SHARED_ID.labels(domain=domain).inc(gained)
            if domain not in self._warned:
                self._warned.add(domain)
                LOG.warning(
                    "two live sensors have the same id; both are metered, but their records cannot be told apart",
                    domain=domain,
                    hint="give each sensor its own: sensor.id, FLOWLAKE_SENSOR__ID or --sensor-id",
                )

    def _export(self) -> None:
        now = self.book.totals()
        gained = now - self._shown
        self._shown = now
        for name, n in gained.items():
            if name == "metered":
                metrics.PACKETS.labels(query="meter").inc(n)
            elif name.startswith("rejected_"):
                metrics.REJECTED.labels(query="meter", reason=name.removeprefix("rejected_")).inc(n)
            elif name.startswith("flows_"):
                metrics.FLOWS.labels(query="meter", reason=name.removeprefix("flows_")).inc(n)
        metrics.OPEN_FLOWS.labels(query="meter").set(now["open"])


def follow(settings: Settings, ending: threading.Event) -> Iterator[tuple[bytes | None, int]]:
    """Values of the topic from its beginning, and when they were written (ms), until ``ending`` is set."""
    from kafka import KafkaConsumer

    from infra.kafka.client import client_options

    consumer = KafkaConsumer(settings.topic(ACCOUNTS.name), auto_offset_reset="earliest", **client_options(settings.kafka))
    try:
        while not ending.is_set():
            for messages in consumer.poll(timeout_ms=500).values():
                for message in messages:
                    yield message.value, message.timestamp
    finally:
        consumer.close()
