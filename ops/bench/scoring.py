"""How fast the champion scores on one core: ``python -m ops.bench.scoring``.

Compares the compiled forest with scikit-learn's own ``predict_proba`` in one run, on record batches as the stream has them.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pyarrow as pa

from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from jobs.training.fit import CANDIDATES, FOREST
from schemas.features import FEATURE_VERSION
from schemas.flows import RECORD_SCHEMA
from schemas.labels import NAMES
from schemas.packets import FLOWS

_COLUMNS = CANDIDATES[:20]


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


def main() -> None:
    """Print rows per second and milliseconds a batch, for batches of 50 and 5,000 rows."""
    from sklearn.ensemble import RandomForestClassifier

    records = random_records(20_000)
    x = feature_matrix(records, _COLUMNS)
    noise = np.random.default_rng(1).normal(size=len(x))
    y = np.array(NAMES)[(np.log1p(np.abs(x[:, 3])) + noise).astype(int) % len(NAMES)]
    estimator = RandomForestClassifier(**FOREST, random_state=0, n_jobs=-1).fit(x, y)
    for name, compact in (("compiled", True), ("scikit-learn", False)):
        model = ScoringModel.from_estimator(
            estimator, FLOWS, columns=_COLUMNS, threshold=0.5, feature_version=FEATURE_VERSION, version="bench", compact=compact
        )
        model.score(records.slice(0, 1))  # compiles
        for rows in (50, 5000):
            batch = records.slice(0, rows)
            times = []
            for _ in range(21):
                begin = time.perf_counter()
                model.score(batch)
                times.append(time.perf_counter() - begin)
            median = statistics.median(times)
            print(f"{name:12s} {rows:5d} rows a batch: {1e3 * median:7.2f} ms, {rows / median:9,.0f} rows/s")


if __name__ == "__main__":
    main()
