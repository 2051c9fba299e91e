"""How fast models score: on one core, beside scikit-learn's own methods in one run, and through Spark on two.

``flowlake bench scoring``. Records and models are those of generated traffic, through the meter; the models have not seen the records.
Equal ones are scored once, as in the stream: there are no more equal ones than in the traffic itself.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.config import Settings
from jobs.metering.settings import MeterSettings
from jobs.scoring.model import ScoringModel
from jobs.scoring.modelset import ModelSet
from jobs.training import fit
from jobs.training.generated import generated_flows, metered
from jobs.training.labelled import LabelledFlows
from ops.bench.place import machine
from schemas.features import FEATURE_VERSION
from schemas.packets import FLOWS

if TYPE_CHECKING:
    from pyspark.core.broadcast import Broadcast
    from pyspark.sql import SparkSession

#: Seeds of the generator that models are fitted to, and that their records are of; seconds of traffic of each.
_FITTED, _SCORED, _SECONDS = range(101, 109), (301, 302, 303, 304), 18.0
_BATCH, _ROUNDS, _RUNS = 2_000, 9, 3
#: As the platform's messages are.
_INSIDE = pa.ipc.IpcWriteOptions(compression="lz4")


def run(settings: Settings, *, flows: int, through: bool = True, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Score flows of generated traffic with boosted trees and with a forest; with a panel for unknown attacks and with a challenger.

    Parameters
    ----------
    settings
        Section ``spark``, metering rules.
    flows
        Scored through Spark, by each model.
    through
        Whether Spark is measured too.
    say
        Told what is being done.

    Returns
    -------
    dict
        ``one_core``: milliseconds of processor time for 1,000 flows, by model, in batches of 50, 1,000 and 5,000;
        ``two_cores``: flows per second through Spark; the machine.
    """
    facts, rules = machine(), settings.section(MeterSettings)
    say("generating and metering traffic")
    records = pa.concat_tables([metered("train", seed, _SECONDS, settings=rules)[1] for seed in _SCORED])
    flows_of = generated_flows(_FITTED, duration_s=_SECONDS, settings=rules, progress=say)
    say("fitting boosted trees, a forest and a panel for unknown attacks")
    sets = models(flows_of)
    result: dict[str, Any] = {"one_core": {}, "machine": facts}
    for size in (50, 1000, 5000):
        say(f"batches of {size:,} on one core")
        found = _milliseconds(sets, records.slice(0, size).combine_chunks().to_batches()[0])
        for name, ms in found.items():
            result["one_core"].setdefault(name, {})[str(size)] = round(ms, 3)
    if through:
        from jobs.runtime import session

        with tempfile.TemporaryDirectory(prefix="flowlake-bench-") as folder, closing(_Session(session.build(settings, "bench"))) as kept:
            blobs = _written(Path(folder), records, flows, say)
            result["two_cores"] = {name: round(rate) for name, rate in _rates(kept.spark, blobs, sets, say).items()}
    return result


class _Session:
    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark

    def close(self) -> None:
        self.spark.stop()


def models(flows: LabelledFlows, family: str = "boosted", beside: str = "forest") -> dict[str, ModelSet]:
    """By name, what is measured: models as a training yields them, and scikit-learn's own methods.

    The first is that of generated traffic. ``novelty`` is the panel that looks for unknown attacks. The last fifth of the groups chooses
    the thresholds.
    """
    groups = np.unique(flows.group)
    validating = np.isin(flows.group, groups[-max(1, len(groups) // 5) :])
    train, validation = flows.where(~validating), flows.where(validating)
    fitted = {
        name: fit.fit(train, validation, fit.Choices(family=name, novelty_fpr=fit.NOVELTY_FPR if name == family else 0.0, cross=False))
        for name in (family, beside)
    }

    def plain(name: str) -> ModelSet:
        one = fitted[name]
        return ModelSet(
            ScoringModel.from_estimator(
                one.estimator,
                FLOWS,
                columns=one.model.columns,
                threshold=one.model.threshold,
                feature_version=FEATURE_VERSION,
                version=name,
                calibration=one.model.calibration,
                typer=one.typer,
                compact=False,
            )
        )

    first, second = fitted[family].model, fitted[beside].model
    return {
        family: ModelSet(replace(first, novelty=None)),
        f"{family}, novelty": ModelSet(first),
        beside: ModelSet(second),
        f"{family}, challenger {beside}": ModelSet(replace(first, novelty=None), second),
        f"{family}, scikit-learn": plain(family),
        f"{beside}, scikit-learn": plain(beside),
    }


def _milliseconds(sets: dict[str, ModelSet], records: pa.RecordBatch) -> dict[str, float]:
    """By model, of processor time, for 1,000 records: the shortest of some rounds, in which all take their turn."""
    times: dict[str, list[float]] = {name: [] for name in sets}
    for turn in range(_ROUNDS + 1):
        for name, some in sets.items():
            begin = time.thread_time()
            some.score(records)
            if turn:  # the first one compiles
                times[name].append(time.thread_time() - begin)
    return {name: 1e6 * min(found) / records.num_rows for name, found in times.items()}


def _written(folder: Path, records: pa.Table, flows: int, say: Callable[[str], None]) -> Path:
    """Record batches as the meter hands them on: one message a row; the traffic again and again, so that no task has a message twice."""
    say(f"{flows:,} flows in messages of {_BATCH:,}")
    blobs = []
    for at in range(0, records.num_rows - _BATCH, _BATCH):
        (batch,) = records.slice(at, _BATCH).combine_chunks().to_batches()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema, options=_INSIDE) as out:
            out.write_batch(batch)
        blobs.append(sink.getvalue().to_pybytes())
    count = max(2, flows // _BATCH)
    table = pa.table({"blob": pa.array([blobs[i % len(blobs)] for i in range(count)], pa.binary())})
    for part in range(2):  # a file a core
        pq.write_table(table.slice(part * (count // 2), count // 2), folder / f"{part}.parquet", row_group_size=count, compression="none")
    return folder


def _rates(spark: SparkSession, blobs: Path, sets: dict[str, ModelSet], say: Callable[[str], None]) -> dict[str, float]:
    """Flows per second by model: read, scored, written as messages; the best of some runs after one that warms up, taken in turns."""
    carried = {name: spark.sparkContext.broadcast(one) for name, one in sets.items()}
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "4")
    rates = dict.fromkeys(sets, 0.0)
    for turn in range(_RUNS + 1):
        for name, models_ in carried.items():
            say(f"through Spark, {'warming up' if not turn else f'run {turn} of {_RUNS}'}: {name}")
            begin = time.perf_counter()
            read = spark.read.parquet(str(blobs)).mapInArrow(_scoring(models_), "rows long, bytes long")
            rate = read.groupBy().sum("rows").collect()[0][0] / (time.perf_counter() - begin)
            if turn:
                rates[name] = max(rates[name], rate)
    return rates


def _scoring(models_: Broadcast[ModelSet]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The step of a task: messages in, scored messages out."""

    def scored(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            given = [pa.ipc.open_stream(blob).read_next_batch() for blob in batch.column(0).to_pylist()]
            for done in models_.value.score_each(given):
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, done.schema, options=pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)) as out:
                    out.write_batch(done)
                yield pa.RecordBatch.from_pydict({"rows": [done.num_rows], "bytes": [sink.getvalue().size]})

    return scored
