"""The meter's streaming query: ``raw-packets`` -> flows -> scores -> ``predictions``, ``dead-letter``, ``accounts``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.config import Settings
from jobs.runtime import checkpoints, inputs
from jobs.runtime.workers import settled
from jobs.scoring.registry import load_champion
from jobs.sinks.source import kafka_options, reader_options
from jobs.sources.packets.publish import KAFKA_DDL, publish
from jobs.sources.packets.stateful import STATE_VERSION, meter
from schemas.topics import RAW_PACKETS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

NAME = "meter"


def read(spark: SparkSession, settings: Settings) -> DataFrame:
    """Stream of Kafka rows of ``raw-packets``, headers included."""
    reader = (
        spark.readStream.format("kafka")
        .options(**reader_options(settings.kafka))
        .option("subscribe", settings.topic(RAW_PACKETS.name))
        .option("startingOffsets", settings.meter.starting_offsets)
        .option("includeHeaders", "true")
        .option("failOnDataLoss", str(settings.meter.fail_on_data_loss).lower())
    )
    if settings.meter.max_offsets_per_trigger:
        reader = reader.option("maxOffsetsPerTrigger", str(settings.meter.max_offsets_per_trigger))
    return reader.load()


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Load the champion, then start the query.

    Raises
    ------
    ModelError
        No champion, or one of another feature-schema version: before the first packet is read.
    CheckpointError
        The checkpoint belongs to another version of the state, other buckets, or a topic that was deleted.
    """
    champion = spark.sparkContext.broadcast(load_champion(settings))
    place = checkpoints.open(settings, NAME, STATE_VERSION, {"buckets": settings.meter.buckets})
    inputs.settle(place, NAME, settings.topic(RAW_PACKETS.name), settings, fail_on_data_loss=settings.meter.fail_on_data_loss)
    prefix = settings.kafka.topic_prefix
    rows = meter(read(spark, settings), place.id, settings.meter, int(place.frozen[checkpoints.SHUFFLE_PARTITIONS]))
    messages = rows.mapInArrow(settled(lambda batches: publish(batches, champion.value, place.id, prefix)), KAFKA_DDL)
    return (
        messages.writeStream.queryName(NAME)
        .format("kafka")
        .options(**kafka_options(settings.kafka))
        .option("includeHeaders", "true")
        .option("kafka.max.request.size", str(RAW_PACKETS.max_message_bytes))
        .option("kafka.compression.type", "none")  # values are compressed inside, or small
        .option("checkpointLocation", place.path)
        .trigger(processingTime=f"{settings.meter.trigger_ms} milliseconds")
        .start()
    )
