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
from jobs.scoring.novelty import Novelty, Tails
from jobs.training.families import FOREST
from jobs.training.fit import CANDIDATES
from ops.bench.place import machine
from schemas.features import FEATURE_VERSION
from schemas.flows import RECORD_SCHEMA
from schemas.labels import NAMES
from schemas.packets import FLOWS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_COLUMNS = CANDIDATES[:20]
_TRAINED, _BATCH, _ROUNDS = 20_000, 2_000, 9


def random_records(n: int, seed: int = 0) -> pa.RecordBatch:
    """``n`` records of random values (``RECORD_SCHEMA``), features spread over orders of magnitude."""
    rng = np.random.default_rng(seed)
    arrays = []
    for field in RECORD_SCHEMA:
        if pa.types.is_string(field.type):
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
    """Score random flows with a forest and with boosted trees; with a detector of novelty and with a challenger.

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
    say("fitting a forest and boosted trees")
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


def models() -> dict[str, ModelSet]:
    """By name, what is measured: compiled, and as scikit-learn itself scores."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    records = random_records(_TRAINED)
    x = feature_matrix(records, _COLUMNS)
    noise = np.random.default_rng(1).normal(size=len(x))
    y = np.array(NAMES)[np.minimum(np.log1p(np.abs(x[:, 3])) + np.abs(noise), 4).astype(int)]
    fitted = {
        "forest": RandomForestClassifier(**FOREST, random_state=0, n_jobs=-1).fit(x, y),
        "boosted": HistGradientBoostingClassifier(max_iter=40, early_stopping=False, random_state=0).fit(x, y),
    }
    detector = Novelty(Tails.fit(x), _COLUMNS, 0.99)

    def model(name: str, *, compact: bool = True) -> ScoringModel:
        return ScoringModel.from_estimator(
            fitted[name], FLOWS, columns=_COLUMNS, threshold=0.5, feature_version=FEATURE_VERSION, version=name, compact=compact
        )

    forest, boosted = model("forest"), model("boosted")
    return {
        "forest": ModelSet(forest),
        "boosted": ModelSet(boosted),
        "forest, novelty": ModelSet(replace(forest, novelty=detector)),
        "forest, challenger boosted": ModelSet(forest, boosted),
        "forest, scikit-learn": ModelSet(model("forest", compact=False)),
        "boosted, scikit-learn": ModelSet(model("boosted", compact=False)),
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
