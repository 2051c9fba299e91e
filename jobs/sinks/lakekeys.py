"""Identities of the lake's records on their way: as a batch's tasks tell them, and as they are read from the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.sinks.parquet import PARTITION
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

#: Bytes of an identity; shorter ones are filled up with zeros.
WIDTH = 36
#: Message (partition, offset) -> which of its final records are to be written (None: all); messages that are absent are left out whole.
Picks = dict[tuple[int, int], "np.ndarray | None"]


@dataclass(frozen=True)
class Keys:
    """Identities of a batch's final records: which message (partition, offset) each is of, ids (S36), start times (microseconds)."""

    places: list[tuple[int, int]]
    counts: list[int]
    ids: np.ndarray
    starts: np.ndarray
    refused: list[str]
    left_out: list[str]

    @classmethod
    def of(cls, rows: Iterable[Any]) -> Keys:
        """From rows of :data:`_TOLD`, in the order of the topic."""
        rows = list(rows)
        found = sorted((r for r in rows if r.ids is not None), key=lambda r: (r.partition, r.offset))
        ids = np.frombuffer(b"".join(r.ids for r in found), f"S{WIDTH}")
        starts = np.frombuffer(b"".join(r.starts for r in found), np.int64)
        counts = [len(r.starts) // 8 for r in found]
        told = ([getattr(r, name) for r in rows if getattr(r, name) is not None] for name in ("refused", "left_out"))
        return cls([(r.partition, r.offset) for r in found], counts, ids, starts, *told)

    def picks(self, fresh: np.ndarray) -> Picks:
        """Messages with something new, and what of them it is (None: all)."""
        chosen: Picks = {}
        for place, mask in zip(self.places, np.split(fresh, np.cumsum(self.counts)[:-1]), strict=True):
            if mask.any():
                chosen[place] = None if mask.all() else mask
        return chosen


class TableIdentities:
    """Reads identities from the Delta table (:class:`jobs.sinks.identities.Reader`)."""

    def __init__(self, spark: SparkSession, record: RecordType, path: str) -> None:
        self._spark = spark
        self._key, self._time = record.key, record.event_time
        self._path = path

    def _frame(self) -> DataFrame:
        return self._spark.read.format("delta").load(self._path)

    def newest(self) -> int | None:
        from pyspark.sql import functions as F

        day = self._frame().agg(F.max(PARTITION)).collect()[0][0]  # from the table's log alone
        if day is None:
            return None
        latest = self._frame().where(F.col(PARTITION) == F.lit(day)).agg(F.max(F.unix_micros(self._time)))
        return int(latest.collect()[0][0])

    def within(self, spans: list[tuple[int, int]]) -> Iterator[tuple[bytes, int]]:
        from pyspark.sql import functions as F

        def one(first: int, last: int) -> Column:
            a, b = F.timestamp_micros(F.lit(first)), F.timestamp_micros(F.lit(last))
            return F.col(PARTITION).between(F.to_date(a), F.to_date(b)) & F.col(self._time).between(a, b)

        chosen = self._frame().where(reduce(or_, (one(*span) for span in spans)))
        table = chosen.select(self._key, F.unix_micros(self._time).alias("start")).toArrow()
        for batch in table.to_batches():
            yield from zip((f.encode() for f in batch.column(0).to_pylist()), batch.column(1).to_pylist(), strict=True)
