"""The source of flow exporters: datagrams of NetFlow, IPFIX and sFlow to exported flows, enriched, stored and alerted about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from infra.config import Settings
from infra.sources import Command, Query, Service, Source
from jobs.enriching.settings import EnrichmentSettings
from jobs.sinks.queries import stored
from jobs.sources.netflow.settings import ExportedFlowSettings
from schemas.exportedflows import EXPORTED_FLOWS, FLOW_ACCOUNTS, FLOWS_ENRICHED
from schemas.interfacecounters import INTERFACE_COUNTERS, INTERFACE_COUNTERS_TOPIC
from schemas.rawflows import FLOWS_RAW
from schemas.rawflowtable import own_tables
from schemas.records import HotTable
from sensors.netflow.settings import ExporterSensorSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

_SWITCH = "exported_flows.enabled"


def _netflow(spark: SparkSession, settings: Settings) -> StreamingQuery:
    from jobs.sources.netflow import query

    return query.start(spark, settings)


def _metrics(settings: Settings) -> Service:
    from jobs.runtime import checkpoints
    from jobs.sources.netflow.flowmetrics import ExportedFlowMetrics

    return ExportedFlowMetrics(settings, lambda: checkpoints.opened("netflow"))


def _tables(settings: Settings) -> tuple[HotTable, ...]:
    """Those of a collector that stores flows itself."""
    own = settings.section(ExporterSensorSettings)
    return () if own.mode == "kafka" else own_tables(own.raw_retention_days)


SOURCE = Source(
    name="netflow",
    title="Flows that routers export: NetFlow, IPFIX and sFlow.",
    sections={"netflow_sensor": ExporterSensorSettings, "exported_flows": ExportedFlowSettings, "enrichment": EnrichmentSettings},
    topics=(FLOWS_RAW, FLOWS_ENRICHED, FLOW_ACCOUNTS, INTERFACE_COUNTERS_TOPIC),
    records=(EXPORTED_FLOWS, INTERFACE_COUNTERS),
    queries=(
        Query("netflow", _netflow, (FLOWS_RAW,), service=_metrics, switch=_SWITCH),
        *(replace(query, switch=_SWITCH) for record in (EXPORTED_FLOWS, INTERFACE_COUNTERS) for query in stored(record)),
    ),
    commands=(
        Command("export", "jobs.sources.netflow.commands.export:export", "Capture files in, datagrams of NetFlow, IPFIX or sFlow out."),
        Command("train", "jobs.sources.netflow.commands.train:train", "Train and register a model of exported flows."),
        Command("netflow", "jobs.sources.netflow.commands.sensor:netflow", "Receive NetFlow, IPFIX and sFlow.", group="sensor"),
        Command(
            "replay-netflow",
            "jobs.sources.netflow.commands.replay:replay_netflow",
            "Datagrams of exporters out of captures.",
            group="sensor",
        ),
    ),
    modules=("jobs.sources.netflow.query", "jobs.sources.netflow.publish"),
    warm="jobs.sources.netflow.warm:decode",
    tables=_tables,
    demo="ops.demo.exported.run:run",
)
