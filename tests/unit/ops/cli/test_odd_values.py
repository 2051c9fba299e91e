"""Values at the edge of what there is - days, numbers, links, pipes, names - are refused in a line, or shown so that they do no harm."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from infra import config
from infra.console import times
from infra.errors import ConfigError
from jobs.moving.report import FileReport
from ops.cli import migrate, results
from ops.cli.main import main


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and what is said."""
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return int(end.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "9999-12-31"])
def test_days_that_no_store_can_be_asked_for(capsys: pytest.CaptureFixture[str], day: str) -> None:
    code, said = refused(capsys, "quality", "run", "--day", day)
    assert (code, said.splitlines()[0]) == (2, f"error: --day {day} is not between 1970-01-01 and 2199-12-31")


@pytest.mark.parametrize("text", ["999999d", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "١٥m"])
def test_moments_beyond_all_times(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time"):
        times.since(text)


@pytest.mark.parametrize(
    "words",
    [
        ("lake", "history", "flows", "-n"),
        ("quarantine", "list", "--limit"),
        ("logs", "-n"),
        ("lake", "lifecycle", "apply", "--dry-run", "--expire-days"),
        ("lake", "lifecycle", "apply", "--dry-run", "--glacier-days"),
    ],
)
def test_numbers_that_nothing_counts_to(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, said = refused(capsys, *words, "99999999999999999999")
    assert code == 2
    assert "less than or equal to" in said


@pytest.mark.parametrize("words", [("csv",), ("compare", "--from", "2026-03-01", "--csv")])
def test_a_link_to_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]) -> None:
    link = tmp_path / "l2"
    link.symlink_to("l2")
    code, said = refused(capsys, "migrate", *words, str(link))
    assert (code, said.splitlines()[0]) == (9, f"error: CSV file {link}: {os.strerror(40)}")


def test_a_pipe_that_nobody_serves(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    rows = pa.RecordBatchReader.from_batches(pa.schema([]), [])
    with pytest.raises(ConfigError, match="is no plain file"):
        results.write(rows, results.ResultFormat.csv, pipe, 0)
    code, said = refused(capsys, "lake", "label", "import", str(pipe))
    assert (code, said.splitlines()[0]) == (3, f"error: {pipe}: is no plain file")


def test_a_pipe_gets_all_of_it_before_its_reader_sees_an_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for _ in range(50):
        reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
        try:
            rows = pa.table({"x": [1, 2]}).to_reader()
            while True:
                try:
                    results.write(rows, results.ResultFormat.csv, pipe, 0)
                    break
                except ConfigError:  # the reader has not come to it yet
                    time.sleep(0.001)
            assert reader.communicate(timeout=20)[0].split() == [b"x", b"1", b"2"]
        finally:
            reader.kill()


@pytest.mark.parametrize("memory", ["-1GB", "-1", "none", "null", "0GB", "", "banana"])
def test_memory_without_a_limit(capsys: pytest.CaptureFixture[str], memory: str) -> None:
    code, said = refused(capsys, "sql", "--memory", memory, "select 1")
    assert (code, said.splitlines()[0]) == (2, f"error: --memory {memory!r} is no size")


def test_what_steers_a_terminal_is_shown_in_tables_and_kept_in_data() -> None:
    text, name = "\x1b[31mred\nnext\r", "a\x07"
    found = {}
    for form in (results.ResultFormat.table, results.ResultFormat.csv):
        into = io.StringIO()
        batch = pa.record_batch({name: [text]})
        results._written(pa.RecordBatchReader.from_batches(batch.schema, [batch]), form, into, 0)
        found[form] = into.getvalue()
    assert not {"\x1b", "\r", "\x07"} & set(found[results.ResultFormat.table])
    assert r"\x1b[31mred" in found[results.ResultFormat.table]
    assert text in found[results.ResultFormat.csv]


def test_labels_of_a_report_are_printable_and_short() -> None:
    report = FileReport("\x1b]0;.csv", rows=2, extra=("\x1b[2J",), rejects_file="\x9b")
    report.labels = Counter({"\x1b[2J": 1, "x" * 100_000: 1})
    report.reasons, report.notes = Counter({"\x1b[1m": 1}), Counter({"\x1b[1m": 1})
    lines = list(migrate._lines(report, "UTC"))
    assert all(line.isprintable() and len(line) < 500 for line in lines), lines
    assert any(r"\x1b[2J 1, xxx" in line for line in lines)


def test_a_configured_path_that_is_a_link_to_itself(tmp_path: Path) -> None:
    link = tmp_path / "l2"
    link.symlink_to("l2")
    assert config.load().path(str(link)) == link, "whoever opens it says what is wrong"


@pytest.mark.parametrize("words", ["DESCRIBE SELECT", " /* all */ summarize SELECT", "\n-- all\ndescribe SELECT"])
def test_what_is_said_of_a_table_is_said_of_all_its_columns(capsys: pytest.CaptureFixture[str], words: str) -> None:
    question = f"{words} {', '.join(f'1 AS c{n}' for n in range(150))}"
    for limit, told in (([], "150 rows"), (["--limit", "5"], "the first 5 rows; --limit 0 shows all")):
        with pytest.raises(SystemExit):
            main(["sql", question, *limit])
        assert told in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sql", "SELECT unnest(range(150))"])
    assert "the first 100 rows" in capsys.readouterr().out
