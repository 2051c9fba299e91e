"""The meter as Spark steps: Kafka rows -> digests (stateless) -> one stateful merge per bucket. All Spark of the meter is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from jobs.metering import segments
from jobs.metering.digest import Digester, KafkaMessage
from jobs.metering.emission import pack
from jobs.metering.layout import AccountRows, Digest, LayoutError, RefusedBlob, Tick, WindowPart, decode
from jobs.metering.settings import MeterSettings
from jobs.runtime import mapstore
from jobs.runtime.mapstore import MapStore
from jobs.runtime.spread import bucket_keys
from jobs.runtime.workers import settle, settled
from jobs.windows.message import BucketPart
from jobs.windows.settings import WindowsSettings
from jobs.windows.slots import SECONDS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: Blobs (:mod:`jobs.metering.layout`) before the state: digests, refused messages, the wall clock.
IN_DDL = "key int, bucket int, blob binary"
_IN_SCHEMA = pa.schema([("key", pa.int32()), ("bucket", pa.int32()), ("blob", pa.binary())])
#: And behind it: flow rows, refused messages, accounts, what windows are made of.
OUT_DDL = "bucket int, blob binary"

#: Version of what Spark keeps in a meter checkpoint: one map a bucket, of blobs that have versions of their own. Another number is another
#: folder, and a checkpoint cannot be moved: Spark notes its full path in it.
STATE_VERSION = 5

#: Segments kept as files of the executor.
_FILES = 16


def digest_batches(batches: Iterable[pa.RecordBatch], keys: list[int], json_lateness_ns: int) -> Iterator[pa.RecordBatch]:
    """Kafka rows (value, headers, partition, offset, timestamp) of one task -> rows of ``IN_DDL``."""
    digester = Digester(len(keys), json_lateness_ns)
    for batch in batches:
        columns = [batch.column(name) for name in ("value", "headers", "partition", "offset", "timestamp")]
        headers = columns[1].to_pylist()
        times = columns[4].cast(pa.int64()).to_pylist()
        partitions, offsets = columns[2].to_pylist(), columns[3].to_pylist()
        for i, value in enumerate(columns[0]):
            pairs = {h["key"]: h["value"] or b"" for h in headers[i] or ()}
            digester.add(KafkaMessage(value.as_py(), pairs, partitions[i], offsets[i], (times[i] or 0) // 1000))
    rows = list(digester.finish())
    for message, reason in digester.refused:
        refused = RefusedBlob(message.value, reason, message.partition, message.offset)
        rows.append((message.partition % len(keys), refused.encode()))
    for b, blob in rows:
        yield pa.RecordBatch.from_arrays(
            [pa.array([keys[b]], pa.int32()), pa.array([b], pa.int32()), pa.array([blob], pa.binary())], schema=_IN_SCHEMA
        )


class MeterProcessor(StatefulProcessor):
    """One bucket's :class:`jobs.metering.bucket.BucketMeter`, kept by :mod:`jobs.metering.segments`.

    Parameters
    ----------
    query
        Identity of the checkpoint: names the worker's cache and the messages that are published.
    buckets
        Of the state.
    settings
        Metering rules.
    windows
        Those of the windows for which what fell into each 5 s slot is handed on, too; None: it is not.
    """

    def __init__(self, query: str, buckets: int, settings: MeterSettings, windows: WindowsSettings | None) -> None:
        self._query = query
        self._buckets = buckets
        self._settings = settings
        self._windows = windows
        self._slice_s = SECONDS if windows else 0

    def init(self, handle: StatefulProcessorHandle) -> None:
        self._state = mapstore.open_map(handle)

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        digests: list[Digest] = []
        out: list[bytes] = []
        now_ms = 0
        bucket = -1
        for frame in rows:
            for number, blob in zip(frame["bucket"], frame["blob"], strict=True):
                bucket = int(number)
                match decode(blob):
                    case Digest() as digest:
                        digests.append(digest)
                    case Tick(ms):
                        now_ms = max(now_ms, ms)
                    case RefusedBlob():
                        out.append(blob)
                    case other:
                        raise LayoutError(f"{type(other).__name__} before the stateful step, which is what comes out of it")
        store = MapStore(self._state, mapstore.folder("open-flows", self._query, bucket), _FILES)
        state = segments.load(self._query, bucket, self._buckets, self._settings, store.meta(), store, self._slice_s)
        emission = state.meter.ingest(digests, now_ms)
        store.set_meta(segments.save(self._query, state, emission, store))
        out += [flows.encode() for flows in pack(emission, bucket, state.version)]
        if self._windows and emission.clocks:
            parts = BucketPart.of(emission, self._query, bucket, self._buckets, state.version, self._windows.ipv6_prefix)
            out += [WindowPart(bucket, state.version, part.number, part.encode()).encode() for part in parts]
        accounts = state.meter.account_rows()
        if accounts and (digests or not emission.empty):
            out.append(AccountRows(state.version, accounts).encode())
        if out:
            yield pd.DataFrame({"bucket": bucket, "blob": out})

    def close(self) -> None:
        """The table stays cached for the next batch."""
        settle()


def meter(
    packets: DataFrame, query: str, settings: MeterSettings, shuffle_partitions: int, windows: WindowsSettings | None = None
) -> DataFrame:
    """Rows of ``OUT_DDL`` from a stream of Kafka rows of ``raw-packets``.

    A tick per second from Spark's rate source carries the wall clock to every bucket, so that sensors that died and JSON
    producers that went silent are noticed without further packets; its times are part of the batch, so a replayed batch decides alike.
    """
    from pyspark.sql import functions as F

    keys = bucket_keys(settings.buckets, shuffle_partitions)
    # A Python task costs some 100 ms however little it does: as many as can run at once, not one per Kafka partition
    lateness = round(settings.json_lateness_s * 1e9)
    digests = packets.coalesce(shuffle_partitions).mapInArrow(settled(lambda batches: digest_batches(batches, keys, lateness)), IN_DDL)
    ticks = (
        packets.sparkSession.readStream.format("rate")
        .option("rowsPerSecond", 1)
        .option("numPartitions", 1)
        .load()
        .select(F.posexplode(F.array(*[F.lit(k) for k in keys])).alias("bucket", "key"), F.unix_millis("timestamp").alias("ms"))
        .select("key", "bucket", F.concat(F.lit(bytearray(Tick.HEAD)), F.col("ms").cast("string").cast("binary")).alias("blob"))
    )
    return (
        digests.unionByName(ticks)
        .groupBy("key")
        .transformWithStateInPandas(
            statefulProcessor=MeterProcessor(query, settings.buckets, settings, windows),
            outputStructType=OUT_DDL,
            outputMode="append",
            timeMode="None",
        )
    )
