"""What the documentation shows in blocks marked ``bash test`` is run, as a reader would: in order, in a folder of one's own."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.cicflowmeter import COLUMNS, LABEL

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md",)


def marked(page: str) -> list[str]:
    """Texts of the blocks ``bash test`` of a page."""
    parts = (ROOT / page).read_text(encoding="utf-8").split("```bash test\n")[1:]
    return [part.partition("```")[0] for part in parts]


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run shell text with the environment's commands on the path."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "FLOWLAKE_HOME": str(folder), "NO_COLOR": "1"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.e2e
@pytest.mark.parametrize("page", PAGES)
def test_marked_blocks_run(page: str, tmp_path: Path) -> None:
    blocks = marked(page)
    assert blocks
    for text in blocks:
        done = shell(text, tmp_path)
        assert done.returncode == 0, done.stderr
    (table,) = tmp_path.glob("*.csv")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert {"BENIGN", "SYN_SCAN"} <= {row[LABEL] for row in rows}
    assert "NeedManualLabel" not in {row[LABEL] for row in rows}


@pytest.mark.e2e
def test_looks_around(tmp_path: Path) -> None:
    done = shell("flowlake --help && flowlake --version && FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS=b:1 flowlake config show --json", tmp_path)
    assert done.returncode == 0, done.stderr
    overview, _, shown = done.stdout.partition("\n{")
    assert "Usage: flowlake" in overview
    assert json.loads("{" + shown)["kafka"]["bootstrap_servers"] == "b:1"


@pytest.mark.e2e
def test_doctor_says_what_to_do(tmp_path: Path) -> None:
    done = shell("flowlake doctor --json", tmp_path)
    assert done.returncode in (0, 1), done.stderr
    findings = json.loads(done.stdout)
    assert {"python", "JDK", "memory", "capture", "model"} <= {f["check"] for f in findings}
    assert all(f["mend"] for f in findings if f["state"] != "ok")
    assert (done.returncode == 1) == any(f["state"] == "missing" for f in findings)
