"""Windows as Spark steps: messages of meters -> parts by bucket of sources -> one cascade a bucket. All Spark of windows is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from infra.sections import KafkaSettings
from jobs.runtime import mapstore
from jobs.runtime.dead_letter import DeadLetter, send
from jobs.runtime.mapstore import MapStore
from jobs.runtime.workers import settle, settled
from jobs.windows import kept
from jobs.windows.blob import BlobError
from jobs.windows.cascade import Made
from jobs.windows.message import BucketPart
from jobs.windows.records import records
from jobs.windows.settings import WindowsSettings
from schemas.windowrecords import CONTENT_WINDOW_SLICES
from schemas.wire import Header, arrow_stream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: Parts before the state.
IN_DDL = "bucket int, part binary"
_IN_SCHEMA = pa.schema([("bucket", pa.int32()), ("part", pa.binary())])
#: And behind it: windows of one size, as an Arrow stream (:func:`jobs.windows.records.records`); what was counted since the last batch.
OUT_DDL = "bucket int, size int, message string, records binary, late long, folded long, given_up long"
_COUNTED = ("late", "folded", "given_up")

#: Version of what Spark keeps: one map a bucket, of blobs that have versions of their own.
STATE_VERSION = 1
#: Rows of a message at most: some 2 MB before compression.
ROWS = 4_096


def parts(batches: Iterable[pa.RecordBatch], buckets: int, name: str, kafka: KafkaSettings) -> Iterator[pa.RecordBatch]:
    """Kafka rows of ``window-slices`` -> rows of ``IN_DDL``; messages that are none go to the dead letters."""
    letters: list[DeadLetter] = []
    for batch in batches:
        found: list[tuple[int, bytes]] = []
        for row in batch.select(["value", "headers", "topic", "partition", "offset"]).to_pylist():
            headers = {pair["key"]: pair["value"] or b"" for pair in row["headers"] or ()}
            try:
                if (kind := headers.get(Header.CONTENT_TYPE, b"").decode("utf-8", "replace")) != CONTENT_WINDOW_SLICES:
                    raise BlobError(f"content type {kind!r}, expected {CONTENT_WINDOW_SLICES!r}")
                part = BucketPart.decode(row["value"] or b"")
            except BlobError as e:
                letters.append(DeadLetter(row["value"], f"window-slices: {e}", row["topic"], row["partition"], row["offset"], name))
                continue
            found += [(bucket, one.encode()) for bucket, one in enumerate(part.split(buckets, row["offset"]))]
        for bucket, blob in found:
            yield pa.RecordBatch.from_arrays([pa.array([bucket], pa.int32()), pa.array([blob], pa.binary())], schema=_IN_SCHEMA)
    send(letters, kafka)


class WindowProcessor(StatefulProcessor):
    """One bucket's :class:`jobs.windows.feed.Feed`, kept by :mod:`jobs.windows.kept`.

    Parameters
    ----------
    query
        Identity of the checkpoint: names the worker's cache and the messages that are published.
    settings
        Bounds, and whether partial windows are made.
    """

    def __init__(self, query: str, settings: WindowsSettings) -> None:
        self._query = query
        self._partial = settings.partial
        self._bounds = settings.bounds(settings.buckets)

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = mapstore.open_map(handle)

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        bucket = int(key[0])
        told = [BucketPart.decode(blob) for frame in rows for blob in frame["part"]]
        store = MapStore(self._state, mapstore.folder("open-windows", self._query, bucket))
        held = kept.load(self._query, bucket, store.meta(), store, partial=self._partial, bounds=self._bounds)
        before = _counts(held)
        made = held.feed.take(told)
        store.set_meta(kept.save(self._query, bucket, held, store))
        counted = {name: after - before[name] for name, after in _counts(held).items()}
        if any(counted.values()):
            yield _frame([{"bucket": bucket, "size": 0, "message": "", "records": b"", **counted}])
        message = f"{self._query}/{bucket}/{max(part.offset for part in told)}"
        for number, windows in enumerate(made):
            if out := list(_rows(windows, bucket, f"{message}/{number}")):
                yield _frame(out)

    def close(self) -> None:
        """The windows stay cached for the next batch."""
        settle()


def _counts(held: kept.HeldWindows) -> dict[str, int]:
    accounts = held.feed.cascade.accounts.values()
    return {name: sum(counts[name] for counts in accounts) for name in _COUNTED}


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows)[[column.split()[0] for column in OUT_DDL.split(", ")]]


def _rows(windows: Made, bucket: int, message: str) -> Iterator[dict[str, Any]]:
    nothing = dict.fromkeys(_COUNTED, 0)
    for size, some in windows.items():
        batch = records(some, size, bucket)
        for at in range(0, len(some), ROWS):
            rows = arrow_stream(batch.slice(at, ROWS))
            yield {"bucket": bucket, "size": size, "message": f"{message}/{size}/{at}", "records": rows, **nothing}


def windows(slices: DataFrame, query: str, name: str, settings: WindowsSettings, kafka: KafkaSettings) -> DataFrame:
    """Rows of ``OUT_DDL`` from a stream of Kafka rows of ``window-slices``."""
    return (
        slices.mapInArrow(settled(lambda batches: parts(batches, settings.buckets, name, kafka)), IN_DDL)
        .groupBy("bucket")
        .transformWithStateInPandas(
            statefulProcessor=WindowProcessor(query, settings),
            outputStructType=OUT_DDL,
            outputMode="append",
            timeMode="None",
        )
    )
