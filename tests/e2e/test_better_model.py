"""The tutorial "from traffic to a better model", as a reader would follow it: with a broker, a stream, a lake and a registry of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.config import ROOT
from infra.jvm import jars
from infra.process import free_port
from tests.e2e.test_readme import marked

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

PAGE = "docs/tutorials/traffic-to-a-better-model.md"
#: Attacks that the first model has not been shown.
NEW = ("DNS_TUNNEL", "FTP_BRUTE_FORCE", "SLOWLORIS")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a reader: ports of its own, and a terminal that is wide enough. What is left running is stopped."""
    for section in ("broker", "spark"):
        jars.ensure(section)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOWLAKE_")} | {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": str(ROOT),
        "FLOWLAKE_JARS": str(jars.folder("broker").parent),
        "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "FLOWLAKE_HOT__PORT": str(free_port()),
        "FLOWLAKE_ALERTS__PORT": str(free_port()),
        "FLOWLAKE_METRICS__STREAM_PORT": "0",
        "FLOWLAKE_SCORING__MAX_MS_PER_1000": "100",  # how quick this machine is, is not what the page teaches
        "FLOWLAKE_RETRAIN__SPLITS": "[]",  # what the page of a retraining says of days and kinds left out is tested elsewhere
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    yield environment
    run(["flowlake", "down"], tmp_path, environment | {"FLOWLAKE_HOME": str(tmp_path / "life")})


def run(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=1700)


def quality(version: str, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What a version says of Wednesday, which neither was trained on."""
    words = ["flowlake", "models", "score", version, str(folder / "wednesday.csv"), "--json"]
    found: dict[str, Any] = json.loads(run(words, folder, environment | {"FLOWLAKE_HOME": str(folder)}).stdout)["quality"]
    return found


def test_from_traffic_to_a_better_model(shell: dict[str, str], tmp_path: Path) -> None:
    blocks = marked(PAGE)
    done = run(["bash", "-euo", "pipefail", "-c", "\necho ----\n".join(blocks)], tmp_path, shell)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = done.stdout.split("----\n")
    assert len(said) == len(blocks) == 18
    _, _, _, account, shown, _, stopped, kinds, pairs, known, found, chosen, looked, trained, compared, scored, forth, back = said
    assert "Attacks left out of the training" in account
    assert "champion" in shown
    assert "stream    stopped" in stopped
    assert "SSH_BRUTE_FORCE" in kinds
    assert not any(name in kinds for name in NEW), "a model names what it was shown"
    assert {"21", "53"} <= set(pairs.split())
    assert all(", 0 rejected" in part for part in (known, found, looked))
    assert re.search(r"look.csv: [3-6]\d\d records", chosen)
    assert "challenger" in trained
    assert "gates open" in trained
    assert all(name in compared for name in NEW)
    assert scored.count("macro-F1") == 2
    assert "champion: version 2 (was: 1)" in forth
    assert "champion: version 1 (was: 2)" in back
    assert "too many false alarms" in back

    life = tmp_path / "life"
    first, second = quality("1", life, shell), quality("2", life, shell)
    before, after = ({one["label"]: one["flagged"] / one["records"] for one in of["labels"]} for of in (first, second))
    assert second["recall"] > first["recall"] + 0.1
    assert second["macro_f1"] > first["macro_f1"] + 0.15
    assert second["false_positive_rate"] < 0.02
    for name in NEW:
        assert after[name] > before[name] + 0.15, name
    assert (life / "first.html").stat().st_size > 10_000
    history = json.loads(run(["flowlake", "models", "list", "--json"], life, shell | {"FLOWLAKE_HOME": str(life)}).stdout)
    assert {one["version"]: "champion" in one["aliases"] for one in history} == {"2": True, "1": False}
