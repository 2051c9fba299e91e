"""The lake's table of a record type: made, or brought to the columns and properties of today; what older files lack is null."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import StoreError
from infra.log import get
from infra.sections import LakeSettings
from jobs.runtime import lake
from jobs.sinks.parquet import PARTITION, lake_schema, statistics_of
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Days for which the log remembers removed files beyond those whose versions can be read: what it has forgotten, it cannot have removed.
_REMEMBER_DAYS = 2


def ensure(spark: SparkSession, record: RecordType, path: str, settings: LakeSettings) -> None:
    """Make the table where it is not there; else add the columns that it lacks, and set what differs of its properties.

    Raises
    ------
    StoreError
        A column is gone or of another type, or the table is partitioned otherwise. One line that names it.
    Exception
        What Spark, Delta or the store says.
    """
    from delta.tables import DeltaTable

    columns, wanted = nullable(record), properties(record, settings)
    if not DeltaTable.isDeltaTable(spark, path):
        table = DeltaTable.createIfNotExists(spark).location(path).addColumns(columns).partitionedBy(PARTITION)
        for name, value in wanted.items():
            table = table.property(name, value)
        table.comment(record.lake.comment if record.lake else "").execute()
    detail = DeltaTable.forPath(spark, path).detail().select("partitionColumns", "properties").collect()[0]
    schema = DeltaTable.forPath(spark, path).toDF().schema
    lacking = _lacking(record, path, {field.name: field.dataType for field in schema.fields}, columns)
    if list(detail["partitionColumns"]) != [PARTITION]:
        raise _refused(record, path, f"it is partitioned by {', '.join(detail['partitionColumns']) or 'nothing'}, expected {PARTITION}")
    if lacking:
        spark.sql(f"ALTER TABLE delta.`{path}` ADD COLUMNS ({', '.join(f'`{f.name}` {f.dataType.simpleString()}' for f in lacking)})")
        get("sink.lake").info("columns added, null in older rows", table=path, columns=[field.name for field in lacking])
    if changed := {name: value for name, value in wanted.items() if detail["properties"].get(name) != value}:
        told = ", ".join(f"'{name}' = '{value}'" for name, value in changed.items())
        spark.sql(f"ALTER TABLE delta.`{path}` SET TBLPROPERTIES ({told})")


def properties(record: RecordType, settings: LakeSettings) -> dict[str, str]:
    """Properties of the table, as Delta names them."""
    days = f"interval {settings.history_days + _REMEMBER_DAYS} days"
    return {
        "delta.dataSkippingStatsColumns": ",".join(statistics_of(record)),
        "delta.checkpointInterval": str(settings.checkpoint_every),
        "delta.logRetentionDuration": days,
        "delta.deletedFileRetentionDuration": days,
    }


def nullable(record: RecordType) -> Any:
    """Columns as Spark has them, without NOT NULL: it would be checked on every row, and the decoder has done that."""
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.types import StructField, StructType

    return StructType([StructField(field.name, field.dataType, True) for field in from_arrow_schema(lake_schema(record)).fields])


def _lacking(record: RecordType, path: str, there: dict[str, Any], columns: Any) -> list[Any]:
    """Columns to be added."""
    for field in columns.fields:
        if field.name in there and there[field.name] != field.dataType:
            raise _refused(
                record, path, f"column {field.name} is {there[field.name].simpleString()}, expected {field.dataType.simpleString()}"
            )
    if gone := [name for name in there if name not in columns.fieldNames()]:
        raise _refused(record, path, f"column {gone[0]} is there, and the records have none of that name")
    if not set(there) & set(columns.fieldNames()):
        raise _refused(record, path, "it has none of the columns of the records")
    return [field for field in columns.fields if field.name not in there]


def _refused(record: RecordType, path: str, why: str) -> StoreError:
    return StoreError(
        f"lake table {path}: {why} ({record.name} of version {record.version})",
        f"only columns may be added to a table: name another {lake.setting(record)} for this version, or run the one that wrote it",
    )


def check_folder(path: Path) -> None:
    """See that a lake's folder can be written.

    Raises
    ------
    StoreError
        One line that names it, and why not.
    """
    hint = "give this user the right to write there, or set lake.path"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as e:
        if e.errno in (28, 122):  # ENOSPC, EDQUOT
            hint = "make room on the disk, or set lake.path"
        raise StoreError(f"lake folder {path} (lake.path) cannot be written: {os.strerror(e.errno or 0)}", hint) from e
