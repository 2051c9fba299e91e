"""The meter's accounts, read from their topic: where every packet went, summed over buckets and domains.

Each message is the cumulative count of one query, domain and bucket (``schemas.topics.ACCOUNTS``); the newest counts.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable

from infra import log
from infra.config import Settings
from infra.errors import one_line
from infra.kafka.following import follow
from infra.metrics import REJECTED
from jobs.sources.packets import metrics
from schemas.accounts import SHARED_ID
from schemas.packets import ACCOUNTS

LOG = log.get("accounts")
_NOT_COUNTS = frozenset({"query", "domain", "bucket", "version"})
#: The label of the meter's metrics.
_METER = "meter"


class AccountBook:
    """The newest account of every query, domain and bucket; a query here is a checkpoint's id."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, int], Counter[str]] = {}
        self._versions: dict[tuple[str, str, int], int] = {}

    def add(self, value: bytes | None) -> None:
        """Take one message; an older version than the one known is ignored, and so is what is no account."""
        try:
            row = json.loads(value or b"")
            key = (str(row["query"]), str(row["domain"]), int(row["bucket"]))
            version = int(row["version"])
        except (ValueError, KeyError, TypeError):
            return
        if version >= self._versions.get(key, version):
            self._versions[key] = version
            self._rows[key] = Counter({k: v for k, v in row.items() if isinstance(v, int) and k not in _NOT_COUNTS})

    def totals(self, query: str | None = None, domain: str | None = None) -> Counter[str]:
        """Sums by name (``packets``, ``metered``, ``rejected``, ``rejected_late``, ``flows``, ``flows_idle``, ``waiting``, ...)."""
        total: Counter[str] = Counter()
        for (of_query, of_domain, _), counts in self._rows.items():
            if query in (None, of_query) and domain in (None, of_domain):
                total.update(counts)
        return total

    def sharing_ids(self, query: str | None = None) -> Counter[str]:
        """Messages that show two live sensors with one id, by domain."""
        found: Counter[str] = Counter()
        for (of_query, domain, _), counts in self._rows.items():
            if query in (None, of_query):
                found[domain] += counts[SHARED_ID]
        return +found

    def domains(self) -> list[str]:
        """Domains that have been heard of."""
        return sorted({domain for _, domain, _ in self._rows})


class Exporter:
    """Keeps the Prometheus metrics of the meter: follows the topic in a thread of its own, from :meth:`start` to :meth:`stop`.

    The topic holds the accounts of earlier checkpoints too, and of other meters; only those of the live one count, and of its counters
    only what came since the start.

    Parameters
    ----------
    settings
        Where the broker is.
    live
        Gives the id of the checkpoint that the meter's query goes on from; None as long as it has not begun. Asked again and again: the
        topic is read before the query begins, and a query that is started again may have a new checkpoint.
    """

    def __init__(self, settings: Settings, live: Callable[[], str | None]) -> None:
        self._settings = settings
        self._live = live
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._book = AccountBook()
        self._before = AccountBook()  # as of the start
        self._shown: dict[str, Counter[str]] = {}  # by checkpoint: what the metrics have of it
        self._sharing: dict[str, Counter[str]] = {}  # the same of messages of sensors that share an id, by domain
        self._warned: set[str] = set()

    def start(self) -> None:
        """Begin to follow; a broker that is away is waited for."""
        began_ms = int(time.time() * 1000)  # as Kafka's clients stamp a message
        self._thread = threading.Thread(target=self._run, args=(began_ms,), name="accounts-exporter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._ending.set()

    def _run(self, began_ms: int) -> None:
        while not self._ending.is_set():
            try:
                for messages in follow(self._settings, ACCOUNTS.name, self._ending):
                    for value, written_ms in messages:
                        self.take(value, new=written_ms >= began_ms)
                    self.show()
            except Exception as e:  # the stream must not end because nobody counts
                LOG.debug("accounts cannot be read, trying again", cause=one_line(e, 200))
                self._ending.wait(5)

    def take(self, value: bytes | None, *, new: bool) -> None:
        """Note a message; unless ``new`` it was written before the start, and what it counts is not counted again."""
        self._book.add(value)
        if not new:
            self._before.add(value)

    def show(self) -> None:
        """Bring the metrics up to what was taken of the live checkpoint."""
        query = self._live()
        if query is None:
            return
        now = self._book.totals(query)
        metrics.OPEN_FLOWS.labels(query=_METER).set(now["open"])
        for name, n in _gained(self._shown, query, now - self._before.totals(query)).items():
            if name == "metered":
                metrics.PACKETS.labels(query=_METER).inc(n)
            elif name.startswith("rejected_"):
                REJECTED.labels(query=_METER, reason=name.removeprefix("rejected_")).inc(n)
            elif name.startswith("flows_"):
                metrics.FLOWS.labels(query=_METER, reason=name.removeprefix("flows_")).inc(n)
        sharing = self._book.sharing_ids(query) - self._before.sharing_ids(query)
        for domain, n in _gained(self._sharing, query, sharing).items():
            metrics.SHARED_ID.labels(domain=domain).inc(n)
            self._tell(domain)

    def _tell(self, domain: str) -> None:
        """Log once that two live sensors have the id of ``domain``."""
        if domain not in self._warned:
            self._warned.add(domain)
            LOG.warning(
                "two live sensors have the same id; both are metered, but their records cannot be told apart",
                domain=domain,
                hint="give each sensor its own: sensor.id, FLOWLAKE_SENSOR__ID or --sensor-id",
            )


def _gained(shown: dict[str, Counter[str]], query: str, now: Counter[str]) -> Counter[str]:
    """What ``now`` has more than was shown of ``query``; it is shown then."""
    more = now - shown.get(query, Counter())
    shown[query] = now
    return more
