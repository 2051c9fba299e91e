"""Rows between PostgreSQL and Arrow by COPY, in bounded memory: out of the hot store, and into a stage table.

The text is CSV, which PostgreSQL and Arrow write and read with all digits: a float comes back as it was, NaN and infinities included.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv

from jobs.archiving.columns import ArchiveLayout

#: Bytes of text that are made into one table.
CHUNK_BYTES = 16 << 20
STAGE = "archive_stage"


class Arriving:
    """What COPY writes to: hands on its rows as tables, some megabytes at a time.

    Parameters
    ----------
    layout
        Of the rows.
    take
        Called with each table (:attr:`ArchiveLayout.exact_schema`).
    """

    def __init__(self, layout: ArchiveLayout, take: Callable[[pa.Table], None]) -> None:
        self._layout = layout
        self._take = take
        self._lines: list[bytes] = []
        self._size = 0
        self._longest = 0

    def write(self, line: bytes) -> int:
        """One message of the protocol, which is one row (manual: Frontend/Backend Protocol, COPY Operations)."""
        self._lines.append(line)
        self._size += len(line)
        self._longest = max(self._longest, len(line))
        if self._size >= CHUNK_BYTES:
            self.flush()
        return len(line)

    def flush(self) -> None:
        """Hand on what is left."""
        if not self._lines:
            return
        text, longest = b"".join(self._lines), self._longest
        self._lines, self._size, self._longest = [], 0, 0
        self._take(_parsed(text, self._layout, longest))


def _parsed(text: bytes, layout: ArchiveLayout, longest: int) -> pa.Table:
    schema = layout.exact_schema
    return csv.read_csv(
        pa.BufferReader(text),
        # A block must hold a row.
        read_options=csv.ReadOptions(column_names=schema.names, block_size=max(4 << 20, 2 * longest)),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        # NULL is nothing, and an empty text is "".
        convert_options=csv.ConvertOptions(
            column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False, check_utf8=False
        ),
    ).cast(schema)


def read(cursor: Any, layout: ArchiveLayout, condition: str, take: Callable[[pa.Table], None]) -> None:
    """Hand rows of the hot table to ``take``, in the order of their times.

    Parameters
    ----------
    cursor
        In a transaction.
    layout
        The table.
    condition
        SQL, on the table as ``t``.
    take
        Called with tables of some ten thousand rows.

    Raises
    ------
    psycopg2.Error
        The server refuses, or went away.
    """
    columns = ", ".join(column.out for column in layout.columns)
    arriving = Arriving(layout, take)
    query = f"SELECT {columns} FROM {layout.table.name} t WHERE {condition} ORDER BY {layout.time}"
    cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv)", arriving)
    arriving.flush()


def stage(cursor: Any, layout: ArchiveLayout, rows: pa.Table) -> None:
    """Put rows (:attr:`ArchiveLayout.exact_schema`) into a temporary table :data:`STAGE`, which goes away with the transaction.

    Its columns are named as the hot table's; :attr:`jobs.archiving.columns.ArchivedColumn.back` makes their values.
    """
    listed = ", ".join(f"{column.name} {column.staged}" for column in layout.columns)
    cursor.execute(f"CREATE TEMP TABLE {STAGE} ({listed}) ON COMMIT DROP")
    text = io.BytesIO()
    csv.write_csv(rows, text, csv.WriteOptions(include_header=False))
    text.seek(0)
    cursor.copy_expert(f"COPY {STAGE} FROM STDIN (FORMAT csv)", text, size=1 << 18)
    cursor.execute(f"ANALYZE {STAGE}")


def staged(layout: ArchiveLayout) -> str:
    """The rows of the stage table with the types of the hot table: a sub-query."""
    return f"(SELECT {', '.join(f'{column.back} AS {column.name}' for column in layout.columns)} FROM {STAGE})"
