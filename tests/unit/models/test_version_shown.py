"""What is told of a version: all columns, and which records it was trained on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.models.gates import CLOSED, Gate
from jobs.models.versions import Version, trained_on
from ops.cli.modeltables import show_gates, show_version, show_versions
from schemas.features import FEATURE_NAMES

ONE = Version(
    model="flowlake-flows",
    version="3",
    aliases=("champion",),
    created=datetime(2026, 1, 5, tzinfo=UTC),
    threshold=0.5,
    columns=tuple(FEATURE_NAMES),
    retired=None,
    facts={"training_data": "labelled records monday.csv", "data_version": "sha256:" + "0123456789abcdef" * 4, "ms_per_1000": "3.2"},
    metrics={"random_recall": 0.8},
    params={},
)


def test_which_records_it_was_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    strata = [
        {"label": "BENIGN", "day": "2026-01-05", "seen": 9000, "kept": 500, "weight": 18.0},
        {"label": "BENIGN", "day": "2026-01-07", "seen": 100, "kept": 100, "weight": 1.0},
        {"label": "[red]scan", "day": "", "seen": 7, "kept": 7, "weight": 1.0},
    ]
    about = {"data": "labelled records of 2 files, the first a.csv", "files": ["a.csv", "b.csv"], "notes": ["3 dropped"], "strata": strata}
    show_version(ONE, [], about)
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line.startswith("│")]
    assert ["BENIGN", "9,100", "600", "2026-01-05", "2026-01-07", "2"] in rows
    assert ["[red]scan", "7", "7", "-", "-", "-"] in rows
    assert "file: b.csv" in shown
    assert "Note: 3 dropped" in shown


def test_all_columns_are_shown_and_a_version_without_an_account_too(capsys: pytest.CaptureFixture[str]) -> None:
    show_version(ONE, [], {})
    shown = capsys.readouterr().out
    together = "".join(line.strip("│").split("│")[-1].strip() for line in shown.splitlines() if line.startswith("│"))
    assert all(name in together.replace(" ", "") for name in FEATURE_NAMES)
    assert max(map(len, shown.splitlines())) < 140, "a table in a file is no wider than it must be"
    assert "Trained on" not in shown


def test_a_list_has_the_beginning_of_a_checksum(capsys: pytest.CaptureFixture[str]) -> None:
    show_versions([ONE])
    shown = "".join(line.strip("│").split("│")[-1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│"))
    assert "monday.csvsha256:0123456789ab..." in shown.replace(" ", "")
    show_version(ONE, [], {})
    assert "0123456789abcdef" * 4 in capsys.readouterr().out


def test_why_a_gate_is_closed_is_told_to_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    said = "0.701 -> 0.529 of 311 records (82 lost, 11 gained; difference -0.282 to -0.172), -0.020 at least (gates.recall_margin)"
    show_gates([Gate("recall", CLOSED, said)])
    shown = " ".join(line.strip("│").split("│")[-1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│"))
    assert said in shown


def test_a_version_that_was_trained_on_a_file_is_not_judged_by_it_unsaid(tmp_path: Path) -> None:
    file = tmp_path / "monday.csv"
    file.write_text("a\n1\n")
    one = replace(ONE, facts={"data_version": f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"})
    assert "version 3 was trained on this very file" in trained_on(one, file)
    file.write_text("a\n2\n")
    assert trained_on(one, file) == ""
    assert trained_on(one, tmp_path) == ""
    assert trained_on(replace(ONE, facts={"data_version": "flows@1+labels@3"}), file) == ""
