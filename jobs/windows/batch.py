"""Windows of capture files, without Kafka and without Spark, by the very code of the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs.metering.batch import Accounts, emissions
from jobs.metering.settings import MeterSettings
from jobs.windows.bounds import Bounds
from jobs.windows.cascade import Made, WindowCascade
from jobs.windows.slots import SECONDS, summed


def windows_of(
    paths: Sequence[str | Path],
    *,
    sensor_id: str | None = None,
    settings: MeterSettings | None = None,
    partial: bool = True,
    ipv6_prefix: int = 128,
    sort: bool = False,
    bounds: Bounds | None = None,
    accounts: Accounts | None = None,
) -> Iterator[Made]:
    """Windows of capture files, each a domain of its own, by size in seconds, as their time is over.

    ``sort``: put each file's packets in time order first. ``bounds``: those of the stream, over all its buckets. ``accounts`` are told of
    packets that are in no window, too.

    Raises
    ------
    CaptureError
        A file cannot be read.
    """
    cascade = WindowCascade(partial, bounds or Bounds())
    for path in paths:
        for emission in emissions([path], sensor_id=sensor_id, settings=settings, slice_s=SECONDS, accounts=accounts, sort=sort):
            yield from cascade.take(summed(emission.slices, emission.domains, ipv6_prefix), emission.clocks, emission.ended)
        cascade.give_up()  # another file of the same name is another time
