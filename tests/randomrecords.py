"""Flow records of random values, so that no two are alike and every one goes down a model's trees."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from schemas.features import FEATURE_VERSION
from schemas.flows import RECORD_SCHEMA


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
