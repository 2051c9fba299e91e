"""Windows per source: 5 s -> 30 s -> 180 s, a model at each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from infra.config import Settings
from infra.sources import Command, Query, Source
from jobs.sinks.queries import stored
from jobs.windows.settings import WindowsSettings
from schemas.windowrecords import WINDOW_SLICES, WINDOWS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

_SWITCH = "windows.enabled"


def _windows(spark: SparkSession, settings: Settings) -> StreamingQuery:
    from jobs.sources.windows import query

    return query.start(spark, settings)


SOURCE = Source(
    name="windows",
    title="Windows of 5, 30 and 180 s of what each source address began.",
    sections={"windows": WindowsSettings},
    topics=(WINDOW_SLICES, *(record.topic for record in WINDOWS.values())),
    records=tuple(WINDOWS.values()),
    queries=(
        Query("windows", _windows, (WINDOW_SLICES,), switch=_SWITCH),
        *(replace(query, switch=_SWITCH) for record in WINDOWS.values() for query in stored(record)),
    ),
    commands=(
        Command("measure", "jobs.sources.windows.commands.measure:measure", "Capture files in, windows out, without the stack."),
        Command("train", "jobs.sources.windows.commands.train:train", "Train and register a model for each size."),
        Command("rebuild", "jobs.sources.windows.commands.rebuild:rebuild", "Windows again, from the 5 s records of the lake."),
        Command("show", "jobs.sources.windows.commands.show:show", "A look at the windows in the hot store."),
    ),
    modules=("jobs.sources.windows.query",),
    warm="jobs.sources.windows.warm:cascade",
)
