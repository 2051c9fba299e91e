"""Records of another source are trained, judged and registered like flows, with nothing of the source but its declaration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra import config
from infra.config import Settings
from infra.errors import ModelError
from jobs.models.newcomer import Settled, settle
from jobs.models.request import PromotionRequest
from jobs.models.retraining import RetrainOptions, retrain
from jobs.scoring import registry
from jobs.training.fit import Choices
from jobs.training.sources import TrainingData
from jobs.training.train import train
from tests.toy_source.records import FEATURES, READING
from tests.toy_source.train import made_up


def readings(folder: Path) -> tuple[Path, Settings]:
    """A file of readings with their labels, and settings whose registry lies beside it."""
    x, y = made_up(30, 200, 1)
    table = pa.table({name: x[:, i].astype(float) for i, name in enumerate(FEATURES)}).append_column("label", pa.array(y.tolist()))
    pq.write_table(table, folder / "readings.parquet")
    places = {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_root": str(folder / "artifacts")}
    rules = {"family": "forest", "max_fpr": 0.01}
    made = config.build(scoring=places, retrain=rules, paths={"var": str(folder / "var")}, gates={"max_fpr": 0.05})
    return folder / "readings.parquet", made


@pytest.mark.slow
def test_readings_are_retrained_like_flows(tmp_path: Path) -> None:
    file, settings = readings(tmp_path)
    run = retrain(settings, READING, RetrainOptions(source=str(file), shadow=False))
    assert run.steps["train"]["version"] == "1"
    assert {gate["verdict"] for gate in run.steps["evaluate"]["gates"]} == {"open"}
    with pytest.raises(ModelError, match="no generated traffic of it"):
        retrain(settings, READING, RetrainOptions(source="generated"))


@pytest.mark.slow
def test_readings_are_trained_like_flows(tmp_path: Path) -> None:
    file, settings = readings(tmp_path)
    wanted = TrainingData("parquet", (str(file),), record=READING)
    report = train(settings, wanted=wanted, choices=Choices(family="forest", max_fpr=0.01), ways=("attack",))
    assert report.version == "1"
    assert settle(settings, READING, "1", PromotionRequest()).promoted
    assert "--record readings" in report.card
    model = registry.load_champion(settings, READING)
    assert set(model.classes) == {"BENIGN", "SPIKE", "STUCK"}
    assert set(model.columns) <= set(FEATURES)
    other, true = made_up(20, 200, 2)
    _, label, kind, _ = model.decide_by(lambda columns: np.ascontiguousarray(other[:, [FEATURES.index(c) for c in columns]]))
    assert (label[true != "BENIGN"] == 1).mean() > 0.9
    assert (label[true == "BENIGN"] == 1).mean() < 0.03
    assert (np.array(model.verdicts)[kind][true == "STUCK"] == "STUCK").mean() > 0.9
    again = train(settings, wanted=wanted, choices=Choices(family="forest", max_fpr=0.01), ways=())
    assert again.version == "2"
    assert settle(settings, READING, "2", PromotionRequest()) == Settled(False, "champion 1 stays")
