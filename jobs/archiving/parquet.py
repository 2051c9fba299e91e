"""Files of the archive: written where no reader looks, read back, moved to their place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import StoreError
from jobs.archiving import checksums
from jobs.archiving.checksums import TableSum
from jobs.archiving.columns import ArchiveLayout
from jobs.archiving.months import Month, text
from jobs.archiving.place import MANIFESTS, STAGING, ArchivePlace

#: Rows of a row group: what a reader decodes at once.
GROUP_ROWS = 131_072
_BLOCK = 8 << 20


class _Hashed:
    """A file that is written to, and the SHA-256 of what has been written."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        self._stream.write(data)
        self.digest.update(data)
        size = memoryview(data).nbytes
        self.size += size
        return size

    def flush(self) -> None:
        """Nothing: the stream keeps what it can."""

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._stream.close()


@dataclass
class FilesWriter:
    """Writes the rows of one month, which come in the order of their times, into files of bounded size.

    A context manager; after an exception what was written stays where no reader looks, for :func:`sweep`.

    Parameters
    ----------
    place
        The table's folder.
    layout
        Of the rows.
    month, run
        Give the files their names.
    compression
        ``zstd`` or ``snappy``.
    file_rows
        Rows of a file at most.
    about
        Put into each file's key-value metadata.

    Attributes
    ----------
    files
        What was written: name, bytes, sha256, rows, first and last time, sums of the columns.
    sums
        Of all rows.
    """

    place: ArchivePlace
    layout: ArchiveLayout
    month: Month
    run: str
    compression: str
    file_rows: int
    about: dict[str, str]
    files: list[dict[str, Any]] = field(default_factory=list)
    sums: TableSum = field(default_factory=TableSum)
    _waiting: list[pa.Table] = field(default_factory=list)
    _rows: int = 0  # waiting
    _current: tuple[_Hashed, pq.ParquetWriter, TableSum, str] | None = None

    def write(self, rows: pa.Table) -> None:
        """Take rows (:attr:`ArchiveLayout.exact_schema`).

        Raises
        ------
        OSError
            The store refuses.
        """
        self._waiting.append(rows)
        self._rows += rows.num_rows
        if self._rows >= GROUP_ROWS:
            self._groups(last=False)

    def close(self) -> None:
        """Write what is waiting, and end the last file."""
        self._groups(last=True)
        self._end()

    def _groups(self, *, last: bool) -> None:
        """Write what is waiting, in row groups of full size but for the last."""
        if not self._rows:
            return
        rows = pa.concat_tables(self._waiting)
        done = 0
        while rows.num_rows - done >= GROUP_ROWS or (last and done < rows.num_rows):
            room = self.file_rows - self._current[2].rows if self._current else self.file_rows
            group = rows.slice(done, min(GROUP_ROWS, room))
            done += group.num_rows
            self._group(group)
        left = rows.slice(done)
        self._waiting, self._rows = ([left], left.num_rows) if left.num_rows else ([], 0)

    def _group(self, rows: pa.Table) -> None:
        if self._current is None:
            self._current = self._begin()
        _, writer, sums, _ = self._current
        sums.add(checksums.of(rows))
        writer.write_table(self.layout.archived(rows), row_group_size=GROUP_ROWS)
        if sums.rows >= self.file_rows:
            self._end()

    def _begin(self) -> tuple[_Hashed, pq.ParquetWriter, TableSum, str]:
        name = f"{text(self.month)}-{self.run}-{len(self.files):04}.parquet"
        folder = self.place.path(STAGING, self.run)
        self.place.make_folder(folder)
        stream = _Hashed(self.place.files.open_output_stream(f"{folder}/{name}", buffer_size=_BLOCK))
        writer = pq.ParquetWriter(
            stream,
            self.layout.schema.with_metadata(self.about),
            compression=self.compression,
            write_page_index=True,
            sorting_columns=[pq.SortingColumn(self.layout.schema.get_field_index(self.layout.time))],
        )
        return stream, writer, TableSum(), name

    def _end(self) -> None:
        if self._current is None:
            return
        stream, writer, sums, name = self._current
        writer.close()
        stream.close()
        self.place.settle(self.place.path(STAGING, self.run, name))
        told = sums.json()
        time = told["columns"][self.layout.time]
        self.files.append(
            {
                "name": name, "bytes": stream.size, "sha256": stream.digest.hexdigest(), "rows": sums.rows,
                "first_us": time["min"], "last_us": time["max"], "sums": told,
            }
        )  # fmt: skip
        self.sums.add(sums)
        self._current = None

    def __enter__(self) -> FilesWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        elif self._current is not None:
            # Here, and not when it is forgotten: what still waits for the store would do so with the interpreter's lock.
            with suppress(OSError, pa.ArrowException):
                self._current[0].close()


