"""The three stores as the harness asks them: by themselves, and not through the stream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from infra.config import Settings
from jobs.runtime import lake, s3
from ops.harness.accounts import NO_IDS, Ids
from schemas.crowds import several
from schemas.incidents import MOST_URGENT_FIRST
from schemas.network_flows import TABLE
from schemas.packets import FLOWS


def ids_of(column: pa.Array | pa.ChunkedArray) -> Ids:
    """A text column of flow ids as ``S36[n]``."""
    if not len(column):
        return NO_IDS
    return np.array(column.to_pylist(), dtype="S36")


@dataclass(frozen=True)
class AlertRow:
    """One alert as a person wants it.

    ``delay_ms``: from the packet that sufficed to the row. ``flows``: ids of some of its flows, or of all where it has few.
    """

    id: str
    attack_type: str
    kind: str
    source: str
    target: str
    severity: int
    confidence: float
    flow_count: int
    created_at: float
    last_seen: float
    delay_ms: float
    incident: str = ""
    flows: tuple[str, ...] = ()


@dataclass(frozen=True)
class IncidentRow:
    """One incident as a person wants it."""

    id: str
    title: str
    priority: str
    alerts: int
    flows: int
    first_seen: float


class Stores:
    """The three stores, asked directly."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Any = None

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query; none while the table is not there yet."""
        import psycopg2

        from jobs.sinks import postgres

        try:
            if self._connection is None or self._connection.closed:
                self._connection = postgres.connect(self._settings.hot, "flowlake-demo")
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        except psycopg2.errors.UndefinedTable:
            return []
        except psycopg2.OperationalError:
            self.close()
            return []

    def hot_rows(self) -> int:
        """Rows of ``network_flows``."""
        rows = self.rows(f"SELECT count(*) FROM {TABLE}")
        return int(rows[0][0]) if rows else 0

    def hot_ids(self) -> Ids:
        """Flow ids of all rows of ``network_flows``."""
        rows = self.rows(f"SELECT flow_id::text FROM {TABLE}")
        return np.array([r[0] for r in rows], dtype="S36") if rows else NO_IDS

    def alerts(self) -> list[AlertRow]:
        """All alerts, in the order in which they were raised."""
        query = (
            "SELECT id::text, attack_type, kind, coalesce(host(src_ip), ''), coalesce(host(dst_ip), ''), severity, confidence, flow_count, "
            "extract(epoch FROM created_at)::float8, extract(epoch FROM last_seen)::float8, details, "
            "coalesce(incident_id::text, '') FROM alerts ORDER BY created_at, id"
        )
        return [alert_of(row) for row in self.rows(query)]

    def incidents(self) -> list[IncidentRow]:
        """All incidents, the most urgent first."""
        query = (
            "SELECT id::text, title, priority, (metadata ->> 'alerts')::int, (metadata ->> 'flows')::int, "
            f"extract(epoch FROM first_seen)::float8 FROM incidents i ORDER BY {MOST_URGENT_FIRST}"
        )
        return [IncidentRow(*row) for row in self.rows(query)]

    def lake_rows(self) -> int:
        """Rows of the lake's current version, from its log."""
        table = self._lake()
        if table is None:
            return 0
        return int(sum(pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist()))

    def lake_ids(self) -> Ids:
        """Flow ids of all rows of the lake."""
        if self._lake() is None:
            return NO_IDS
        return ids_of(lake.dataset(self._place(), self._settings.lake).to_table(columns=["flow_id"])["flow_id"])

    def _place(self) -> str:
        path = self._settings.lake.path
        return path if "://" in path else str(self._settings.path(path))

    def quarantined_ids(self) -> Ids:
        """Flow ids of the rows that were taken out of batches because they failed a check."""
        import pyarrow.compute as pc

        from jobs.quality import table

        if table.problem(self._settings):
            return NO_IDS
        mine = (pc.field("record") == FLOWS.name) & (pc.field("stage") == table.BATCH)
        found = table.side(self._settings).dataset().to_table(columns=["record_id"], filter=mine)
        return ids_of(found["record_id"].drop_null())

    def _lake(self) -> Any:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        path = self._place()
        if "://" not in path and not (Path(path) / "_delta_log").is_dir():
            return None
        try:
            return DeltaTable(s3.uri(path), storage_options=s3.storage_options(self._settings.lake))
        except DeltaError:  # the first version is being written
            return None


def alert_of(row: tuple[Any, ...]) -> AlertRow:
    """A row of the question of :meth:`Stores.alerts`."""
    details = row[10] if isinstance(row[10], dict) else json.loads(row[10] or "{}")
    evidence = details.get("evidence_time")
    at = datetime.fromisoformat(evidence).astimezone(UTC).timestamp() if evidence else row[8]
    source = row[3] or several(details, "source")
    target = row[4] or several(details, "target")
    flows = tuple(details.get("flow_ids") or filter(None, [details.get("flow_id")]))
    delay = (row[8] - at) * 1000
    return AlertRow(row[0], row[1], row[2], source, target, row[5], float(row[6]), row[7], row[8], row[9], delay, row[11], flows)
