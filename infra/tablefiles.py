"""Tables as files, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from infra import files

if TYPE_CHECKING:
    import pyarrow as pa


def write(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet, or as CSV where the file's name ends so or is that of standard output.

    Raises
    ------
    OSError
        It cannot be written.
    """
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    with files.PartialFile(path) as partial:
        if path.suffix.lower() == ".csv" or files.is_stdout(path):
            csv.write_csv(table, partial.file)
        else:
            pq.write_table(table, partial.file)


def write_parts(parts: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write tables one behind the other as one file, of the kind that its name says; no more than one of them is held.

    Raises
    ------
    OSError
        It cannot be written.
    """
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    with files.PartialFile(path) as partial:
        kind = csv.CSVWriter if path.suffix.lower() == ".csv" or files.is_stdout(path) else pq.ParquetWriter
        with kind(partial.file, schema) as writer:
            for part in parts:
                writer.write_table(part)
