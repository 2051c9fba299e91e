"""Batch metering: capture files in, flow records out, without Kafka and without Spark, by the very code of the stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import pyarrow as pa

from infra.errors import CaptureError
from infra.names import printable, valid_text
from jobs.metering.bucket import BucketMeter, Emission
from jobs.metering.digest import accepted
from jobs.metering.envelope import Envelope
from jobs.metering.features import records
from jobs.metering.settings import MeterSettings
from jobs.metering.threads import ahead
from schemas.wire import KIND_END, KIND_PACKETS
from sensors.packets.capture import CaptureReader
from sensors.packets.decode import decode
from sensors.packets.files import Problem, stem
from sensors.packets.following import Follow
from sensors.packets.ordering import Disorder
from sensors.packets.replay import Chunk, chunks
from sensors.packets.settings import SensorSettings

#: Records per batch handed out.
_ROWS = 16_384


@dataclass
class Accounts:
    """Where every packet went: ``packets == metered + sum(rejected)``."""

    packets: int = 0
    metered: int = 0
    flows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    end_reasons: Counter[str] = field(default_factory=Counter)
    truncated: list[str] = field(default_factory=list)  # files whose end is missing
    disorder: dict[str, Disorder] = field(default_factory=dict)  # files with late packets
    failed: list[Problem] = field(default_factory=list)  # files that could not be read, or not to their end

    @property
    def balanced(self) -> bool:
        """Every packet is accounted for."""
        return self.packets == self.metered + sum(self.rejected.values())

    def add(self, meter: BucketMeter) -> None:
        """Take over a meter's cumulative accounts."""
        for row in meter.account_rows():
            self.packets += row.get("packets", 0)
            self.metered += row.get("metered", 0)
            self.flows += row.get("flows", 0)
            for name, n in row.items():
                if name.startswith("rejected_"):
                    self.rejected[name.removeprefix("rejected_")] += n
                elif name.startswith("flows_"):
                    self.end_reasons[name.removeprefix("flows_")] += n


class CaptureOptions(TypedDict, total=False):
    """How capture files are metered (:func:`meter_captures`)."""

    sensor_id: str | None
    interim: bool
    settings: MeterSettings | None
    sensor: SensorSettings | None
    accounts: Accounts | None
    progress: Callable[[Path, int, int], None] | None
    follow: Follow | None
    sort: bool
    pipe: Follow | None
    keep_going: bool
    tap: Callable[[Chunk], Chunk] | None


def meter_captures(paths: Sequence[str | Path], **how: Unpack[CaptureOptions]) -> Iterator[pa.RecordBatch]:
    """Meter capture files, each an observation domain of its own.

    Parameters
    ----------
    paths
        pcap or pcapng files and pipes, compressed too; ``Path("-")`` is standard input.
    sensor_id
        Sensor and domain of the records; the file's name without its endings by default (:func:`sensors.packets.files.stem`).
    interim
        Also give snapshots of open flows (``closed`` false), as the stream does.
    settings, sensor
        Metering rules; snap length and reordering of the reader.
    accounts
        Filled in as files end.
    progress
        Called with (file, bytes read, size).
    follow
        The file, the only one then, is still being written: meter it as it grows. Records come when their flows close by the times of
        the packets; the records of the end come when ``follow`` ends. Its ``stop`` is set when the caller leaves early.
    sort
        Put each file's packets in time order first (:mod:`sensors.packets.sorting`), however far out of order they are.
    pipe
        How pipes are waited for; its ``stop`` ends the one that is being read, and no further file is begun. Set as that of ``follow``.
    keep_going
        A file that cannot be read is noted in ``accounts.failed``, and the others are metered.
    tap
        Given each chunk of packets, in order; what it gives back is metered, the accounts' packets among it. Called in another thread.

    Yields
    ------
    pyarrow.RecordBatch
        :data:`schemas.flows.RECORD_SCHEMA`, in the order in which flows close.

    Raises
    ------
    CaptureError
        A file cannot be read, or is no capture file; with ``keep_going`` only when there is none other.
    ValueError
        Several files to be followed, or one to be followed and sorted.
    """
    for emission in emissions(paths, **how):
        yield from records_of(emission)


