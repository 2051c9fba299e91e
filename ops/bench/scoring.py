"""How fast models score: on one core, beside scikit-learn's own methods in one run, and through Spark on two.

``flowlake bench scoring``. Records are random, so that no two are alike and every one goes down the trees.
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
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from jobs.scoring.modelset import ModelSet
from jobs.training import fit
from jobs.training.labelled import LabelledFlows
from ops.bench.place import machine
from schemas.features import FEATURE_VERSION
from schemas.flows import RECORD_SCHEMA
from schemas.labels import NAMES
from schemas.packets import FLOWS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_TRAINED, _BATCH, _ROUNDS = 20_000, 2_000, 9


def random_records(n: int, seed: int = 0) -> pa.RecordBatch:
    """``n`` records of random values (``RECORD_SCHEMA``), features spread over orders of magnitude."""
    rng = np.random.default_rng(seed)
    arrays = []
    for field in RECORD_SCHEMA:
        if field.name == "feature_version":
            values = pa.array([FEATURE_VERSION] * n, pa.string())
        elif pa.types.is_string(field.type):
            values = pa.array([f"{field.name}-{i}" for i in range(n)], pa.string())
        elif pa.types.is_boolean(field.type):
            values = pa.array(rng.random(n) < 0.5)
        elif pa.types.is_floating(field.type):
            values = pa.array(rng.lognormal(5, 3, n))
        elif pa.types.is_timestamp(field.type):
            values = pa.array(rng.integers(0, 10**15, n)).cast(field.type)
        else:
            values = pa.array(rng.integers(0, 100, n)).cast(field.type)
        arrays.append(values)
    return pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


def run(settings: Settings, *, flows: int, through: bool = True, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Score random flows with boosted trees and with a forest; with a panel for unknown attacks and with a challenger.

    Parameters
    ----------
    settings
        Section ``spark``.
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
    facts = machine()
    say("fitting boosted trees, a forest and a panel for unknown attacks")
    sets = models()
    result: dict[str, Any] = {"one_core": {}, "machine": facts}
    for size in (50, 1000, 5000):
        say(f"batches of {size:,} on one core")
        found = _milliseconds(sets, random_records(size, seed=size))
        for name, ms in found.items():
            result["one_core"].setdefault(name, {})[str(size)] = round(ms, 3)
    if through:
        from jobs.runtime import session

        with tempfile.TemporaryDirectory(prefix="flowlake-bench-") as folder, closing(_Session(session.build(settings, "bench"))) as kept:
            blobs = _written(Path(folder), flows, say)
            result["two_cores"] = {}
            for name, models_ in sets.items():
                say(f"through Spark: {name}")
                result["two_cores"][name] = round(_rate(kept.spark, blobs, models_))
    return result


class _Session:
    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark

    def close(self) -> None:
        self.spark.stop()


def models(family: str = "boosted", beside: str = "forest") -> dict[str, ModelSet]:
    """By name, what is measured: models as a training yields them, all columns and two questions, and scikit-learn's own methods.

    The first is that of generated traffic. ``novelty`` is the panel that looks for unknown attacks.
    """
    flows = _labelled(random_records(_TRAINED))
    n = len(flows) // 5
    train, validation = flows.where(np.arange(n, len(flows))), flows.where(np.arange(n))
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


def _labelled(records: pa.RecordBatch) -> LabelledFlows:
    """Nine in ten are benign, the rest are four kinds of attack, told by a column that has noise in it."""
    x = feature_matrix(records, fit.CANDIDATES)
    value = np.log1p(np.abs(x[:, 3])) + np.random.default_rng(1).normal(size=len(x))
    kind = np.searchsorted(np.quantile(value, (0.9, 0.925, 0.95, 0.975)), value)
    group = np.array([str(i % 5) for i in range(len(x))])
    return LabelledFlows(x, fit.CANDIDATES, np.array(NAMES)[kind], group, np.ones(len(x), bool))


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


def _written(folder: Path, flows: int, say: Callable[[str], None]) -> Path:
    """Record batches as the meter hands them on: one message a row."""
    say(f"{flows:,} flows in messages of {_BATCH:,}")
    blobs = []
    for seed in range(8):  # as many different ones; they are repeated
        sink = pa.BufferOutputStream()
        records = random_records(_BATCH, seed=seed)
        with pa.ipc.new_stream(sink, records.schema) as out:
            out.write_batch(records)
        blobs.append(sink.getvalue().to_pybytes())
    count = max(2, flows // _BATCH)
    table = pa.table({"blob": pa.array([blobs[i % len(blobs)] for i in range(count)], pa.binary())})
    for part in range(2):  # a file a core
        pq.write_table(table.slice(part * (count // 2), count // 2), folder / f"{part}.parquet", row_group_size=count, compression="none")
    return folder


def _rate(spark: SparkSession, blobs: Path, models_: ModelSet) -> float:
    """Flows per second: read, scored, written as messages; the better of two runs after one that warms up."""
    carried = spark.sparkContext.broadcast(models_)

    def scored(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            given = [pa.ipc.open_stream(blob).read_next_batch() for blob in batch.column(0).to_pylist()]
            for done in carried.value.score_each(given):
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, done.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as out:
                    out.write_batch(done)
                yield pa.RecordBatch.from_pydict({"rows": [done.num_rows], "bytes": [sink.getvalue().size]})

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "4")
    rates = []
    for _ in range(3):
        begin = time.perf_counter()
        rows = spark.read.parquet(str(blobs)).mapInArrow(scored, "rows long, bytes long").groupBy().sum("rows").collect()[0][0]
        rates.append(rows / (time.perf_counter() - begin))
    carried.unpersist()
    return max(rates[1:])
