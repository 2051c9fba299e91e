"""What a model was trained on stands in its report, its run and its version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.config import Settings
from jobs.scoring import registry
from jobs.training.fit import CANDIDATES
from jobs.training.sources import TrainingData
from jobs.training.train import train

pytestmark = pytest.mark.integration


def test_the_version_of_the_data_is_kept_with_the_model(settings: Callable[..., Settings], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    rng = np.random.default_rng(1)
    label = np.where(np.arange(300) % 3 == 0, "SYN_SCAN", "BENIGN")
    columns = {name: rng.random(300) + (label == "SYN_SCAN") for name in CANDIDATES}
    pq.write_table(pa.table({**columns, "label": label}), tmp_path / "a.parquet")
    made = settings(scoring={"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"})
    report = train(made, wanted=TrainingData(records=(str(tmp_path / "a.parquet"),)))
    assert report.data_version.startswith("sha256:")
    client = MlflowClient(registry.tracking_uri(made), registry.tracking_uri(made))
    version = client.get_model_version("flowlake-flows", str(report.version))
    assert version.tags["data_version"] == report.data_version
    run = client.get_run(str(version.run_id))
    assert run.data.params["data_version"] == report.data_version
    about = json.loads(Path(client.download_artifacts(str(version.run_id), "data.json")).read_text())
    assert {(s["label"], s["kept"], s["weight"]) for s in about["strata"]} == {("BENIGN", 200, 1.0), ("SYN_SCAN", 100, 1.0)}
