"""Two tables beside the lake: what each hour of a model came to (``model_drift``), and what it was compared with (``model_references``)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from infra.config import Settings
from jobs.runtime import lake
from jobs.runtime.sidetable import Side, SideTable
from jobs.sinks import parquet

_TS = pa.timestamp("us", tz="UTC")

DRIFT_SCHEMA = pa.schema(
    [
        pa.field("record_type", pa.string(), nullable=False),  # what the model scores
        pa.field("model_version", pa.string(), nullable=False),  # version that scored the rows
        pa.field("sensor_id", pa.string(), nullable=False),  # sensor that the rows are of
        pa.field("hour", _TS, nullable=False),  # beginning of the hour of event time
        pa.field("measure", pa.string(), nullable=False),  # feature:x, missing:x, undefined:x, score, novelty, alerts
        pa.field("rows", pa.int64(), nullable=False),  # of the hour
        pa.field("usual_rows", pa.float64()),  # of hours of this time of day in the reference, on average; null against a training
        pa.field("reference", pa.string(), nullable=False),  # training, or served: the week that is compared with
        pa.field("psi", pa.float64()),  # population stability index
        pa.field("psi_limit", pa.float64()),  # exceeded without any change once in 1 / drift.odd hours
        pa.field("ks", pa.float64()),  # Kolmogorov-Smirnov statistic
        pa.field("ks_limit", pa.float64()),  # the same limit of it
        pa.field("share", pa.float64()),  # of alerts, missing and undefined values: their share
        pa.field("usual_share", pa.float64()),  # the same in the reference
        pa.field("state", pa.string(), nullable=False),  # ok, odd, alarm; few: too few rows to judge
        pa.field("reason", pa.string(), nullable=False),  # of an alarm: sudden, several, sustained
        pa.field("computed_at", _TS, nullable=False),  # when this was computed; a later run takes its place
        pa.field(parquet.PARTITION, pa.date32(), nullable=False),  # UTC date of hour
    ]
)
DRIFT = SideTable(lake.MODEL_DRIFT, DRIFT_SCHEMA, "Drift of models, one row an hour and measure", parquet.PARTITION)
#: What tells one row from another; the day first, so that only its files are read.
DRIFT_KEY = (parquet.PARTITION, "record_type", "model_version", "sensor_id", "hour", "measure")

REFERENCES = SideTable(
    lake.MODEL_REFERENCES,
    pa.schema(
        [
            pa.field("record_type", pa.string(), nullable=False),
            pa.field("model_version", pa.string(), nullable=False),
            pa.field("sensor_id", pa.string(), nullable=False),
            pa.field("first", _TS, nullable=False),  # the week: from here on
            pa.field("until", _TS, nullable=False),  # up to here
            pa.field("made_by", pa.string(), nullable=False),
            pa.field("made_at", _TS, nullable=False),
            pa.field("profile", pa.string(), nullable=False),  # JSON (:class:`jobs.watching.reference.Reference`)
        ]
    ),
    "Weeks served that models are compared with, one row a version and sensor",
)
REFERENCES_KEY = ("record_type", "model_version", "sensor_id")


def put(settings: Settings, table: SideTable, key: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Store rows, each in the place of the one with the same key.

    Raises
    ------
    StoreError
        See :meth:`jobs.runtime.sidetable.Side.upsert`.
    """
    Side(settings, table).upsert(pa.Table.from_pylist(rows, schema=table.schema), key)


def drift(settings: Settings, record: str, first: date, last: date) -> list[dict[str, Any]]:
    """Rows of ``model_drift`` of a record type, of UTC days, both included, by hour.

    Raises
    ------
    StoreError
        The store does not answer, or refuses.
    """
    import pyarrow.dataset as ds

    day = ds.field(parquet.PARTITION)
    found = Side(settings, DRIFT).dataset().to_table(filter=(ds.field("record_type") == record) & (day >= first) & (day <= last))
    rows: list[dict[str, Any]] = found.sort_by([(name, "ascending") for name in DRIFT_KEY]).to_pylist()
    return rows


def references(settings: Settings, record: str) -> list[dict[str, Any]]:
    """Rows of ``model_references`` of a record type.

    Raises
    ------
    StoreError
        The store does not answer, or refuses.
    """
    import pyarrow.dataset as ds

    rows: list[dict[str, Any]] = Side(settings, REFERENCES).dataset().to_table(filter=ds.field("record_type") == record).to_pylist()
    return rows


def hour_time(hour: int) -> datetime:
    """The beginning of an hour since 1970."""
    return datetime.fromtimestamp(hour * 3600, UTC)
