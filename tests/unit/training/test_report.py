"""What ``flowlake train`` tells: the tables, JSON without undefined numbers, the card in a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from infra.errors import ModelError
from jobs.sources.packets.commands.train import train
from jobs.training.fit import CANDIDATES
from jobs.training.terminal import _next
from tests.unit.evaluation.planted import site_traffic


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled records of three days with flowlake's columns; an attack's name is hostile, and 60 rows come again."""
    flows = site_traffic(400)
    x = np.zeros((400, len(CANDIDATES)))
    x[:, :3] = flows.x
    columns: dict[str, object] = {name: x[:, i] for i, name in enumerate(CANDIDATES)}
    columns["Label"] = ["<b>[red]scan" if label == "SYN_SCAN" else label for label in flows.y.tolist()]
    columns["Timestamp"] = [f"{day} 10:00:00" for day in flows.group.tolist()]
    table = pa.table(columns)
    file = tmp_path_factory.mktemp("records") / "labelled.parquet"
    again = table.slice(0, 60)  # other flows, of the same values
    later = pa.array([time.replace(":00:00", ":00:01") for time in again["Timestamp"].to_pylist()])
    again = again.set_column(again.schema.get_field_index("Timestamp"), "Timestamp", later)
    pq.write_table(pa.concat_tables([table, again]), file)
    return file


def run(*arguments: object) -> str:
    """What the command prints on standard output, or why it fails."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(train)
    done = CliRunner().invoke(app, ["--no-register", "--features", "3", *map(str, arguments)], env={"COLUMNS": "200"})
    return done.stdout if done.exception is None else str(done.exception)


@pytest.mark.slow
def test_tables_notes_and_card(records: Path, tmp_path: Path) -> None:
    file = tmp_path / "card.html"
    shown = run("--records", records, "--splits", "attack", "--card", file)
    for title in ("Detection quality at threshold", "By label (random)", "Attacks left out of the training"):
        assert title in shown
    assert "<b>[red]scan" in shown
    assert "Note: left out" not in shown
    assert re.search(r"Note: \d+ of \d+ test rows of the split random are also in the training", shown)
    assert "false alarms an hour" in shown
    card = file.read_text(encoding="utf-8")
    assert "labelled records labelled.parquet" in card
    assert "flowlake train --records labelled.parquet --features 3 --max-fpr 0.001 --family auto --novelty-fpr 0.0002" in card
    assert "<b>[red]" not in card


def test_the_command_of_a_card_trains_the_same_model(records: Path, tmp_path: Path) -> None:
    file = tmp_path / "card.html"
    options = ("--splits", "none", "--family", "forest", "--novelty-fpr", 0, "--seed", 3, "--rows", 150)
    shown = run("--records", records, *options, "--card", file)
    assert "Version: none, not registered" in shown
    assert f"Card: {file}" in shown
    told = "--records labelled.parquet --rows 150 --features 3 --max-fpr 0.001 --family forest --novelty-fpr 0 --seed 3"
    card = file.read_text(encoding="utf-8")
    assert f"flowlake train {told}" in card
    assert "ms of one core for 1,000 records" in card
    assert "What it learned from" in card


@pytest.mark.slow
def test_json_has_the_whole_account(records: Path) -> None:
    report = json.loads(run("--records", records, "--splits", "day", "--json"))
    assert list(report["quality"]) == ["random", "by_day"]
    assert report["evaluation"]["parts"]["by_day"]["quality"] == report["quality"]["by_day"]
    assert report["evaluation"]["unseen"] == []
    assert report["evaluation"]["parts"]["random"]["leak"]["dropped"] > 0
    low, high = (report["evaluation"]["parts"]["random"]["intervals"]["recall"][end] for end in ("low", "high"))
    assert low <= report["quality"]["random"]["recall"] <= high
    assert report["evaluation"]["site"]["attack_share"] == 0.01


def test_many_duplicates_are_refused_where_asked(records: Path) -> None:
    said = run("--records", records, "--splits", "none", "--duplicates", "refuse")
    assert "test rows" in said
    assert "are also in the training" in said


def test_too_few_records_are_refused(records: Path, tmp_path: Path) -> None:
    table = pq.read_table(records)
    benign = pc.equal(table.column("Label"), "BENIGN")
    few = pa.concat_tables([table.filter(benign), table.filter(pc.invert(benign)).slice(0, 9)])
    pq.write_table(few, tmp_path / "few.parquet")
    said = run("--records", tmp_path / "few.parquet")
    assert f"labelled records few.parquet: {few.num_rows - 9} benign records and 9 of attacks, too few to learn from" in said


def test_a_card_that_cannot_be_written_is_known_before_the_work(records: Path, tmp_path: Path) -> None:
    said = run("--records", records, "--card", tmp_path / "no" / "card.html")
    assert "no folder" in said


def test_an_unknown_split_is_named(records: Path) -> None:
    said = run("--records", records, "--splits", "weekday")
    assert "no part 'weekday'" in said


def test_what_comes_next_needs_a_champion_where_it_compares_with_one() -> None:
    assert "compare champion 3" in _next("3", "F1 0.9 on the held-out records, champion 2 has 0.8")
    alone = _next("1", "")
    assert ("compare" in alone, "--force --reason" in alone) == (False, True)


def test_what_was_trained_is_told_though_its_promotion_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: object) -> None:
        raise ModelError("model registry x: it is away")

    monkeypatch.setattr("jobs.training.train.train", lambda *_, **__: SimpleNamespace(version="7", card="<html>"))
    monkeypatch.setattr("jobs.models.newcomer.settle", fails)
    monkeypatch.setattr("jobs.training.terminal.show", lambda report, settled, _: print(f"version {report.version}: {settled.state()}"))
    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, ["--card", str(tmp_path / "card.html"), "--promote"])
    card = tmp_path / "card.html"
    assert result.stdout == f"version 7: it waits: model registry x: it is away\nCard: {card}\n"
    assert str(result.exception) == "model registry x: it is away"
    assert card.read_text() == "<html>"
