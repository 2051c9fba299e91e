"""The meter's streaming query: ``raw-packets`` -> flows -> scores -> ``predictions``, ``dead-letter``, ``accounts``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.config import Settings
from jobs.metering.settings import MeterSettings
from jobs.runtime import checkpoints, inputs
from jobs.runtime.kafka import read_topic
from jobs.runtime.outgoing import KAFKA_DDL, write
from jobs.runtime.workers import settled
from jobs.scoring.serving import serve
from jobs.sources.packets.publish import publish
from jobs.sources.packets.stateful import STATE_VERSION, meter
from jobs.windows.settings import WindowsSettings
from schemas.packets import FLOWS, RAW_PACKETS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

NAME = "meter"


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Load the champion, then start the query; a model that is promoted later comes into force while it runs.

    Raises
    ------
    ModelError
        No champion, or one of another feature-schema version: before the first packet is read.
    CheckpointError
        The checkpoint belongs to another version of the state, other buckets, or a topic that was deleted.
    """
    rules = settings.section(MeterSettings)
    champion = serve(spark, settings, FLOWS)
    place = checkpoints.open(settings, NAME, STATE_VERSION, {"buckets": rules.buckets})
    inputs.settle(place, NAME, settings.topic(RAW_PACKETS.name), settings, fail_on_data_loss=rules.fail_on_data_loss)
    prefix = settings.kafka.topic_prefix
    packets = read_topic(
        spark,
        settings,
        RAW_PACKETS,
        starting=rules.starting_offsets,
        most=rules.max_offsets_per_trigger,
        fail_on_data_loss=rules.fail_on_data_loss,
    )
    windows = settings.section(WindowsSettings)
    rows = meter(packets, place.id, rules, int(place.frozen[checkpoints.SHUFFLE_PARTITIONS]), windows if windows.enabled else None)
    messages = rows.mapInArrow(settled(lambda batches: publish(batches, champion.value, place.id, prefix)), KAFKA_DDL)
    return write(messages, settings, NAME, place, rules.trigger_ms)
