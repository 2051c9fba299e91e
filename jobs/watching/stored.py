"""Scored records as they lie in the lake, for jobs that read a span of them with Spark: the days of the span, and few columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.config import Settings
from infra.errors import ConfigError, StoreError
from jobs.runtime import causes, lake
from jobs.sinks import parquet
from jobs.watching.span import EventSpan
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: Column of the sensor, where records have one.
SENSOR = "sensor_id"
VERSION = "model_version"


def scored(settings: Settings, name: str | None) -> list[RecordType]:
    """Record types that are scored and stored; the one of an option ``--record``.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    known = [record for record in settings.catalogue.records if record.features and record.lake]
    chosen = [record for record in known if name in (None, record.name)]
    if not chosen:
        raise ConfigError(
            f"--record {name!r} is no record type that is scored and stored", f"there are: {', '.join(one.name for one in known) or 'none'}"
        )
    return chosen


class ScoredTable:
    """The lake table of a record type, read by Spark.

    Raises
    ------
    StoreError
        There is no such table, or it cannot be read.
    """

    def __init__(self, spark: SparkSession, settings: Settings, record: RecordType) -> None:
        self.spark, self.record = spark, record
        self.path = lake.location(settings, record)
        self._settings = settings.lake
        try:
            self._frame = spark.read.format("delta").load(self.path)
            self.columns: tuple[str, ...] = tuple(self._frame.columns)
        except Exception as e:
            raise self.problem(e) from e

    def rows(self, span: EventSpan, columns: Sequence[str]) -> DataFrame:
        """Rows of a span that a model has scored; those of the columns that are there."""
        from pyspark.sql import functions as F

        time = F.col(self.record.event_time)
        first, last = span.days
        day = F.col(parquet.PARTITION)
        found = self._frame.where((day >= F.lit(first)) & (day <= F.lit(last)) & (time >= F.lit(span.first)) & (time < F.lit(span.until)))
        there = [name for name in dict.fromkeys(columns) if name in self.columns]
        return found.where(F.col(VERSION).isNotNull() & (F.col(VERSION) != "")).select(*there)

    def problem(self, error: Exception) -> StoreError:
        """What Spark says of the table, in one line."""
        text = str(error)
        if (
            "DELTA_TABLE_NOT_FOUND" in text
            or "DELTA_PATH_DOES_NOT_EXIST" in text
            or "PATH_NOT_FOUND" in text
            or "is not a Delta table" in text
        ):
            return StoreError(f"lake {self.path}: there is no table of {self.record.name} yet", "start the stream first: flowlake stream")
        if known := lake.trouble(error, self.path, self._settings):
            return StoreError(known.message, known.hint)
        return StoreError(f"lake {self.path}: {causes.summary(error)}", "check lake.path, lake.tables and lake.s3_endpoint")
