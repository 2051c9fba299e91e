"""The notebooks on errors, on the threshold and for a hunt, executed top to bottom on generated traffic."""

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
from jobs.training.fit import Choices, fit
from jobs.training.generated import generated_flows
from schemas.packets import FLOWS
from tests import cookbookdata

pytestmark = pytest.mark.e2e

FIGURES = {
    "03_errors_and_explanations": ["attacks", "confusion", "contributions", "scores"],
    "05_threshold_and_cost": ["cheapest", "cost", "rates"],
}


@pytest.fixture
def champion(settings: Callable[..., Settings]) -> Settings:
    """A registry with a champion that was trained on some seconds."""
    made = settings()
    flows = generated_flows([41], duration_s=8, progress=lambda _: None)
    fitted = fit(flows, flows, Choices(features=12))
    about = Training("a test", {}, {})
    model = fitted.model
    register(
        made, FLOWS, fitted.estimator, columns=model.columns, threshold=model.threshold, training=about, promote=True, usual=model.usual
    )
    return made


def run(notebook: str, home: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"FLOWLAKE_HOME": str(home), "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, str(ROOT / "notebooks" / f"{notebook}.py")]
    return subprocess.run(command, cwd=home, env=environment | more, capture_output=True, text=True, timeout=200)


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


def test_without_a_champion_they_say_so(home: Path) -> None:
    done = run("05_threshold_and_cost", home)
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
