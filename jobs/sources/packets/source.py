"""The packet source: frames from the wire to flow records, scored, stored and alerted about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.config import Settings
from infra.sources import Command, Query, Service, Source
from jobs.metering.settings import MeterSettings
from jobs.sinks.queries import stored
from schemas.packets import ACCOUNTS, FLOWS, PREDICTIONS, RAW_PACKETS
from sensors.packets.settings import SensorSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery


def _meter(spark: SparkSession, settings: Settings) -> StreamingQuery:
    from jobs.sources.packets import query

    return query.start(spark, settings)


def _exporter(settings: Settings) -> Service:
    from jobs.runtime import checkpoints
    from jobs.sources.packets.accounts import Exporter

    return Exporter(settings, lambda: checkpoints.opened("meter"))


SOURCE = Source(
    name="packets",
    title="Packets of the wire, metered into flows.",
    sections={"sensor": SensorSettings, "meter": MeterSettings},
    topics=(RAW_PACKETS, PREDICTIONS, ACCOUNTS),
    records=(FLOWS,),
    queries=(Query("meter", _meter, (RAW_PACKETS,), essential=True, service=_exporter), *stored(FLOWS)),
    commands=(
        Command(
            "sensor", "jobs.sources.packets.commands.sensor:app", "Live capture, replay of capture files, generated traffic.", top=True
        ),
        Command("meter", "jobs.sources.packets.commands.meter:meter", "Capture files in, flow records out, without the stack.", top=True),
        Command("flows", "jobs.sources.packets.commands.flows:flows", "A look at the flow records in the lake or the hot store.", top=True),
        Command("train", "jobs.sources.packets.commands.train:train", "Train and register a model of flows.", top=True),
    ),
    main=True,
    warm="jobs.sources.packets.warm:metering",
    modules=("jobs.sources.packets.query", "jobs.sources.packets.publish", "jobs.scoring.model"),
)
