"""The tutorial "an analyst's first hour", as a reader would follow it; and the notebook, on what else a lake may hold."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image as image
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import write_deltalake

from infra.config import ROOT, Settings
from jobs.runtime import lake
from jobs.sinks.parquet import PARTITION, lake_rows
from schemas.packets import FLOWS
from tests import cookbookdata
from tests.e2e.test_readme import marked
from tests.sinksdata import table

pytestmark = pytest.mark.e2e

FIGURES = ("flows-over-time", "attack-types", "confidence", "top-talkers", "durations")


@pytest.fixture
def demo(settings: Callable[..., Settings], database: dict[str, Any], home: Path) -> cookbookdata.Data:
    """Stores as a demo leaves them, below the place where it has them."""
    data = cookbookdata.Data()
    places = {"hot": database, "alerts": database, "lake": {"path": "var/demo/lake/flows"}}
    made = settings(**places)
    cookbookdata.into_postgres(data, made.hot)
    cookbookdata.into_lake(data, made)
    (home / "var/demo").mkdir(exist_ok=True, parents=True)
    known = {"host", "port", "user", "database"}
    written = {name: {key: value for key, value in place.items() if key in known | {"path"}} for name, place in places.items()}
    (home / "var/demo/conf.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    (home / "notebooks").symlink_to(ROOT / "notebooks")
    return data


def run(text: list[str], home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "FLOWLAKE_HOME": str(home), "NO_COLOR": "1", "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(text, cwd=home, env=environment, capture_output=True, text=True, timeout=200)


def test_the_tutorial(demo: cookbookdata.Data, home: Path) -> None:
    blocks = marked("docs/tutorials/analysts-first-hour.md")
    assert len(blocks) >= 8
    done = run(["bash", "-euo", "pipefail", "-c", "\necho ----\n".join(blocks)], home, FLOWLAKE_CONF="var/demo/conf.yaml")
    assert done.returncode == 0, done.stderr
    there, happened, plan, alerts, behind, host, plots, verdict, resolved, _ = done.stdout.split("----\n")
    assert "archive.flowlake.archived_flows" in there
    assert str(len(demo.rows)) in there
    assert "SYN_SCAN" in happened
    assert "Filters" in plan
    assert "SYN_FLOOD" in alerts
    assert cookbookdata.SCANNER in behind
    assert cookbookdata.SCANNED in host
    assert "60" in host
    assert all(f"{name}.png" in plots for name in FIGURES)
    assert "analyst_says" in verdict
    assert "BENIGN" in verdict
    assert "resolved by anna" in resolved
    with (home / "attacks.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == sum(row["predicted_label"] for row in demo.rows)
    assert pq.read_metadata(home / "training.parquet").num_rows == len(demo.rows) - 7
    for name in FIGURES:
        drawn = image.imread(home / "var/explore" / f"{name}.png")
        assert drawn.std() > 0.05, f"{name} is blank"


@pytest.mark.parametrize("flows", [[], [{"at": 0}], [{"at": n * 86_400, "flow_duration": 10**n} for n in range(9)]])
def test_the_notebook_on_little(flows: list[dict[str, Any]], settings: Callable[..., Settings], home: Path) -> None:
    made = settings()
    write_deltalake(lake.location(made, FLOWS), lake_rows(table(flows), FLOWS), partition_by=[PARTITION])
    done = run([sys.executable, "-W", "error", str(ROOT / "notebooks" / "01_explore_the_lake.py")], home, FIGURES=str(home / "figures"))
    if flows:
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(file.stem for file in (home / "figures").iterdir()) == sorted(FIGURES)
    else:
        assert done.returncode == 1
        assert "no flows yet" in done.stderr