def rows_of(source: pa.NativeFile, layout: ArchiveLayout) -> Iterator[pa.Table]:
    """The rows of an open file as they were in the store, a row group at a time."""
    file = pq.ParquetFile(source)
    for number in range(file.num_row_groups):
        yield layout.exact(file.read_row_group(number, columns=layout.schema.names))


def problem(place: ArchivePlace, layout: ArchiveLayout, path: str, file: dict[str, Any]) -> str:
    """Read a file as a whole and compare it with what the book says of it.

    Returns
    -------
    str
        What is wrong; empty when nothing is.

    Raises
    ------
    OSError
        The store does not answer: that says nothing about the file.
    """
    size = place.size(path)
    if size is None:
        return "it is not there"
    if size != file["bytes"]:
        return f"it has {size:,} bytes, expected {file['bytes']:,}"
    with place.files.open_input_file(path) as source:
        if sha256(source) != file["sha256"]:
            return "its content is not what was written (SHA-256)"
        sums = TableSum()
        try:
            source.seek(0)
            for rows in rows_of(source, layout):
                sums.add(checksums.of(rows))
        except (pa.ArrowException, KeyError) as e:
            return f"it cannot be read as Parquet of this table: {type(e).__name__}"
    return checksums.difference(file["sums"], sums.json())


def moved_problem(place: ArchivePlace, path: str, file: dict[str, Any]) -> str:
    """What became of a file that was read back before it got its place; empty when it is the same.

    Raises
    ------
    OSError
        The store does not answer.
    """
    if (size := place.size(path)) != file["bytes"]:
        return f"it has {size or 0:,} bytes, expected {file['bytes']:,}"
    with place.files.open_input_file(path) as source:
        return "" if sha256(source) == file["sha256"] else "its content is not what was written (SHA-256)"


def sha256(source: pa.NativeFile) -> str:
    """Of a whole file."""
    digest = hashlib.sha256()
    while data := source.read(_BLOCK):
        digest.update(data)
    return digest.hexdigest()


def check(place: ArchivePlace, layout: ArchiveLayout, path: str, file: dict[str, Any]) -> None:
    """As :func:`problem`, but what is wrong is raised.

    Raises
    ------
    StoreError
        Names the file.
    """
    with place.told(f"read {path}"):
        wrong = problem(place, layout, path, file)
    if wrong:
        raise StoreError(
            f"archive {place.shown}: {path.rpartition('/')[2]} does not hold what was written: {wrong}",
            "nothing was deleted; check the disk or the object store, then run the same command again",
        )


def sweep(place: ArchivePlace, keep: str = "") -> int:
    """Remove what broken runs have left where no reader looks, but for one run's.

    Returns
    -------
    int
        Files removed.
    """
    with place.told("clear away what a broken run left"):
        left = [path for path in place.below(STAGING) if not keep or f"/{STAGING}/{keep}/" not in path]
        for path in left:
            place.files.delete_file(path)
        if place.local and not keep and Path(place.path(STAGING)).is_dir():
            place.files.delete_dir(place.path(STAGING))
    return len(left)


def put_whole(place: ArchivePlace, name: str, content: bytes, run: str) -> None:
    """Write a small file beside the data, among the manifests: whole or not at all."""
    folder = place.path(STAGING, run)
    place.make_folder(folder)
    with place.files.open_output_stream(f"{folder}/{name}") as stream:
        stream.write(content)
    place.settle(f"{folder}/{name}")
    place.move(f"{folder}/{name}", place.path(MANIFESTS, name))
