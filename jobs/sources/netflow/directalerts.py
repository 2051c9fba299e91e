"""Alerts of a collector that stores flows itself: by the functions of the stream's alerts, into the same table, under the same ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg2
import pyarrow as pa

from infra.config import Settings
from infra.log import get
from jobs.incidents.people import labels_of
from jobs.sinks import alertbook, alerts, postgres
from jobs.sinks.alertbook import Evidence
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.messages import Message
from jobs.sinks.migrations import migrate
from jobs.sources.netflow.publish import ROWS
from jobs.suppression.assets import CurrentAssets
from schemas import alerts as table
from schemas.exportedflows import EXPORTED_FLOWS

_LOG = get("netflow.alerts")
_APPLICATION = "flowlake-netflow-alerts"
#: Batches with alerts between two clearings; messages that stay for the topic ``alerts``, which a stream would send.
_PRUNE_EVERY, _OUTBOX_ROWS = 5000, 10_000
_BOUND = f"DELETE FROM {table.OUTBOX} WHERE seq <= (SELECT max(seq) FROM {table.OUTBOX}) - %s"


class DirectAlerts:
    """Raises alerts about records.

    Attributes
    ----------
    raised
        New alerts, by attack type.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = AlertStore(settings.alerts, EXPORTED_FLOWS, others=labels_of(settings))
        self._assets = CurrentAssets(settings.alerts)
        self._ready = False
        self._batches = 0
        self.raised: Counter[str] = Counter()

    def found(self, records: pa.Table) -> list[Evidence]:
        """Evidence in scored records.

        Raises
        ------
        StoreUnavailable, StoreError
            The database of the alerts cannot be used.
        """
        self._prepare()
        assets = self._assets.read()
        pieces = [Message(records.slice(at, ROWS), "", "", 0, 0, b"") for at in range(0, records.num_rows, ROWS)]
        packed, letters = alerts.gathered([pieces], self._settings, EXPORTED_FLOWS, assets, explained=False)
        for letter in letters:
            _LOG.warning("records can have no alert", cause=letter.reason)
        return alertbook.gather([alertbook.unpack(packed)]) if packed else []

    def apply(self, evidence: Sequence[Evidence]) -> None:
        """Raise alerts, or add to them; once, however often the same evidence comes.

        Raises
        ------
        StoreUnavailable, StoreError
            As :meth:`jobs.sinks.alertstore.AlertStore.apply`.
        """
        done = self._store.apply(evidence)
        self.raised.update(alert.attack_type for alert in done.raised)
        self._batches += 1
        if self._batches % _PRUNE_EVERY == 0:
            self._store.prune()
            self._bound()

    def _prepare(self) -> None:
        if not self._ready:
            migrate(alerts.component(self._settings))
            self._store.prune()
            self._bound()
            self._ready = True

    def _bound(self) -> None:
        """Without Kafka nobody sends messages about alerts to its topic: the newest stay, for a stream that may come."""
        connection: Any = postgres.kept(self._settings.alerts, _APPLICATION)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(_BOUND, (_OUTBOX_ROWS,))
        except psycopg2.Error as e:
            postgres.discard(connection)
            raise postgres.classify(e, self._settings.alerts) from e
