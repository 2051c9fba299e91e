"""Windows of capture files, without Kafka and without Spark, by the very code of the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.metering.batch import emissions
from jobs.metering.settings import MeterSettings
from jobs.windows.cascade import END, WindowCascade
from jobs.windows.slots import SECONDS, summed
from jobs.windows.summary import Summaries


def windows_of(
    paths: Sequence[str | Path], *, sensor_id: str | None = None, settings: MeterSettings | None = None, partial: bool = True
) -> Iterator[dict[int, Summaries]]:
    """Windows of capture files, each a domain of its own, by size in seconds, as their time is over.

    Raises
    ------
    CaptureError
        A file cannot be read.
    """
    cascade = WindowCascade(partial)
    for path in paths:
        names: set[str] = set()
        for emission in emissions([path], sensor_id=sensor_id, settings=settings, slice_s=SECONDS):
            clocks = {name: int(emission.watermarks[i]) for i, name in enumerate(emission.domains) if name}
            names |= clocks.keys()
            yield cascade.take(summed(emission.slices, emission.domains), clocks)
        yield cascade.take(Summaries.none(), dict.fromkeys(names, END))
        for name in names:  # the next file may have the same name, and another time
            cascade.clocks.pop(name)
