"""Training flows from generated traffic, metered by the very meter that serves the model, in batches of the stream's length.

An open flow's snapshot is what the flow is at the end of a batch. Batches of other lengths give other snapshots: metered in chunks of
16,384 packets, the first look at a flow comes seconds later than in the stream, and a model has never seen the young flows that it is
to judge there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import ModelError
from jobs.metering.batch import digests_of, records_of
from jobs.metering.bucket import BucketMeter
from jobs.metering.envelope import Envelope
from jobs.metering.settings import MeterSettings
from jobs.scoring.matrix import feature_matrix
from jobs.training.fit import CANDIDATES
from jobs.training.labelled import LabelledFlows, concat
from jobs.training.truth import KEY, SPAN, join_labels
from schemas.flows import RECORD_SCHEMA
from sensors.packets.frames import FrameBatch
from sensors.packets.replay import ordered
from sensors.packets.settings import SensorSettings

#: Seconds of a batch: the stream takes up what is there, a tenth of a second of packets when idle and two seconds of them when busy.
BATCH_S = (0.1, 2.0)

#: Packets of a chunk: some hundredths of a second, so that batches can end where they should.
_CHUNK_PACKETS = 128
_NEEDED = [*KEY, *SPAN, "closed", *CANDIDATES]

_Digest = tuple[list[Envelope], np.ndarray]


def generated_flows(
    seeds: Sequence[int],
    *,
    preset: str = "train",
    duration_s: float | None = None,
    settings: MeterSettings | None = None,
    progress: Callable[[str], None] = print,
) -> LabelledFlows:
    """Flows of a preset of the generator, one run a seed: closed records and interim snapshots, labelled by the ground truth.

    Parameters
    ----------
    seeds
        Generator seeds; a row's ``group`` is its seed.
    preset
        The generator's preset.
    duration_s
        Capture time of each run, seconds; the preset's own when None.
    settings
        Metering rules, those of the stream.
    progress
        Told what is being done, one line at a time.

    Raises
    ------
    ConfigError
        No such preset, or a duration out of range.
    ModelError
        A metered record has no row in the ground truth: generator and meter disagree, and labels would be wrong.
    """
    return concat([_one(preset, seed, duration_s, settings, progress) for seed in seeds])


def _one(name: str, seed: int, duration_s: float | None, settings: MeterSettings | None, progress: Callable[[str], None]) -> LabelledFlows:
    from sensors.generate import generate, preset, truth

    run = generate(preset(name, seed=seed, duration_s=duration_s))
    batches = [b.select(_NEEDED) for b in _metered(run, seed, settings or MeterSettings())]
    records = pa.Table.from_batches(batches, pa.schema([RECORD_SCHEMA.field(n) for n in _NEEDED]))
    labels = join_labels(records, truth(run))
    if labels.null_count:
        first = records.filter(pc.is_null(labels)).slice(0, 1).select(list(KEY)).to_pylist()[0]
        raise ModelError(f"seed {seed}: {labels.null_count} of {records.num_rows} records are not in the ground truth, e.g. {first}")
    closed = records.column("closed").to_numpy()
    progress(f"seed {seed}: {run.packets:,} packets, {closed.sum():,} flows, {(~closed).sum():,} interim snapshots")
    return LabelledFlows(
        x=feature_matrix(records, CANDIDATES),
        columns=CANDIDATES,
        y=np.array(labels.to_pylist(), dtype=str),
        group=np.full(records.num_rows, str(seed)),
        closed=closed,
        host=np.array(records.column("src_ip").to_pylist(), dtype=str),
        age=((_us(records, "end_time") - _us(records, "start_time")) / 1e6).astype(np.float32),
    )


def _metered(run: Iterator[FrameBatch], seed: int, settings: MeterSettings) -> Iterator[pa.RecordBatch]:
    """Closed records and snapshots of a run, as the stream would give them."""
    meter = BucketMeter(0, 1, settings.model_copy(update={"interim": True}))
    for digests in _batches(run, seed):
        yield from records_of(meter.ingest_decoded(digests, 0))
        meter.table.forget_dirty()  # no state is written here


def _batches(run: Iterator[FrameBatch], seed: int) -> Iterator[list[_Digest]]:
    """Packets of a run by batches of the stream, their lengths spread evenly over the orders of magnitude of ``BATCH_S``."""
    from sensors.generate.cut import cut

    sensor = SensorSettings(batch_packets=_CHUNK_PACKETS)
    rng = random.Random(f"{seed}/batches")
    batch: list[_Digest] = []
    end = 0
    for seq, chunk in enumerate(ordered((cut(frames, sensor.snaplen) for frames in run), sensor)):
        batch.append(digests_of(chunk, f"train-{seed}", seq))
        if chunk.end:
            break
        end = end or chunk.clock + _length_ns(rng)
        if chunk.clock >= end:
            yield batch
            batch, end = [], chunk.clock + _length_ns(rng)
    if batch:
        yield batch


def _length_ns(rng: random.Random) -> int:
    shortest, longest = BATCH_S
    return int(1e9 * shortest * (longest / shortest) ** rng.random())


def _us(records: pa.Table, column: str) -> npt.NDArray[np.int64]:
    return np.asarray(records.column(column).cast(pa.int64()).to_numpy())
