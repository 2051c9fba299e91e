"""The query ``features``: ``flow-features`` -> flow records -> scores -> ``predictions``, ``dead-letter``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from infra import log
from infra.config import Settings
from jobs.metering.settings import MeterSettings
from jobs.moving.times import TimeReading
from jobs.runtime import checkpoints, inputs, listener
from jobs.runtime.kafka import read_topic
from jobs.runtime.outgoing import write
from jobs.runtime.workers import settled
from jobs.scoring.model import ScoringModel
from jobs.scoring.serving import serve
from jobs.sources.features.convert import reading_of
from jobs.sources.features.publish import CODES, DDL, REFUSED, Step, publish
from jobs.sources.features.settings import FlowFeaturesSettings
from jobs.sources.features.topic import FLOW_FEATURES
from schemas.packets import FLOWS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

NAME = "features"
#: Version of what the checkpoint holds.
STATE_VERSION = 1
LOG = log.get("jobs.sources.features.query")


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Load the champion, then start the query; a model that is promoted later comes into force while it runs.

    Raises
    ------
    ModelError
        No champion, or one of another feature-schema version.
    CheckpointError
        The checkpoint belongs to another version of the query, or to a topic that was deleted.
    """
    from pyspark.sql import functions as F

    own = settings.section(FlowFeaturesSettings)
    champion = serve(spark, settings, FLOWS)
    warn(champion.value.champion)
    place = checkpoints.open(settings, NAME, STATE_VERSION)
    inputs.settle(place, NAME, settings.topic(FLOW_FEATURES.name), settings, fail_on_data_loss=own.fail_on_data_loss)
    seed = settings.section(MeterSettings).community_id_seed
    clock, prefix, most = TimeReading(own.timezone, own.day_first), settings.kafka.topic_prefix, own.max_rows
    messages = read_topic(
        spark,
        settings,
        FLOW_FEATURES,
        starting=own.starting_offsets,
        most=own.max_offsets_per_trigger,
        fail_on_data_loss=own.fail_on_data_loss,
    )

    def scored(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        models = champion.value  # one set from the beginning of a task to its end; another champion may read other columns
        reading = reading_of(models.champion.reads, models.champion.version, clock, seed)
        return publish(batches, models, Step(place.id, NAME, prefix, reading, most))

    out = messages.mapInArrow(settled(scored), DDL)
    counts = [F.sum(F.col(REFUSED)[code]).alias(code) for code in CODES]
    counted = out.observe(listener.REFUSED, *counts).drop(REFUSED)
    return write(counted, settings, NAME, place, own.trigger_ms)


def warn(model: ScoringModel) -> None:
    """Say in the log what a model reads that CICFlowMeter computes otherwise."""
    from jobs.training.cic import WRONG_IN_CIC

    if other := [name for name in model.reads if name in WRONG_IN_CIC]:
        LOG.warning("the champion reads features that CICFlowMeter computes otherwise", version=model.version, features=other)
