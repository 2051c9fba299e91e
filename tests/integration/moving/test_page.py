"""The page on moving in: its commands and queries run, in their order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from infra.config import ROOT
from tests.integration.moving.conftest import Mover
from tests.integration.moving.test_sqlite import GIVEN, made
from tests.integration.sinkbench import run as sql
from tests.movingdata import row, text

pytestmark = pytest.mark.integration
PAGE = (ROOT / "docs" / "how-to" / "move-from-csv-and-sqlite.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|sql)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_walk_through(mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "alerts.db", GIVEN)
    # Before the week in which both are written, and in it.
    lines = [row(n, Timestamp=f"2026-02-2{n % 8}T10:00:{n % 60:02d}.{n:06d}") for n in range(50)]
    (tmp_path / "live_captured_traffic.csv").write_text(text(lines))
    ran: list[tuple[str, int]] = []
    answers = []
    for kind, block in BLOCKS:
        if kind == "sql":
            answers.append(sql(mover.settings.hot, block.strip().rstrip(";")))
            continue
        for line in block.splitlines():
            words = shlex.split(line)
            if words[:2] == ["flowlake", "migrate"]:
                ran.append((words[2], mover(*words[2:])[0]))
    moved = [("csv", 0), ("csv", 0), ("sqlite", 0), ("compare", 0), ("compare", 0), ("csv", 0), ("rotate", 0), ("rotate", 0)]
    assert ran == moved
    assert len(answers[0]) == 5
    assert sql(mover.settings.hot, "SELECT count(*) FROM network_flows") == [(0,)]
    (piece,) = tmp_path.glob("live_captured_traffic-*.csv")
    assert piece.read_text() == text(lines)
