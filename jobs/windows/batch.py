"""Windows of capture files, without Kafka and without Spark, by the very code of the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.errors import CaptureError
from jobs.metering.batch import Accounts, emissions
from jobs.metering.settings import MeterSettings
from jobs.windows.bounds import Bounds
from jobs.windows.cascade import Made, WindowCascade
from jobs.windows.slots import SECONDS, summed
from sensors.packets.files import Problem


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
    keep_going: bool = False,
) -> Iterator[Made]:
    """Windows of capture files, each a domain of its own, by size in seconds, as their time is over.

    ``sort``: put each file's packets in time order first. ``bounds``: those of the stream, over all its buckets. ``accounts`` are told of
    packets that are in no window, too. ``keep_going``: a file that cannot be read is noted there, and the others are read.

    Raises
    ------
    CaptureError
        A file cannot be read; with ``keep_going`` only when there is none other.
    """
    cascade = WindowCascade(partial, bounds or Bounds())
    accounts = accounts if accounts is not None else Accounts()
    unread = 0
    for path in map(Path, paths):
        try:
            for emission in emissions([path], sensor_id=sensor_id, settings=settings, slice_s=SECONDS, accounts=accounts, sort=sort):
                yield from cascade.take(summed(emission.slices, emission.domains, ipv6_prefix), emission.clocks, emission.ended)
        except CaptureError as e:
            unread += 1
            if not keep_going or unread == len(paths):
                raise
            accounts.failed.append(Problem.of(path, e))
        cascade.give_up()  # another file of the same name is another time
