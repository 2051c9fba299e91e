"""Windows as Spark steps: messages of meters -> one cascade a bucket of sources. All Spark of windows is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from infra.sections import KafkaSettings
from jobs.runtime import mapstore
from jobs.runtime.dead_letter import DeadLetter, send
from jobs.runtime.kafka import header
from jobs.runtime.mapstore import MapStore
from jobs.runtime.workers import settle
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

#: And behind it: windows of one size, as an Arrow stream (:func:`jobs.windows.records.records`); what was counted since the last batch.
OUT_DDL = "bucket int, size int, message string, records binary, late long, folded long, given_up long"
_COUNTED = ("late", "folded", "given_up")
#: Of a Kafka row: the content type among its headers, the rest by their names.
_ROW = ("kind", "value", "topic", "partition", "offset")

#: Version of what Spark keeps: one map a bucket, of blobs that have versions of their own.
STATE_VERSION = 1
#: Rows of a message at most: some 2 MB before compression.
ROWS = 4_096


def told(rows: Iterable[pd.DataFrame], bucket: int, buckets: int, name: str) -> tuple[list[BucketPart], list[DeadLetter]]:
    """What Kafka rows of ``window-slices`` say to one bucket, and those that are none."""
    parts: list[BucketPart] = []
    letters: list[DeadLetter] = []
    for frame in rows:
        for kind, value, topic, partition, offset in frame[list(_ROW)].itertuples(index=False):
            try:
                if (text := bytes(kind or b"").decode("utf-8", "replace")) != CONTENT_WINDOW_SLICES:
                    raise BlobError(f"content type {text!r}, expected {CONTENT_WINDOW_SLICES!r}")
                parts.append(BucketPart.decode(bytes(value or b"")).share(bucket, buckets, int(offset)))
            except BlobError as e:
                letters.append(DeadLetter(value, f"window-slices: {e}", topic, int(partition), int(offset), name))
    return parts, letters


class WindowProcessor(StatefulProcessor):
    """One bucket's :class:`jobs.windows.feed.Feed`, kept by :mod:`jobs.windows.kept`.

    Parameters
    ----------
    query, name
        Identity of the checkpoint: names the worker's cache and the messages that are published; and the query's name.
    settings
        Bounds, and whether partial windows are made.
    kafka
        Where what is refused goes.
    """

    def __init__(self, query: str, name: str, settings: WindowsSettings, kafka: KafkaSettings) -> None:
        self._query, self._name = query, name
        self._buckets, self._kafka = settings.buckets, kafka
        self._partial = settings.partial
        self._bounds = settings.bounds(settings.buckets)

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = mapstore.open_map(handle)

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        bucket = int(key[0])
        parts, letters = told(rows, bucket, self._buckets, self._name)
        if bucket == 0:  # each has every message
            send(letters, self._kafka)
        if not parts:
            return
        store = MapStore(self._state, mapstore.folder("open-windows", self._query, bucket))
        held = kept.load(self._query, bucket, store.meta(), store, partial=self._partial, bounds=self._bounds)
        before = _counts(held)
        made = held.feed.take(parts)
        store.set_meta(kept.save(self._query, bucket, held, store))
        counted = {name: after - before[name] for name, after in _counts(held).items()}
        if any(counted.values()):
            yield _frame([{"bucket": bucket, "size": 0, "message": "", "records": b"", **counted}])
        message = f"{self._query}/{bucket}/{max(part.offset for part in parts)}"
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
    """Rows of ``OUT_DDL`` from a stream of Kafka rows of ``window-slices``.

    Each bucket has every message and takes what is its own: to split them beforehand is a Python task more, which costs more than a batch
    of a small machine's traffic.
    """
    from pyspark.sql import functions as F

    rows = slices.select(
        F.explode(F.array(*[F.lit(bucket) for bucket in range(settings.buckets)])).alias("bucket"),
        header(Header.CONTENT_TYPE).alias("kind"),
        *_ROW[1:],
    )
    return rows.groupBy("bucket").transformWithStateInPandas(
        statefulProcessor=WindowProcessor(query, name, settings, kafka),
        outputStructType=OUT_DDL,
        outputMode="append",
        timeMode="None",
    )
