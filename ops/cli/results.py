"""The answer of a question, written as a table, CSV, JSON or Parquet: batch by batch, however long it is (a table: so many rows)."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import time, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

from infra.console import looks
from infra.errors import ConfigError, StoreError
from infra.files import PartialFile

if TYPE_CHECKING:
    import pyarrow as pa


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
        partial = PartialFile(output)
    except OSError as e:
        raise ConfigError(f"--output {output}: {e.strerror}", "name a file in a folder that is there and can be written") from e
    try:
        with partial:
            yield partial.file
    except OSError as e:
        raise StoreError(f"--output {output}: {e.strerror or type(e).__name__}", "make room, or name another place") from e


def _written(rows: pa.RecordBatchReader, form: ResultFormat, into: TextIO, limit: int) -> int:
    if form is ResultFormat.csv:
        return _csv(rows, into)
    return _json(rows, into) if form is ResultFormat.json else _table(rows, into, limit)


def _csv(rows: pa.RecordBatchReader, into: TextIO) -> int:
    writer = csv.writer(into, lineterminator="\n")
    writer.writerow(rows.schema.names)
    count = 0
    for batch in rows:
        writer.writerows(zip(*([_text(value) for value in column.to_pylist()] for column in batch.columns), strict=True))
        count += batch.num_rows
    return count


def _text(value: Any) -> Any:
    """A value of CSV; what is nested, as JSON."""
    shown = plain(value)
    return json.dumps(shown) if isinstance(shown, list | dict | bool) else shown


def _json(rows: pa.RecordBatchReader, into: TextIO) -> int:
    """An array, one object a line."""
    count = 0
    into.write("[")
    for batch in rows:
        for row in batch.to_pylist():
            into.write(",\n " if count else "\n ")
            json.dump({name: _finite(plain(value)) for name, value in row.items()}, into, ensure_ascii=False)
            count += 1
    into.write("\n]\n")
    return count


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parquet(rows: pa.RecordBatchReader, file: IO[bytes]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    # Parquet has no type for spans of days and months.
    kinds = {f.name: pa.string() for f in rows.schema if pa.types.is_interval(f.type)}
    schema = pa.schema([f.with_type(kinds.get(f.name, f.type)) for f in rows.schema])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
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
        found += [{name: plain(value, moments=True) for name, value in row.items()} for row in batch.to_pylist()]
        if limit and len(found) > limit:
            found, more = found[:limit], True
            break
    told = f"the first {limit:,} rows; --limit 0 shows all" if more else f"{len(found):,} row{'' if len(found) == 1 else 's'}"
    looks.table(found, rows.schema.names, told, into)
    return len(found)


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
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, timedelta | time):
        return str(value)
    return value if moments else looks.plain(value)
