"""Training flows from generated traffic, metered by the very meter that serves the model: no skew between training and serving."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import ModelError
from jobs.metering.settings import MeterSettings
from jobs.scoring.matrix import feature_matrix
from jobs.training.fit import CANDIDATES
from jobs.training.labelled import LabelledFlows, concat
from jobs.training.truth import KEY, SPAN, join_labels
from schemas.flows import RECORD_SCHEMA

if TYPE_CHECKING:
    from sensors.generate import Scenario, TrafficGenerator

_NEEDED = [*KEY, *SPAN, "closed", *CANDIDATES]


def generated_flows(
    seeds: Sequence[int],
    *,
    preset: str = "train",
    duration_s: float | None = None,
    kinds: Sequence[str] = (),
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
    kinds
        Attacks and benign kinds to take; none named: all.
    settings
        Metering rules, those of the stream.
    progress
        Told what is being done, one line at a time.

    Raises
    ------
    ConfigError
        No such preset or kind, or a duration out of range.
    ModelError
        A metered record has no row in the ground truth: generator and meter disagree, and labels would be wrong.
    """
    return concat([_one(preset, seed, duration_s, tuple(kinds), settings, progress) for seed in seeds])


def metered(
    name: str,
    seed: int,
    duration_s: float | None = None,
    kinds: Sequence[str] = (),
    settings: MeterSettings | None = None,
    columns: Sequence[str] = tuple(RECORD_SCHEMA.names),
) -> tuple[TrafficGenerator, pa.Table]:
    """A run of the generator, and columns of its records, closed ones and snapshots; see :func:`generated_flows`."""
    from sensors.generate import generate, preset

    run = generate(preset(name, seed=seed, duration_s=duration_s, kinds=tuple(kinds)))
    return run, _records(run, settings, columns)


def labelled_run(scenario: Scenario, settings: MeterSettings | None = None) -> tuple[LabelledFlows, npt.NDArray[np.float64]]:
    """Flows of a scenario as :func:`generated_flows` gives them, and when each begins and ends: float64[n, 2], seconds since 1970.

    Raises
    ------
    ModelError
        A metered record has no row in the ground truth.
    """
    from sensors.generate import generate

    run = generate(scenario)
    records = _records(run, settings, _NEEDED)
    return _labelled(run, records), np.column_stack([_us(records, name) / 1e6 for name in SPAN])


def _records(run: TrafficGenerator, settings: MeterSettings | None, columns: Sequence[str]) -> pa.Table:
    """Columns of the records of a run, which is generated to its end."""
    from jobs.metering.batch import meter_captures
    from sensors.packets.pcapwriter import PcapWriter

    with tempfile.TemporaryDirectory(prefix="flowlake-train-") as temp:
        capture = Path(temp) / f"{run.scenario.seed}.pcap"
        with PcapWriter(capture) as writer:
            for frames in run:
                writer.write(frames)
        batches = [b.select(columns) for b in meter_captures([capture], interim=True, settings=settings)]
    return pa.Table.from_batches(batches, pa.schema([RECORD_SCHEMA.field(n) for n in columns]))


def _one(
    name: str, seed: int, duration_s: float | None, kinds: tuple[str, ...], settings: MeterSettings | None, progress: Callable[[str], None]
) -> LabelledFlows:
    run, records = metered(name, seed, duration_s, kinds, settings, _NEEDED)
    found = _labelled(run, records)
    progress(f"seed {seed}: {run.packets:,} packets, {found.closed.sum():,} flows, {(~found.closed).sum():,} interim snapshots")
    return found


def _labelled(run: TrafficGenerator, records: pa.Table) -> LabelledFlows:
    from sensors.generate import truth

    seed = run.scenario.seed
    labels = join_labels(records, truth(run))
    if labels.null_count:
        first = records.filter(pc.is_null(labels)).slice(0, 1).select(list(KEY)).to_pylist()[0]
        raise ModelError(f"seed {seed}: {labels.null_count} of {records.num_rows} records are not in the ground truth, e.g. {first}")
    return LabelledFlows(
        x=feature_matrix(records, CANDIDATES),
        columns=CANDIDATES,
        y=np.array(labels.to_pylist(), dtype=str),
        group=np.full(records.num_rows, str(seed)),
        closed=records.column("closed").to_numpy(),
        host=np.array(records.column("src_ip").to_pylist(), dtype=str),
        age=((_us(records, "end_time") - _us(records, "start_time")) / 1e6).astype(np.float32),
    )


def _us(records: pa.Table, column: str) -> npt.NDArray[np.int64]:
    return np.asarray(records.column(column).cast(pa.int64()).to_numpy())
