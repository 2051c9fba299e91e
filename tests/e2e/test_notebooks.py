"""The notebooks on models and for a hunt, executed top to bottom on generated traffic."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image

from infra.config import ROOT, Settings
from jobs.scoring.registry import Training, register
from jobs.training.fit import Choices, Fitted, fit
from jobs.training.generated import generated_flows
from jobs.training.labelled import LabelledFlows
from jobs.watching import reference
from schemas.packets import FLOWS
from tests import cookbookdata, registries
from tests.champions import crown

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FIGURES = {
    "03_errors_and_explanations": ["attacks", "confusion", "contributions", "scores"],
    "05_threshold_and_cost": ["cheapest", "cost", "rates"],
}


@pytest.fixture(scope="module")
def trained() -> tuple[Fitted, LabelledFlows]:
    """A model of some seconds of traffic, and what it was trained on: parts that say how far hours differ."""
    flows = generated_flows([41, 43, 44, 45, 46], duration_s=3, progress=lambda _: None)
    return fit(flows, flows, Choices(features=12, family="boosted")), flows


@pytest.fixture
def champion(trained: tuple[Fitted, LabelledFlows], settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    """A registry with a champion that was trained on some seconds, and its profile."""
    made = registries.begin(settings())
    fitted, flows = trained
    model = fitted.model
    about = Training("a test", {}, {}, [reference.write_profile(tmp_path, model, flows)])
    version = register(made, FLOWS, fitted.estimator, columns=model.columns, threshold=model.threshold, training=about, usual=model.usual)
    crown(made, version)
    return made


def run(notebook: str, home: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"FLOWLAKE_HOME": str(home), "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, str(ROOT / "notebooks" / f"{notebook}.py")]
    return subprocess.run(command, cwd=home, env=environment | more, capture_output=True, text=True, timeout=400)


def test_the_notebooks_about_the_champion(champion: Settings, home: Path) -> None:
    said = {}
    for notebook, figures in FIGURES.items():
        folder = home / notebook
        done = run(notebook, home, SEEDS="42", DURATION="4", FIGURES=str(folder))
        assert done.returncode == 0, done.stderr
        assert sorted(file.stem for file in folder.iterdir()) == figures
        for name in figures:
            assert image.imread(folder / f"{name}.png").std() > 0.05, f"{name} is blank"
        assert "model version 1" in done.stdout
        said[notebook] = done.stdout
    errors, threshold = said.values()
    assert re.search(r"[+-]0\.\d+  \w+ = ", errors), "contributions are told"
    cheap, own = (float(cost.replace(",", "")) for cost in re.findall(r"cost ([\d,.]+) an hour", threshold))
    assert cheap <= own


def drawn(folder: Path) -> list[str]:
    """Figures of a folder; none is blank."""
    files = sorted(folder.iterdir())
    assert all(image.imread(file).std() > 0.02 for file in files)
    return [file.stem for file in files]


def test_a_training_is_drawn(home: Path) -> None:
    done = run("02_train_and_evaluate", home, SEEDS="41,42,43", DURATION="3", FIGURES=str(home / "figures"))
    assert done.returncode == 0, done.stderr
    assert drawn(home / "figures") == ["calibration", "features", "learning", "rates", "unseen"]
    recall, low, high = map(float, re.findall(r"held out: recall ([\d.]+) \(([\d.]+) to ([\d.]+)\)", done.stdout)[0])
    assert 0 < low < recall < high < 1
    last = re.findall(r"1 of 1 seeds, [\d,]+ records: recall ([\d.]+)", done.stdout)
    assert [float(found) for found in last] == [recall], "the last step of the learning curve is the model itself"
    few = run("02_train_and_evaluate", home, SEEDS="41,42")
    assert few.returncode == 1
    assert "three are needed" in few.stderr


def test_a_change_is_seen_and_none_is_not(champion: Settings, home: Path) -> None:
    assert champion.scoring.alias == "champion"
    done = run("04_drift", home, HOURS="4", DURATION="4", FIGURES=str(home / "figures"))
    assert done.returncode == 0, done.stderr
    assert drawn(home / "figures") == ["farthest", "map", "scores", "truth"]
    alarms = [int(found) for found in re.findall(r"^hour \d+.*, (\d+) alarms", done.stdout, re.MULTILINE)]
    assert len(alarms) == 4
    assert max(alarms[:2]) < min(alarms[2:])
    wrong = run("04_drift", home, KINDS="gossip", HOURS="2", DURATION="1")
    assert wrong.returncode == 1
    assert "gossip" in wrong.stderr


@pytest.mark.parametrize("notebook", ["04_drift", "05_threshold_and_cost"])
def test_without_a_champion_they_say_so(notebook: str, home: Path) -> None:
    done = run(notebook, home)
    assert done.returncode == 1
    assert "no model registry" in done.stderr
    assert "flowlake train" in done.stderr


@pytest.fixture
def hunted(settings: Callable[..., Settings]) -> cookbookdata.Data:
    """A lake with a thief in it."""
    data = cookbookdata.Data()
    cookbookdata.into_lake(data, settings())
    return data


def test_a_hunt_finds_the_thief(hunted: cookbookdata.Data, home: Path) -> None:
    done = run("06_a_hunt", home, FIGURES=str(home / "figures"))
    assert (done.returncode, done.stderr) == (0, "")
    names = ["amounts", "pair", "place", "source"]
    assert sorted(file.stem for file in (home / "figures").iterdir()) == names
    assert all(image.imread(home / "figures" / f"{name}.png").std() > 0.05 for name in names)
    assert f"{cookbookdata.THIEF} to {cookbookdata.DROP}" in done.stdout
    scan = next(row for row in hunted.rows if row["src_ip"] == cookbookdata.SCANNER)
    other = run("06_a_hunt", home, FIGURES=str(home / "figures"), FLOW=scan["flow_id"])
    assert f"the story of {cookbookdata.SCANNER}" in other.stdout, other.stderr
    assert "SYN_SCAN" in other.stdout


def test_a_hunt_without_a_flow_says_so(hunted: cookbookdata.Data, home: Path) -> None:
    assert len(hunted.rows) > 0
    done = run("06_a_hunt", home, FLOW="0" * 36)
    assert done.returncode == 1
    assert "the lake holds no flow 0000" in done.stderr
