"""The declaration: what the platform derives everything general from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.config import Settings
from infra.sources import Command, Query, Source
from jobs.sinks.queries import stored

from .records import RAW_READINGS, READING, READINGS
from .settings import ReadingsSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery


def _judge(spark: SparkSession, settings: Settings) -> StreamingQuery:
    from .query import start

    return start(spark, settings)


SOURCE = Source(
    name="readings",
    title="Readings of measuring devices, judged by what each said before.",
    sections={"readings": ReadingsSettings},
    topics=(RAW_READINGS, READINGS),
    records=(READING,),
    queries=(Query("readings", _judge, (RAW_READINGS,)), *stored(READING)),
    commands=(
        Command("send", f"{__package__}.commands:send", "Send readings to the broker."),
        Command("train", f"{__package__}.commands:train", "Train a model of readings."),
        Command("show", f"{__package__}.commands:show", "The newest readings of the hot store."),
    ),
    modules=(f"{__package__}.query",),
)
