"""Labelled records in files: Parquet and CSV, several of them or a folder, read in pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.errors import ModelError, one_line
from infra.plurals import counted
from jobs.training.rows import VERSION, RowReader, current, label_column
from jobs.training.sampling import Sample
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyarrow.csv import CSVStreamingReader

#: Rows that are looked at together.
BATCH = 50_000
#: Endings of the files of a kind; a file that is named by itself may have any.
ENDINGS = {"parquet": (".parquet", ".pq"), "csv": (".csv", ".csv.gz", ".csv.bz2")}
Progress = Callable[[str], None]
#: How Arrow names a column of a CSV file in which something is wrong.
_CSV_COLUMN = re.compile(r"In CSV column #(\d+): ")


def found(kind: str, places: Sequence[Path]) -> list[Path]:
    """The files of a kind at these places: files as they are, those of folders by their endings, sorted.

    Raises
    ------
    ModelError
        A place is not there, or a folder holds no such file, or is a Delta table, whose files hold removed rows too.
    """
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            if (place / "_delta_log").is_dir():
                raise ModelError(f"{place} is a Delta table, whose files hold rows that were removed, too", "read it with --from lake")
            inside = sorted(p for p in place.rglob("*") if p.is_file() and p.name.lower().endswith(ENDINGS[kind]))
            if not inside:
                raise ModelError(f"{place}: no file in it ends in {' or '.join(ENDINGS[kind])}", "--records takes files or their folder")
            files += inside
        elif place.exists():
            files.append(place)
        else:
            raise ModelError(f"{place}: no such file", "--records takes a Parquet or CSV file, a folder of them, or that of a Delta table")
    return list(dict.fromkeys(files))


def left_out(kind: str, places: Sequence[Path]) -> list[str]:
    """Files of the other kind in folders, which are not read: a line for each folder that holds some."""
    other = next(name for name in ENDINGS if name != kind)
    found = []
    for place in places:
        there = sum(p.is_file() and p.name.lower().endswith(ENDINGS[other]) for p in place.rglob("*")) if place.is_dir() else 0
        if there:
            found.append(f"{counted(there, 'file')} in {place.name} not read: of the other kind, --from {other} reads those")
    return found


def read_files(kind: str, files: Sequence[Path], record: RecordType, seed: int, sample: Sample, progress: Progress) -> list[str]:
    """Put the labelled records of files into a sample; returns what was dropped and noticed.

    Raises
    ------
    ModelError
        A file cannot be read, has no column of labels, lacks feature columns, or has others than the first file.
    """
    total: RowReader | None = None
    for number, file in enumerate(files, 1):
        if len(files) > 1:
            progress(f"reading file {number} of {len(files)}: {file.name}")
        reader = _read(kind, file, record, seed, sample, progress)
        if total is None:
            total = reader
            continue
        if reader.features != total.features:
            odd = sorted(set(reader.features) ^ set(total.features))
            raise ModelError(f"{file}: other features than {files[0].name}: {', '.join(odd[:5])}", "train on files of one layout at a time")
        total.dropped.update(reader.dropped)
        total.notes += reader.notes
    return total.said() if total else []


def _read(kind: str, file: Path, record: RecordType, seed: int, sample: Sample, progress: Progress) -> RowReader:
    rows, told = 0, 0
    try:
        schema, batches = (_parquet if kind == "parquet" else _csv)(file, record)
        label = label_column(schema.names, str(file))
        reader = RowReader(record, schema, str(file), seed)
        for batch in batches:
            known = current(batch, reader)
            sample.add(reader.rows(known, known.column(label)))
            rows += batch.num_rows
            if rows - told >= 1_000_000:
                told = rows
                progress(f"{file.name}: {counted(rows, 'row')} read")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        raise _unreadable(kind, file, e) from e
    if not rows:
        reader.notes.append(f"{file.name} holds no row")
    return reader


def _unreadable(kind: str, file: Path, error: Exception) -> ModelError:
    """What is the matter with a file, and what to do about it."""
    what, said, hint = "Parquet" if kind == "parquet" else "CSV", one_line(error, 200), "name its format with --from parquet or --from csv"
    if kind == "csv":
        place = _CSV_COLUMN.match(said)
        if place:  # the header was read, or there would be no column of a number
            said = f"column {_header(file)[int(place[1])]}: {said[place.end() :]}"
        if "UTF8" in said or "utf-8" in said:
            hint = "write it as UTF-8, such as: iconv -f WINDOWS-1252 -t UTF-8"
        elif place or "columns, got" in said:
            hint = "mend that line, or leave it out; of a file that is no CSV name the format with --from"
    return ModelError(f"{file}: not a readable {what} file: {said}", hint)


def _parquet(file: Path, record: RecordType) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file)
    schema = parquet.schema_arrow
    label = label_column(schema.names, str(file))
    wanted = {*RowReader(record, schema, str(file)).columns, label, VERSION}
    columns = [name for name in schema.names if name in wanted]
    return schema, parquet.iter_batches(BATCH, columns=columns)


def _csv(file: Path, record: RecordType) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Features are read as numbers and all else as text: what a column is does not depend on its first rows."""
    from pyarrow import csv

    names = _header(file)
    label_column(names, str(file))
    reader = RowReader(record, pa.schema([(name, pa.string()) for name in names]), str(file))
    numbers = dict.fromkeys(reader.numbers, pa.float64())
    options = csv.ConvertOptions(
        column_types={**dict.fromkeys(names, pa.string()), **numbers},
        strings_can_be_null=True,
        null_values=["", "NULL", "null", "nan", "NaN"],
    )
    stream: CSVStreamingReader = csv.open_csv(file, convert_options=options)
    return stream.schema, iter(stream)


def _header(file: Path) -> list[str]:
    from pyarrow import csv

    with csv.open_csv(file, read_options=csv.ReadOptions(block_size=1 << 20)) as stream:
        return list(stream.schema.names)
