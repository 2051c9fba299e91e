"""Readings of the second source in the lake and in the archive: what holds for flows holds for every record type."""

from __future__ import annotations

import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from infra.config import Settings
from jobs.archiving import run
from jobs.hotstore import placing
from jobs.runtime import lake, s3
from jobs.sinks import hot, postgres
from jobs.sinks.migrations import migrate
from jobs.sinks.parquet import PARTITION, lake_rows
from tests.toy_source.records import READING

T0 = datetime(2024, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
#: Readings of one device, a day from one to the next: two of February 2024, the rest of March; each fifth is stuck.
COUNT = 10


def records() -> pa.Table:
    """As published."""
    rows = [_row(number) for number in range(COUNT)]
    return pa.Table.from_pylist(rows, READING.published)


def _row(number: int) -> dict[str, Any]:
    stuck = number % 5 == 0
    row = {field.name: 0 if pa.types.is_integer(field.type) else 0.5 for field in READING.published if not field.nullable}
    return row | {
        "reading_id": str(uuid.UUID(int=number)),
        "sensor_id": "s1",
        "device": "Kessel ü",
        "reading_time": T0 + timedelta(days=number),
        "value": 0.1 * number,  # no float32
        "predicted_label": int(stuck),
        "attack_type": "STUCK" if stuck else "BENIGN",
        "model_version": "1",
        "scored_at": T0,
    }


def into_lake(settings: Settings) -> None:
    """Write the Delta table."""
    from deltalake import write_deltalake

    where = s3.uri(lake.location(settings, READING))
    options = s3.storage_options(settings.lake, where)
    write_deltalake(where, lake_rows(records(), READING), partition_by=[PARTITION], storage_options=options)


def into_archive(settings: Settings) -> None:
    """Write the hot table, from which ``flowlake archive run`` takes both months into the archive."""
    into = hot.table_of(READING)
    migrate(hot.component(settings, into))
    rows = hot.hot_rows(records(), READING)
    connection = postgres.connect(settings.hot, "readings")
    with closing(connection):
        placing.ready(connection, settings.hot, into, rows[into.time])
        hot.insert(connection, rows, into, ("readings", 0, 0, ""))
    done = run.run(settings, [READING], run.Wish(), lambda line: None)
    assert [(month.month, month.rows, month.deleted) for month in done] == [("2024-02", 2, 2), ("2024-03", COUNT - 2, COUNT - 2)]
