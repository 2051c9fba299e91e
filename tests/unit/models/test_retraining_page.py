"""The page of a retraining: counts are counts, figures have four digits."""

from __future__ import annotations

from pathlib import Path

from jobs.models import runpage, runstate


def test_counts_and_figures_as_people_read_them(tmp_path: Path) -> None:
    run = runstate.RetrainRun(tmp_path, "flows", {}, "now", {})
    metrics = {"random_records": 4825.0, "random_recall": 0.92931}
    run.done("train", {"version": "2", "threshold": 0.9443053094366414, "columns": ["a"], "metrics": metrics})
    flip = {"label": "BENIGN", "records": 7041, "both": 0, "first": 1, "second": 5, "neither": 7035, "retyped": 0}
    run.done("evaluate", {"champion": "1", "origin": "", "gates": [], "flips": [flip], "before": {"random_recall": 1.0}})
    page = runpage.render(run)
    for cell in ("4,825", "0.9293", "7,041", "1", "-"):
        assert f'<td class="n">{cell}</td>' in page
    assert "threshold 0.9443," in page
    assert ".0000" not in page
