"""The streaming query of windows: ``window-slices`` -> 5 s -> 30 s -> 180 s -> scores -> ``windows-5``, ``windows-30``, ``windows-180``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.config import Settings
from jobs.runtime import checkpoints, inputs, outgoing
from jobs.runtime.kafka import read_topic
from jobs.runtime.workers import made_ready, pool, settled, shuffled
from jobs.scoring.modelset import ModelSet
from jobs.scoring.serving import serve
from jobs.sources.windows.stateful import STATE_VERSION, windows
from jobs.windows.settings import WindowsSettings
from schemas.windowrecords import WINDOW_SLICES, WINDOWS
from schemas.windows import SIZES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

NAME = "windows"


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Load each size's champion, then start the query; a model that is promoted later comes into force while it runs.

    Raises
    ------
    ModelError
        No champion of some size, or one that cannot score: before the first message is read.
    CheckpointError
        The checkpoint belongs to another version of the state, other buckets or sizes of windows, or a topic that was deleted.
    """
    from pyspark.sql import functions as F

    own = settings.section(WindowsSettings)
    champions = {size: serve(spark, settings, record) for size, record in WINDOWS.items()}
    # The state holds open windows of these sizes: of others it is of no use.
    partitions = min(own.buckets, settings.spark.shuffle_partitions)  # a task without a bucket is a Python worker for nothing
    frozen = {"buckets": own.buckets, "sizes": ",".join(map(str, SIZES)), checkpoints.SHUFFLE_PARTITIONS: partitions}
    place = checkpoints.open(settings, NAME, STATE_VERSION, frozen)
    inputs.settle(place, NAME, settings.topic(WINDOW_SLICES.name), settings, fail_on_data_loss=False)
    # beside the meter's workers: their open flows stay where they are
    with pool(spark, NAME, made_ready(settings, (NAME,))), shuffled(spark, partitions):
        slices = read_topic(spark, settings, WINDOW_SLICES, most=own.max_messages).coalesce(1)
        made = windows(slices, place.id, NAME, own, settings.kafka)
        counted = made.observe("refused", *(F.sum(reason).alias(reason) for reason in ("late", "folded", "given_up")))
        prefix = settings.kafka.topic_prefix
        messages = counted.mapInArrow(
            settled(lambda batches: scored(batches, {size: champion.value for size, champion in champions.items()}, prefix)),
            outgoing.KAFKA_DDL,
        )
        return outgoing.write(messages, settings, NAME, place, own.trigger_ms)


def scored(batches: Iterable[pa.RecordBatch], champions: Mapping[int, ModelSet], prefix: str) -> Iterator[pa.RecordBatch]:
    """Windows of one task, each scored by its size's models -> rows of :data:`jobs.runtime.outgoing.KAFKA_DDL`."""
    found: dict[int, list[tuple[int, str, pa.RecordBatch]]] = {}
    for batch in batches:
        for row in batch.select(["bucket", "size", "message", "records"]).to_pylist():
            if row["size"]:
                with pa.ipc.open_stream(row["records"]) as stream:
                    (some,) = list(stream)
                found.setdefault(row["size"], []).append((row["bucket"], row["message"], some))
    for size, parts in found.items():
        for bucket, message, some in parts:
            judged = champions[size].score(some)
            yield from outgoing.batches([outgoing.records(WINDOWS[size], judged, str(bucket), message, prefix=prefix)])
