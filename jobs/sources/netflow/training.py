"""A model of exported flows: of generated traffic that our own exporter exports, decoded and enriched as the stream does it.

Labels are those of the ground truth, by key and time. What a victim answers is no attack: a record that goes towards the client is benign,
or alerts would name the victim as the source.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import ConfigError, ModelError
from jobs.flowexport import decoder
from jobs.flowexport.datagrams import DatagramBatch, address16
from jobs.flowexport.recordtable import FlowCollector, numbers, records
from jobs.flowexport.session import ExportSessions
from jobs.scoring.matrix import feature_matrix
from jobs.sources.netflow.exporting import ExportJob, ExportKind, ExportOptions
from jobs.sources.netflow.lookups import Lookups
from jobs.training import registering
from jobs.training.evaluate import Quality, evaluate
from jobs.training.fit import Choices, Fitted, fit
from jobs.training.labelled import LabelledFlows, concat
from jobs.training.truth import Truth
from schemas.exportedflows import EXPORTED_FLOWS, FEATURES
from schemas.labels import BENIGN
from sensors.packets.files import find_captures

Progress = Callable[[str], None]
_COLLECTOR = FlowCollector("training", "training")
#: Exported times are whole milliseconds.
_SLACK_US = 2_000


@dataclass(frozen=True)
class ExportTraining:
    """What a model of exported flows is trained on.

    Attributes
    ----------
    seeds
        Generator seeds; the last quarter calibrates and judges, the others train.
    seconds
        Capture time of each.
    kinds
        As what it is exported; the runs take turns.
    samplings
        One packet of how many; the runs take turns.
    """

    seeds: tuple[int, ...] = tuple(range(1, 13))
    seconds: float = 60.0
    kinds: tuple[ExportKind, ...] = (ExportKind.V9, ExportKind.IPFIX)
    samplings: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < 2:
            raise ConfigError("a model of exported flows is trained on two seeds at least", "one to fit, one to judge by")


@dataclass(frozen=True)
class ExportModel:
    """A model, how it did on the runs that calibrated it, and its version; None where it was not registered."""

    fitted: Fitted
    quality: Quality
    version: str | None


class _DatagramList:
    """Takes datagrams and keeps them (:class:`sensors.netflow.sending.DatagramSink`)."""

    def __init__(self) -> None:
        self.refused = 0
        self.sent: list[tuple[bytes, bytes, int, int]] = []

    def send(self, payload: bytes, exported_us: int) -> None:
        self.sent.append((payload, address16("127.0.0.1"), 2055, exported_us))

    def __enter__(self) -> _DatagramList:
        return self

    def __exit__(self, *_: object) -> None:
        return


def exported_run(seed: int, options: ExportOptions, seconds: float, settings: Settings) -> tuple[pa.Table, pa.Array]:
    """Records of one run of the generator, exported and decoded, and their labels.

    Raises
    ------
    ModelError
        A record has no row in the ground truth: generator and exporter disagree, and labels would be wrong.
    """
    from sensors.generate import generate, preset, truth
    from sensors.packets.pcapwriter import PcapWriter

    run = generate(preset("train", seed=seed, duration_s=seconds))
    kept = _DatagramList()
    with tempfile.TemporaryDirectory(prefix="flowlake-train-") as temp:
        capture = Path(temp) / f"{seed}.pcap"
        with PcapWriter(capture) as writer:
            for frames in run:
                writer.write(frames)
        ExportJob(find_captures([capture]), options, settings, threading.Event()).run(kept, None)
    made = decoded(kept.sent)
    labels = Truth(truth(run)).labels(made, slack_us=_SLACK_US)
    if labels.null_count:
        first = made.filter(pc.is_null(labels)).slice(0, 1).select(["src_ip", "src_port", "dst_ip", "dst_port"]).to_pylist()[0]
        raise ModelError(f"seed {seed}: {labels.null_count} of {made.num_rows} records are not in the ground truth, e.g. {first}")
    return made, pc.if_else(pc.equal(made["toward_server"], -1), BENIGN, labels)


def decoded(datagrams: Sequence[tuple[bytes, bytes, int, int]]) -> pa.Table:
    """Records of datagrams: payload, sender (16 bytes), port and time of receipt (us) of each."""
    from jobs.enriching.settings import EnrichmentSettings

    lookups = Lookups(EnrichmentSettings())
    tables = []
    for piece in decoder.decode(DatagramBatch.of(datagrams), ExportSessions()):
        batch = piece.flows.to_arrow()
        columns = numbers(batch)
        nobody = np.zeros((batch.num_rows, 16), np.uint8)
        tables.append(records(batch, columns, _COLLECTOR, nobody, lookups.found(batch, columns)))
    return pa.Table.from_batches(tables, EXPORTED_FLOWS.schema)


def labelled(seed: int, options: ExportOptions, seconds: float, settings: Settings, progress: Progress) -> LabelledFlows:
    """What a model is fitted to, of one run."""
    made, labels = exported_run(seed, options, seconds, settings)
    y = np.array(labels.to_pylist(), dtype=str)
    sampled = f", 1 of {options.sampling} packets" if options.sampling > 1 else ""
    progress(f"seed {seed}: {made.num_rows:,} records as {options.kind}{sampled}, {(y != BENIGN).sum():,} of attacks")
    return LabelledFlows(
        x=feature_matrix(made, FEATURES),
        columns=FEATURES,
        y=y,
        group=np.full(len(y), str(seed)),
        closed=np.ones(len(y), bool),
        host=np.array(made["src_ip"].fill_null("").to_pylist(), dtype=str),
        age=made["duration"].to_numpy().astype(np.float32),
    )


def train(
    training: ExportTraining,
    settings: Settings,
    *,
    seed: int = 7,
    max_fpr: float = 0.001,
    register: bool,
    progress: Progress,
) -> ExportModel:
    """Generate, export, fit, judge; the same seeds give the same model.

    Raises
    ------
    ModelError
        The runs hold no attack, or the registry cannot be reached.
    """
    runs = [
        labelled(one, ExportOptions(training.kinds[n % len(training.kinds)], training.samplings[n % len(training.samplings)], one),
                 training.seconds, settings, progress)
        for n, one in enumerate(training.seeds)
    ]  # fmt: skip
    last = max(1, len(runs) // 4)
    fitting, validating = concat(runs[:-last]), concat(runs[-last:])
    progress(f"fitting to {len(fitting):,} records")
    fitted = fit(fitting, validating, Choices(family="boosted", novelty_fpr=0.0, max_fpr=max_fpr, seed=seed), record=EXPORTED_FLOWS)
    quality, _, _ = evaluate(fitted.model, validating)
    made = ExportModel(fitted, quality, None)
    if not register:
        return made
    version = registering.register_generated(
        settings, EXPORTED_FLOWS, fitted, quality,
        data="exported flows of generated traffic, preset train", fitting=fitting, validating=validating, seed=seed,
        tags={"data_version": f"generated:export:{','.join(np.unique(fitting.group).tolist())}"},
    )  # fmt: skip
    return ExportModel(fitted, quality, version)
