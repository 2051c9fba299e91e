"""The answer of a question, written as a table, CSV, JSON or Parquet: batch by batch, however long it is (a table: so many rows)."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

from infra.console import looks
from infra.errors import ConfigError, StoreError, one_line
from infra.files import PartialFile
from infra.plurals import counted

if TYPE_CHECKING:
    import pyarrow as pa

#: What Arrow says of a time that Python has none for.
_NOT_PYTHONS = (ValueError, OverflowError, TypeError)


class ResultFormat(StrEnum):
    """How an answer is written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def format_of(given: ResultFormat | None, output: Path | None) -> ResultFormat:
    """The format that was asked for, else the one that the file's name ends in, else a table.

    Raises
    ------
    ConfigError
        Parquet is no text for a terminal; or the file's name ends in none of the formats.
    """
    if given is ResultFormat.parquet and output is None:
        raise ConfigError("--format parquet is no text", "add --output FILE.parquet")
    if given is not None or output is None:
        return given or ResultFormat.table
    ending = output.suffix.removeprefix(".").lower()
    if ending not in (ResultFormat.csv, ResultFormat.json, ResultFormat.parquet):
        raise ConfigError(f"--output {output}: its ending is none of .csv, .json, .parquet", "name the format: --format csv")
    return ResultFormat(ending)


def write(rows: pa.RecordBatchReader, form: ResultFormat, output: Path | None, limit: int) -> int:
    """Write all rows (as a table: ``limit`` of them, 0 for all); how many were written.

    A file appears under its name when it is whole.

    Raises
    ------
    ConfigError
        The file cannot be written.
    StoreError
        The disk is full, or a store went away.
    """
    if output is None:
        return _written(rows, form, sys.stdout, limit)
    with _file(output) as file:
        if form is ResultFormat.parquet:
            return _parquet(rows, file)
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        count = _written(rows, form, text, limit)
        text.detach()
        return count


@contextmanager
def _file(output: Path) -> Iterator[IO[bytes]]:
    try:
        with _held_open(output):
            partial = PartialFile(output)
    except OSError as e:
        raise ConfigError(f"--output {output}: {e.strerror}", "name a file in a folder that is there and can be written") from e
    try:
        with partial:
            yield partial.file
    except OSError as e:
        raise StoreError(f"--output {output}: {e.strerror or type(e).__name__}", "make room, or name another place") from e


@contextmanager
def _held_open(output: Path) -> Iterator[None]:
    """A named pipe that nobody reads would be waited for, for ever; one that is read is written to, as a device is.

    It stays open until it is opened for what is to be written: its reader would take the end of the first writer for the end of all.
    """
    held = None
    if output.is_fifo():
        try:
            held = os.open(output, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as e:
            if e.errno == errno.ENXIO:
                raise ConfigError(
                    f"--output {output}: is no plain file, but a named pipe that nobody reads", "start its reader first, or name a file"
                ) from e
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def _written(rows: pa.RecordBatchReader, form: ResultFormat, into: TextIO, limit: int) -> int:
    if form is ResultFormat.csv:
        return _csv(rows, into)
    return _json(rows, into) if form is ResultFormat.json else _table(rows, into, limit)


def _csv(rows: pa.RecordBatchReader, into: TextIO) -> int:
    writer = csv.writer(into, lineterminator="\n")
    writer.writerow(rows.schema.names)
    count = 0
    for batch in rows:
        writer.writerows(zip(*([_text(value) for value in values(column)] for column in batch.columns), strict=True))
        count += batch.num_rows
    return count


def _text(value: Any) -> Any:
    """A value of CSV; what is nested, as JSON."""
    shown = plain(value)
    return json.dumps(_finite(shown), ensure_ascii=False) if isinstance(shown, list | dict | bool) else shown


def _json(rows: pa.RecordBatchReader, into: TextIO) -> int:
    """An array, one object a line."""
    count = 0
    into.write("[")
    for batch in rows:
        for row in zip(*map(values, batch.columns), strict=True):
            into.write(",\n " if count else "\n ")
            shown = {name: _finite(plain(value)) for name, value in zip(rows.schema.names, row, strict=True)}
            into.write(json.dumps(shown, ensure_ascii=False))  # dump() would encode in Python, five times slower
            count += 1
    into.write("\n]\n")
    return count


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parquet(rows: pa.RecordBatchReader, file: IO[bytes]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    # Parquet has no type for spans of days and months.
    kinds = {f.name: pa.string() for f in rows.schema if pa.types.is_interval(f.type)}
    schema = pa.schema([f.with_type(kinds.get(f.name, f.type)) for f in rows.schema])
    try:
        made = pq.ParquetWriter(file, schema, compression="zstd")
    except pa.ArrowNotImplementedError as e:
        raise ConfigError(f"Parquet cannot hold a column of the answer: {one_line(e)}", "write it as text: CAST(column AS VARCHAR)") from e
    with made as writer:
        for batch in rows:
            columns = [
                pa.array([plain(value) for value in column.to_pylist()], pa.string()) if f.name in kinds else column
                for f, column in zip(rows.schema, batch.columns, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            count += batch.num_rows
    return count


def _table(rows: pa.RecordBatchReader, into: TextIO, limit: int) -> int:
    found: list[dict[str, Any]] = []
    more = False
    for batch in rows:
        names = rows.schema.names
        columns = [[plain(value, moments=True) for value in values(column)] for column in batch.columns]
        found += [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        if limit and len(found) > limit:
            found, more = found[:limit], True
            break
    told = f"the first {limit:,} rows; --limit 0 shows all" if more else counted(len(found), "row")
    looks.table(found, rows.schema.names, told, into)
    return len(found)


def values(column: pa.Array) -> list[Any]:
    """Values of a column; times beyond Python's (infinity, the year 10000) are text."""
    try:
        return list(column.to_pylist(maps_as_pydicts="lossy"))
    except _NOT_PYTHONS:
        return [_value(value) for value in column]


def _value(scalar: pa.Scalar) -> Any:
    import pyarrow as pa

    try:
        return scalar.as_py(maps_as_pydicts="lossy")
    except _NOT_PYTHONS:
        if isinstance(scalar, pa.StructScalar):
            return {name: _value(part) for name, part in scalar.items()}
        if isinstance(scalar, pa.ListScalar | pa.FixedSizeListScalar):
            return [_value(part) for part in scalar.values]
        if not pa.types.is_temporal(scalar.type):
            return str(scalar)
        bits = scalar.type.bit_width
        number = scalar.cast(pa.int32() if bits == 32 else pa.int64()).as_py()
        if abs(number) == 2 ** (bits - 1) - 1:  # as DuckDB has them
            return "infinity" if number > 0 else "-infinity"
        return scalar.cast(pa.string()).as_py()


def plain(value: Any, *, moments: bool = False) -> Any:
    """A value as JSON has it; with ``moments``, times stay what they are."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):  # Arrow's span of months, days and nanoseconds
        return f"{value[0]} months {value[1]} days {value[2] / 1e9:g} seconds"
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(plain(name)): plain(item) for name, item in value.items()}
    if isinstance(value, datetime) and value.tzinfo is None:  # of no time zone, and not to be moved by this machine's
        value = value.isoformat(sep=" ", timespec="milliseconds") if moments else value.isoformat()
    if isinstance(value, timedelta | time):
        return str(value)
    return value if moments else looks.plain(value)
