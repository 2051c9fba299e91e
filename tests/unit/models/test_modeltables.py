"""Tables of models for people: what others have written is shown as it is, whatever Rich would make of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jobs.models.compare import Flips, ModelComparison
from jobs.models.versions import Version
from jobs.scoring.aliases import AliasChange
from ops.cli import modeltables

ODD = "[/b]\x1b[31m"


def version(**changes: object) -> Version:
    given = {
        "model": "flows", "version": "1", "aliases": ("champion",), "created": datetime(2026, 3, 1, tzinfo=UTC), "threshold": 0.5,
        "columns": ("flow_duration",), "retired": ODD, "facts": {"feature_version": ODD, "training_data": ODD, ODD: "x"},
        "metrics": {f"random_recall{ODD}": 0.5}, "params": {ODD: ODD},
    }  # fmt: skip
    return Version(**(given | changes))  # type: ignore[arg-type]


def test_markup_and_escapes_in_names_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    one = version()
    modeltables.show_versions([one])
    modeltables.show_version(one, [AliasChange("promote", "champion", None, "1", who=ODD, why=ODD, done=False)], {})
    modeltables.show_comparison(ModelComparison(one, one, f"3 records of {ODD}.csv", (Flips(ODD, 3, 1, 1, 1, 0, 0),)))
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out
    assert out.count("[/b]") >= 8
    assert "none -> 1 (interrupted)" in out
