"""The declaration of the source: flows that were computed elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.config import Settings
from infra.sources import Command, Query, Source
from jobs.sources.features.settings import FlowFeaturesSettings
from jobs.sources.features.topic import FLOW_FEATURES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery


def _features(spark: SparkSession, settings: Settings) -> StreamingQuery:
    from jobs.sources.features import query

    return query.start(spark, settings)


SOURCE = Source(
    name="features",
    title="Flows that another meter has computed, in CICFlowMeter's columns or ours.",
    sections={"features": FlowFeaturesSettings},
    topics=(FLOW_FEATURES,),
    # They become flows, which the packet source declares: their topic, tables and alerts are its.
    records=(),
    queries=(Query("features", _features, (FLOW_FEATURES,), switch="features.enabled"),),
    commands=(Command("send", "jobs.sources.features.commands:send", "Send a file of flow features to the broker."),),
)
