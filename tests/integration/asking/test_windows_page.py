"""The questions of the how-to of windows, as they stand there, on a hot store and a lake with windows of the last minutes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.config import ROOT, Settings
from ops.cli.main import main
from schemas.windows import SIZES
from tests.sinksdata import T0
from tests.windowsdata import table
from tests.windowstores import fill, lead

pytestmark = pytest.mark.integration
PAGE = ROOT / "docs" / "how-to" / "look-at-sources.md"
QUESTIONS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def planted(tables: dict[str, Any], settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scanner that all sizes see, a host that calls home, one that does nothing, each in the last minutes."""
    where = settings(hot=tables, alerts=tables, lake={"path": str(home / "lake" / "flows")})
    lead(where, home, monkeypatch)
    now = int((datetime.now(UTC) - T0).total_seconds())
    fill(where, home, {size: table(size, seen(size, (now // size - 2) * size)) for size in SIZES})


def seen(size: int, begin: int) -> list[dict[str, Any]]:
    """Windows of one size; ``begin``: seconds after :data:`tests.sinksdata.T0`."""
    return [
        {"at": begin, "src_ip": "6.6.6.6", "attack_type": "SYN_SCAN", "flows_started": 9.0 * size, "failed_ratio": 0.5},
        {"at": begin, "src_ip": "10.0.0.9", "flows_started": 1.0, "beats": 5.0 * (size == 180), "beat_period": 61.0},
        {"at": begin - size, "src_ip": "10.0.0.9", "flows_started": 1.0, "beat_age": 900.0, "complete": 1},
    ]


def asked(capsys: pytest.CaptureFixture[str], question: str) -> list[dict[str, Any]]:
    with pytest.raises(SystemExit) as end:
        main(["sql", "--format", "json", question])
    out = capsys.readouterr()
    assert not end.value.code, out.err
    return [json.loads(line) for line in out.out.splitlines()] if not out.out.startswith("[") else json.loads(out.out)


def test_the_questions_of_the_page_are_answered(planted: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(QUESTIONS) == 4
    most, sizes, regular, incomplete = (asked(capsys, question) for question in QUESTIONS)
    assert [(row["src_ip"], row["most"], row["failed"], row["windows"]) for row in most] == [
        ("6.6.6.6", 270, 0.5, 1),
        ("10.0.0.9", 1, 0, 2),
    ]
    assert sizes == [{"src_ip": "6.6.6.6", "attack_type": "SYN_SCAN", "of_5_s": 1, "of_30_s": 1, "of_180_s": 1}]
    assert regular == [{"src_ip": "10.0.0.9", "beats": 5, "period": 61, "age": 0}]
    assert sum(row["windows"] for row in incomplete) == 3
    assert sum(row["incomplete"] * row["windows"] for row in incomplete) == pytest.approx(2)
