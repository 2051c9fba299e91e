"""The query ``netflow``: ``flows.raw`` -> records -> owners -> scores -> ``flows.enriched`` and others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.config import Settings
from jobs.enriching.enricher import Enricher
from jobs.enriching.settings import EnrichmentSettings
from jobs.runtime import checkpoints, inputs
from jobs.runtime.kafka import read_topic
from jobs.runtime.outgoing import KAFKA_DDL, write
from jobs.runtime.workers import made_ready, pool, settled
from jobs.scoring.serving import serve
from jobs.sources.netflow.lookups import Lookups
from jobs.sources.netflow.publish import publish
from jobs.sources.netflow.settings import ExportedFlowSettings
from jobs.sources.netflow.stateful import STATE_VERSION, exported
from schemas.exportedflows import EXPORTED_FLOWS
from schemas.rawflows import FLOWS_RAW

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

NAME = "netflow"


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Start the query. A collector collects without a model, too: the first that is promoted comes into force while it runs.

    Raises
    ------
    ModelError
        The champion cannot score.
    ConfigError
        A file that is looked up in is missing or damaged.
    CheckpointError
        The checkpoint is of another version of the state or other buckets, or of a topic that was deleted.
    """
    own, enrichment = settings.section(ExportedFlowSettings), settings.section(EnrichmentSettings)
    Enricher(enrichment).close()  # what is wrong with its files is told now
    champion = serve(spark, settings, EXPORTED_FLOWS, waits=True)
    place = checkpoints.open(settings, NAME, STATE_VERSION, {"buckets": own.buckets})
    inputs.settle(place, NAME, settings.topic(FLOWS_RAW.name), settings, fail_on_data_loss=own.fail_on_data_loss)
    prefix = settings.kafka.topic_prefix
    with pool(spark, NAME, made_ready(settings, (NAME,))):  # exporters and claims stay where they are
        messages = read_topic(
            spark,
            settings,
            FLOWS_RAW,
            starting=own.starting_offsets,
            most=own.max_offsets_per_trigger,
            fail_on_data_loss=own.fail_on_data_loss,
        )
        rows = exported(messages, place.id, NAME, own, int(place.frozen[checkpoints.SHUFFLE_PARTITIONS]), prefix)

        def published(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return publish(batches, champion.promoted, Lookups(enrichment), prefix)

        out = rows.mapInArrow(settled(published), KAFKA_DDL)
        return write(out, settings, NAME, place, own.trigger_ms)
