"""A block of lines as columns of text: Arrow's reader, and line by line what that cannot take apart."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from jobs.moving.csvfile import LONGEST_LINE, Block

#: Why a line is rejected, whatever the columns mean.
FIELDS, QUOTES, NUL, ENCODING = "number of fields", "quotes", "NUL byte", "not UTF-8"


@dataclass
class Cells:
    """Fields of the lines of a block that could be taken apart.

    Attributes
    ----------
    table
        A column of text for each that was asked for, named by its place in the line (``"0"``, ...).
    rows
        Index in the block of the line of each row.
    rejected
        Index of a line -> why it could not be taken apart.
    blank
        Lines without anything.
    lines
        All lines, without their ends.
    """

    table: pa.Table
    rows: np.ndarray
    rejected: dict[int, str]
    blank: int
    lines: list[bytes] = field(repr=False)


def cells(block: Block, delimiter: str, width: int, wanted: Sequence[int], skip: int = 0) -> Cells:
    """Take a block apart.

    Parameters
    ----------
    block
        Whole lines.
    delimiter
        Between fields.
    width
        Fields of a line.
    wanted
        Places of the columns that are needed.
    skip
        Bytes at its beginning that are no text (a byte order mark).
    """
    lines = [line.rstrip(b"\r") for line in block.data[skip:].split(b"\n")]
    if not lines[-1]:
        lines.pop()
    rejected = _unreadable(block.data, lines)
    kept = [i for i, line in enumerate(lines) if line.strip() and i not in rejected]
    blank = len(lines) - len(kept) - len(rejected)
    good = lines if len(kept) == len(lines) else [lines[i] for i in kept]
    rows = np.array(kept, np.int64)
    table, odd = _by_arrow(good, delimiter, width, wanted) if good else (None, {})
    if table is None or table.num_rows + len(odd) != len(good):
        table, odd = _line_by_line(good, delimiter, width, wanted)
    if odd:
        rejected.update({kept[i]: why for i, why in odd.items()})
        rows = np.delete(rows, sorted(odd))
    return Cells(table, rows, rejected, blank, lines)


def _unreadable(data: bytes, lines: list[bytes]) -> dict[int, str]:
    """Lines that hold no text."""
    found = {i: NUL for i, line in enumerate(lines) if b"\0" in line} if b"\0" in data else {}
    try:
        data.decode()
    except UnicodeDecodeError:
        for i, line in enumerate(lines):
            try:
                line.decode()
            except UnicodeDecodeError:
                found.setdefault(i, ENCODING)
    return found


def _by_arrow(lines: list[bytes], delimiter: str, width: int, wanted: Sequence[int]) -> tuple[pa.Table | None, dict[int, str]]:
    odd: dict[int, str] = {}

    def refuse(row: arrow_csv.InvalidRow) -> str:
        odd[row.number - 1] = FIELDS
        return "skip"

    names = [str(i) for i in range(width)]
    content = b"\n".join([*lines, b""])
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(content),
            read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=len(content) + 1),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, invalid_row_handler=refuse, ignore_empty_lines=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[str(i) for i in wanted],
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid:
        return None, {}
    return table, odd


def _line_by_line(lines: list[bytes], delimiter: str, width: int, wanted: Sequence[int]) -> tuple[pa.Table, dict[int, str]]:
    csv.field_size_limit(LONGEST_LINE)
    columns: dict[int, list[str]] = {i: [] for i in wanted}
    odd: dict[int, str] = {}
    for i, line in enumerate(lines):
        try:
            found = next(csv.reader([line.decode()], delimiter=delimiter, strict=True))
        except (csv.Error, StopIteration):
            odd[i] = QUOTES
            continue
        if len(found) != width:
            odd[i] = FIELDS
            continue
        for place, values in columns.items():
            values.append(found[place])
    return pa.table({str(i): pa.array(values, pa.string()) for i, values in columns.items()}), odd
