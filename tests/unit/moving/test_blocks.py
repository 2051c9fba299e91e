"""Where a file is cut, and where reading it is taken up again, does not show in its rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import InputError
from jobs.moving import csvfile
from jobs.moving.cells import cells
from jobs.moving.columns import recognise
from jobs.moving.convert import Converter, Reject
from jobs.moving.csvfile import Block, CsvFile, Position, tail_of
from jobs.moving.times import TimeReading
from schemas.packets import FLOWS
from tests.movingdata import row, rows, text

_TWIN = text([row(50)], header=False)
CONTENT = text(rows(50)) + _TWIN * 3 + text(rows(20, 51)) + "\r\n\nbroken,line\n" + text(rows(20, 80), header=False) + _TWIN


def made(path: Path, after: Position | None = None) -> tuple[pa.Table, list[Reject], list[Position]]:
    file = CsvFile(path)
    converter = Converter(FLOWS, file, recognise(FLOWS, file), TimeReading())
    tables, rejects, positions = [], [], []
    for block in file.blocks(after):
        done = converter.convert(block)
        assert done.lines == done.rows.num_rows + len(done.rejects) + done.headers + done.blank + done.outside
        tables.append(done.rows)
        rejects += done.rejects
        positions.append(Position(block.end, block.tail))
    return pa.concat_tables(tables), rejects, positions


@pytest.mark.parametrize("size", [pytest.param(200, marks=pytest.mark.slow), pytest.param(512, marks=pytest.mark.slow), 1000, 3333])
def test_blocks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    file = tmp_path / "live.csv"
    file.write_text(CONTENT)
    whole, rejects, _ = made(file)
    assert whole.num_rows == 50 + 3 + 20 + 20 + 1
    assert len(set(whole["flow_id"].to_pylist())) == whole.num_rows - 1, "the last twin stands elsewhere: it is the first of its kind again"
    assert [(reject.line, reject.reason) for reject in rejects] == [(78, "number of fields")]
    monkeypatch.setattr(csvfile, "BLOCK", size)
    cut, cut_rejects, positions = made(file)
    assert cut.equals(whole)
    assert cut_rejects == rejects
    for number in range(0, len(positions) - 1, 1 + len(positions) // 20):
        rest, _, _ = made(file, positions[number])
        assert rest.num_rows <= whole.num_rows - (number > 0)
        assert rest.equals(whole.slice(whole.num_rows - rest.num_rows))


def test_a_position_of_another_content_is_known(tmp_path: Path) -> None:
    file = tmp_path / "live.csv"
    file.write_text(CONTENT)
    content = CONTENT.encode()
    for offset in (100, 5000, len(content)):
        assert CsvFile(file).holds(Position(offset, tail_of(content[:offset])))
    assert not CsvFile(file).holds(Position(5000, tail_of(content[:4999])))
    assert not CsvFile(file).holds(Position(len(content) + 1, tail_of(content)))


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvfile, "LONGEST_LINE", 10_000)
    monkeypatch.setattr(csvfile, "BLOCK", 1000)
    file = tmp_path / "live.csv"
    file.write_text(text(rows(3)) + "x" * 1_000_000)
    with pytest.raises(InputError, match="line 5 is longer than"):
        list(CsvFile(file).blocks())


_FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=6)
_LINES = st.lists(st.one_of(st.lists(_FIELD, min_size=3, max_size=3), st.lists(_FIELD, min_size=1, max_size=5)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(_LINES, st.data())
def test_fields_are_those_of_pythons_reader(lines: list[list[str]], data: st.DataObject) -> None:
    out = io.StringIO()
    for line in lines:
        csv.writer(out, lineterminator="\n", quoting=data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))).writerow(line)
    content = out.getvalue()
    raw = content.split("\n")[:-1]
    done = cells(Block(content.encode(), 0, 1, ""), ",", 3, [0, 2])
    good = [line for line, shown in zip(lines, raw, strict=True) if len(line) == 3 and shown.strip()]
    assert done.table.to_pydict() == {"0": [line[0] for line in good], "2": [line[2] for line in good]}
    assert len(done.rows) + len(done.rejected) + done.blank == len(lines)
