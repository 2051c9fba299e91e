"""A lake read by Spark gives the very sample that one process draws of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from infra.config import Settings
from infra.errors import ModelError
from jobs.training.sources import TrainingData, load
from jobs.training.truth import KEY, SPAN
from tests.unit.training.test_lake import records, say

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.integration


def test_spark_draws_the_same_sample(spark: SparkSession, settings: Callable[..., Settings], tmp_path: Path) -> None:
    made = settings(lake={"path": str(tmp_path / "flows")})
    for first in (0, 400, 800):  # three files, so more than one task
        write_deltalake(made.lake.path, records(400, first=first), mode="append")
    table = records(1200)
    names = ["SYN_SCAN" if i % 5 == 0 else "BENIGN" for i in range(400)]
    rows = records(400).select([*KEY, *SPAN]).append_column("label", pa.array(names))
    pq.write_table(rows, tmp_path / "truth.parquet")
    say(made, {"f7": "DNS_TUNNEL", "f700": "benign", "nobody": "benign"})
    told: list[str] = []
    one, two = (
        load(made, TrainingData("lake", labels=tmp_path / "truth.parquet", most=60, engine=engine), told.append)
        for engine in ("local", "spark")
    )
    assert any("read by Spark" in line for line in told)
    assert len(one.flows) < table.num_rows
    assert (one.version, one.strata, sorted(one.notes)) == (two.version, two.strata, sorted(two.notes))
    assert {s.label for s in one.strata} == {"BENIGN", "DNS_TUNNEL", "SYN_SCAN"}
    for name in ("x", "y", "group", "closed", "host", "age"):
        assert np.array_equal(getattr(one.flows, name), getattr(two.flows, name)), name
    assert "1 label of records that the lake does not hold: nobody" in two.notes

    write_deltalake(made.lake.path, records(3), mode="overwrite")
    DeltaTable(made.lake.path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(ModelError, match="files of version 2 are gone"):
        load(made, TrainingData("lake", as_of="2", engine="spark"))
