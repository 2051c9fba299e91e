"""Tables on wide and narrow terminals, and in a pipe."""

from __future__ import annotations

import pytest
from rich.text import Text

from infra.kafka.topics import Report, TopicState
from infra.stack.parts import PartState
from jobs.scoring.outlook import ModelView, Refusal
from ops.cli import tables

LAKE = "/srv/some/where/[else]/projects/of a team/flowlake/var/lake/flows-of-this-year"
PARTS = [
    PartState("kafka", "ready", "127.0.0.1:19092", 12345, 512, 83.0),
    PartState("lake", "running", LAKE, detail="(alerts, hot, lake, meter)"),
    PartState("postgres", "stopped", "[2001:db8::1234:5678:9abc:def0]:15432"),
]


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int | None) -> list[str]:
    """Lines of the parts on a terminal of so many columns, None: in a pipe."""
    monkeypatch.setenv("COLUMNS", str(columns or 80))
    monkeypatch.setattr("sys.stdout.isatty", lambda: columns is not None)
    console = tables.console()
    view = tables.parts_view(PARTS, console)
    console.print(view, soft_wrap=isinstance(view, Text))
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [40, 60, 80, 132, 200, None])
def test_every_address_is_whole_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int | None
) -> None:
    lines = shown(monkeypatch, capsys, columns)
    for part in PARTS:
        assert [line for line in lines if part.address in line], lines
        assert [line for line in lines if part.name in line and part.state in line], lines
    assert any("pid 12345, 512 MiB, up 1 min 23 s" in line or "12345" in line for line in lines)


@pytest.mark.parametrize(("columns", "table"), [(80, False), (200, True), (None, True)])
def test_there_is_a_table_where_one_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int | None, table: bool
) -> None:
    lines = shown(monkeypatch, capsys, columns)
    assert any("│" in line for line in lines) is table
    assert all(len(line) <= (columns or 200) for line in lines if "│" in line)


@pytest.mark.parametrize("columns", [60, 80, None])
def test_the_name_of_a_topic_is_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int | None) -> None:
    name = "flowlake-production.raw-packets"
    monkeypatch.setenv("COLUMNS", str(columns or 80))
    monkeypatch.setattr("sys.stdout.isatty", lambda: columns is not None)
    differs = ("3 partitions, declared 8", "retention.ms 1, declared 86400000")
    tables.console().print(tables.topics_table(Report((TopicState(name, "", 8, 3, 1, 12_345_678, False, differs),))))
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split("│")[1].strip() for line in lines if line.count("│") > 2]
    assert name in cells


def test_models_that_score_and_those_that_were_refused(capsys: pytest.CaptureFixture[str]) -> None:
    view = ModelView("flows", 1_795_248_000.0, {"champion": "3"}, [Refusal("champion", "4", "model x version 4: is slow")], "no file", True)
    tables.console().print(tables.models_table([view]))
    out = capsys.readouterr().out
    assert "2026-11-21 08:00:00+00:00" in out
    assert "champion" in out
    assert view.problems == [
        "flows: champion version 4 is refused: model x version 4: is slow",
        "flows: nothing has the champion's alias, version 3 stays in force",
        "flows: the model registry is away, version 3 stays in force: no file",
    ]