def emissions(
    paths: Sequence[str | Path],
    *,
    sensor_id: str | None = None,
    interim: bool = False,
    settings: MeterSettings | None = None,
    sensor: SensorSettings | None = None,
    accounts: Accounts | None = None,
    progress: Callable[[Path, int, int], None] | None = None,
    follow: Follow | None = None,
    sort: bool = False,
    pipe: Follow | None = None,
    keep_going: bool = False,
    tap: Callable[[Chunk], Chunk] | None = None,
    slice_s: int = 0,
) -> Generator[Emission, None, None]:
    """What the meter gives, as it gives it: :func:`meter_captures` before it is made records.

    ``slice_s``: seconds of the slots that slices are made of, too (:mod:`jobs.metering.slices`).
    """
    if follow is not None and len(paths) != 1:
        raise ValueError(f"{len(paths)} files cannot be followed, one can")
    if follow is not None and sort:
        raise ValueError("a file that is still being written cannot be sorted")
    rules = (settings or MeterSettings()).model_copy(update={"interim": interim})
    sensor = sensor or SensorSettings()
    accounts = accounts if accounts is not None else Accounts()
    pipe = pipe or Follow()
    failed = 0
    for path in map(Path, paths):
        if pipe.ending is not None:
            accounts.failed.append(Problem(path, "not begun, since a signal ended the one before"))
            continue
        try:
            reader = CaptureReader(path, sensor.snaplen, follow, pipe)
        except CaptureError as e:
            failed += 1
            if not keep_going or failed == len(paths):
                raise
            accounts.failed.append(Problem.of(path, e))
            continue
        name = valid_text(sensor_id) if sensor_id else stem(path)
        meter = BucketMeter(0, 1, rules, slice_s)
        disorder = Disorder()
        pieces = chunks(reader, sensor, sort=sort, disorder=disorder)
        if tap is not None:
            pieces = map(tap, pieces)
        with ahead(digests_of(chunk, name, seq) for seq, chunk in enumerate(pieces)) as digests:
            try:
                for digest in digests:
                    yield meter.ingest_decoded([digest], 0)
                    meter.table.forget_dirty()  # no state is written here
                    if progress is not None:
                        progress(path, reader.bytes_read, reader.size)
            except BaseException:  # the thread that reads may be waiting for the file, and is waited for here
                for waited in (follow, pipe):
                    if waited is not None:
                        waited.abandon()
                raise
        accounts.add(meter)
        if disorder.late:
            accounts.disorder[printable(path)] = disorder
        if reader.truncated:
            accounts.truncated.append(printable(path))
        if reader.failed:
            accounts.failed.append(Problem(path, reader.problem))


def digests_of(chunk: Chunk, sensor: str, seq: int) -> tuple[list[Envelope], np.ndarray]:
    """A chunk of a file as phase one would hand it to the only bucket."""
    frames = chunk.frames
    packets, reasons = decode(frames.data, frames.offsets, frames.ts, frames.wire_len, frames.link_type)
    packets["msg"] = 0
    envelope = Envelope(
        sensor, sensor, chunk.run_index, 0, 1, seq, KIND_END if chunk.end else KIND_PACKETS, chunk.clock, 0, packets=len(frames)
    )
    return [envelope], accepted(envelope, frames, packets, reasons)


def records_of(emission: Emission) -> Iterator[pa.RecordBatch]:
    """Records of what a bucket gave: snapshots, then closed flows."""
    for rows, closed in ((emission.interim, False), (emission.closed, True)):
        for at in range(0, len(rows), _ROWS):
            some = rows[at : at + _ROWS]
            yield records(some, emission.domains, emission.sensors, closed=closed, community_id_seed=emission.community_id_seed)
