"""Labelled windows of generated traffic, one run of the generator a seed, cut by the very code that serves the model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.metering.settings import MeterSettings
from jobs.scoring.matrix import feature_matrix
from jobs.training.labelled import LabelledFlows, concat
from jobs.windows.batch import windows_of
from jobs.windows.labels import label
from jobs.windows.records import records
from schemas.labels import BENIGN
from schemas.windows import SIZES, WINDOW_NAMES, WINDOW_SCHEMA
from sensors.generate import Scenario, generate
from sensors.packets.pcapwriter import PcapWriter

#: Seconds for which a source's attack may still show in its windows: as long as anything is remembered of it.
REMEMBERED_S = 3600.0
#: Flows of one source and label that are farther apart, seconds, are two campaigns.
_APART_S = 900.0
_US = 1_000_000


@dataclass(frozen=True)
class Attack:
    """One campaign of a run, by its ground truth: what, who, its first and last packet (seconds since 1970)."""

    label: str
    host: str
    begin: float
    end: float


@dataclass(frozen=True)
class LabelledWindows:
    """n windows of one size.

    Attributes
    ----------
    flows
        Their features, labels (the attack that the source began most flows of in the window, else ``BENIGN``), run and source.
    begin : int64[n]
        Start of the window, seconds since 1970.
    certain : bool[n]
        False for a benign window of a source that attacked shortly before, or attacks around it: what it shows is neither.
    """

    flows: LabelledFlows
    begin: npt.NDArray[np.int64]
    certain: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.begin)

    def where(self, mask: npt.NDArray[np.bool_]) -> LabelledWindows:
        """The windows that a mask selects."""
        return LabelledWindows(self.flows.where(mask), self.begin[mask], self.certain[mask])


@dataclass(frozen=True)
class WindowRun:
    """What one run of the generator gave.

    Attributes
    ----------
    seed
        Of the generator.
    seconds
        Capture time.
    packets
        In it.
    windows
        By size in seconds.
    attacks
        Its campaigns, by their begin.
    """

    seed: int
    seconds: float
    packets: int
    windows: dict[int, LabelledWindows]
    attacks: tuple[Attack, ...]


def window_run(scenario: Scenario, settings: MeterSettings | None = None) -> WindowRun:
    """Generate a scenario, meter it and cut it into windows.

    Parameters
    ----------
    scenario
        What is generated.
    settings
        Metering rules, those of the stream.
    """
    run = generate(scenario)
    found: dict[int, list[pa.RecordBatch]] = {size: [] for size in SIZES}
    with tempfile.TemporaryDirectory(prefix="flowlake-windows-") as temp:
        capture = Path(temp) / f"{scenario.seed}.pcap"
        with PcapWriter(capture) as writer:
            for frames in run:
                writer.write(frames)
        for some in windows_of([capture], settings=settings):
            for size, summaries in some.items():
                found[size].append(records(summaries, size).select(WINDOW_SCHEMA.names))
    truth = run.truth()
    attacks = campaigns(truth)
    # a window counts for an attack in which a flow of it begins: the last packets of one that began before show nothing
    began = truth.set_column(truth.schema.get_field_index("end_time"), "end_time", truth["start_time"])
    windows = {size: _labelled(pa.Table.from_batches(batches), began, attacks, scenario.seed) for size, batches in found.items()}
    return WindowRun(scenario.seed, scenario.duration_s, run.packets, windows, attacks)


def campaigns(truth: pa.Table) -> tuple[Attack, ...]:
    """Campaigns of a truth table: attack flows of a source and label, as long as one follows the other within a quarter of an hour."""
    flows = truth.filter(pc.not_equal(truth["label"], BENIGN)).select(["label", "src_ip", "start_time", "end_time"])
    begin, end = (flows[name].cast(pa.int64()).to_numpy() / _US for name in ("start_time", "end_time"))
    found: list[Attack] = []
    for name, host, first, last in sorted(zip(flows["label"].to_pylist(), flows["src_ip"].to_pylist(), begin, end, strict=True)):
        before = found[-1] if found else None
        if before is not None and (before.label, before.host) == (name, host) and first - before.end <= _APART_S:
            found[-1] = Attack(name, host, before.begin, max(before.end, last))
        else:
            found.append(Attack(name, host, first, last))
    return tuple(sorted(found, key=lambda attack: attack.begin))


def joined(parts: Sequence[LabelledWindows]) -> LabelledWindows:
    """All of them, in their order."""
    return LabelledWindows(
        concat([part.flows for part in parts]),
        np.concatenate([part.begin for part in parts]),
        np.concatenate([part.certain for part in parts]),
    )


def _labelled(windows: pa.Table, truth: pa.Table, attacks: Sequence[Attack], seed: int) -> LabelledWindows:
    y = np.array(label(windows, truth).to_pylist(), dtype=str)
    host = np.array(windows["src_ip"].to_pylist(), dtype=str)
    begin, end = (windows[name].cast(pa.int64()).to_numpy() // _US for name in ("window_start", "window_end"))
    near = np.zeros(len(y), bool)
    for attack in attacks:
        near |= (host == attack.host) & (end > attack.begin) & (begin < attack.end + REMEMBERED_S)
    flows = LabelledFlows(
        x=feature_matrix(windows, WINDOW_NAMES),
        columns=WINDOW_NAMES,
        y=y,
        group=np.full(len(y), str(seed)),
        closed=np.ones(len(y), bool),
        host=host,
    )
    return LabelledWindows(flows, begin, (y != BENIGN) | ~near)
