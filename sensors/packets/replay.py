"""Replay of capture files: the chunks of a file, and sending them at a pace.

:func:`chunks` is the one way from a file to packets, for the publisher and for the batch meter alike: both meter the same packets in the
same order with the same clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.wire import CLOCK_END
from sensors.packets.capture import CaptureReader
from sensors.packets.frames import FrameBatch
from sensors.packets.ordering import Disorder, Reorderer
from sensors.packets.settings import SensorSettings
from sensors.packets.sorting import sort_by_time


@dataclass(slots=True)
class Chunk:
    """Packets in time order and the watermark that goes with them.

    Attributes
    ----------
    frames : FrameBatch
        May be empty.
    clock : int
        ns; every packet of this run with a time strictly below it is in this chunk or an earlier one. ``CLOCK_END`` in the last one.
    run_index : int
        Number of the run, from 0: a capture put together from several files has several.
    end : bool
        The last chunk of its run.
    """

    frames: FrameBatch
    clock: int
    run_index: int
    end: bool


def chunks(
    source: str | Path | CaptureReader,
    settings: SensorSettings | None = None,
    *,
    sort: bool = False,
    disorder: Disorder | None = None,
) -> Iterator[Chunk]:
    """Chunks of a capture file, of at most ``settings.batch_packets`` packets.

    ``sort``: put all of its packets in time order first, in bounded memory (:mod:`sensors.packets.sorting`); then none is late, and files
    put one behind the other are one run. ``disorder`` is filled with what ``settings.reorder_ms`` could not put right.

    ``source`` may be a reader, whose counters then tell about progress and truncation; one that follows a growing file gives chunks as the
    packets in it move its clock, and no clock by itself while it waits (:class:`sensors.packets.following.Follow`). A file without
    packets gives one empty chunk with ``end``.

    Raises
    ------
    CaptureError
        The file cannot be read, or is no capture file.
    """
    settings = settings or SensorSettings()
    reader = source if isinstance(source, CaptureReader) else CaptureReader(source, settings.snaplen)
    yield from ordered(sort_by_time(reader) if sort else reader, settings, disorder)


def ordered(batches: Iterable[FrameBatch], settings: SensorSettings, disorder: Disorder | None = None) -> Iterator[Chunk]:
    """The same for batches from anywhere, in capture order."""
    reorderer = Reorderer(settings.reorder_ms, disorder)
    run, watermark = 0, 0

    def cut(due: Iterable[tuple[FrameBatch, int]]) -> Iterator[Chunk]:
        nonlocal run, watermark
        for frames, clock in due:
            for part, upto in _pieces(frames, clock, settings.batch_packets):
                watermark = max(watermark, upto)
                yield Chunk(part, watermark, run, watermark == CLOCK_END)
            if clock == CLOCK_END:
                run, watermark = run + 1, 0

    for batch in batches:
        yield from cut(reorderer.feed(batch))
    yield from cut(reorderer.finish())


def _pieces(frames: FrameBatch, clock: int, most: int) -> Iterator[tuple[FrameBatch, int]]:
    """Cut sorted frames into pieces; the watermark of a piece before the last is the time of the first packet behind it."""
    n = len(frames)
    last = max(0, (n - 1) // most * most)
    for start in range(0, last, most):
        upto = min(clock, int(np.int64(frames.ts[start + most])))
        yield frames.slice(start, start + most), upto
    yield frames.slice(last), clock
