"""Files of flow features: CSV (plain, gzip, zstd) as text, Parquet as it is; only the columns that a flow record knows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from infra.errors import InputError, one_line
from jobs.moving.csvfile import CsvFile
from jobs.sources.features.names import places, shown

#: Columns without which no row would be taken.
_NEEDED = ("src_ip", "dst_ip", "start_time")
_HINT = "its first line must name columns as CICFlowMeter does, or as docs/reference/features.md"
_BLOCK = 4 << 20


class Featured:
    """One file.

    Parameters
    ----------
    path
        Parquet, or CSV with a line that names its columns.

    Raises
    ------
    InputError
        There is no such file, it is neither, or its columns are not those of flows.

    Attributes
    ----------
    left_out
        Lines of a CSV file that had another number of fields, so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.left_out = 0
        self._csv: CsvFile | None = None
        if path.is_dir():
            raise InputError(f"{path} is a folder", "name a file in it")
        try:
            with path.open("rb") as file:
                parquet = file.read(4) == b"PAR1"
            self._names = pq.read_schema(path).names if parquet else self._header()
        except (pa.ArrowException, OSError) as e:
            raise InputError(f"{path}: cannot be read: {one_line(e)}", "give a CSV or Parquet file") from e
        self._parquet = parquet
        if lacking := [name for name in _NEEDED if name not in places(self._names)]:
            have = ", ".join(repr(name) for name in self._names[:6])
            raise InputError(f"{path} has no column {', '.join(map(shown, lacking))}; its columns: {have}, ...", _HINT)

    def _header(self) -> list[str]:
        self._csv = CsvFile(self._path, final=True)
        if self._csv.empty:
            raise InputError(f"CSV file {self._path} is empty", _HINT)
        return [name.strip() for name in self._csv.header()]

    @cached_property
    def _wanted(self) -> list[int]:
        return sorted(set(places(self._names).values()))

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Its rows, so many at a time.

        Raises
        ------
        InputError
            It is damaged.
        """
        try:
            for batch in self._from_parquet(rows) if self._parquet else self._from_csv():
                for first in range(0, batch.num_rows, rows):
                    yield batch.slice(first, rows)
        except (pa.ArrowException, OSError, EOFError) as e:
            raise InputError(f"{self._path}: cannot be read on: {one_line(e)}", "it is damaged, or was cut off") from e

    def _from_parquet(self, rows: int) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self._path) as file:
            names = [self._names[at] for at in self._wanted]
            yield from file.iter_batches(batch_size=rows, columns=names, use_threads=False)

    def _from_csv(self) -> Iterator[pa.RecordBatch]:
        """All columns as text: what is no number is told by the query, with its row."""
        assert self._csv is not None
        numbered = [str(at) for at in range(len(self._names))]
        names = [self._names[at] for at in self._wanted]

        def refuse(_: arrow_csv.InvalidRow) -> str:
            self.left_out += 1
            return "skip"

        with self._opened(self._csv) as file:
            reader = arrow_csv.open_csv(
                file,
                read_options=arrow_csv.ReadOptions(use_threads=False, column_names=numbered, block_size=_BLOCK),
                parse_options=arrow_csv.ParseOptions(delimiter=self._csv.delimiter, invalid_row_handler=refuse, newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(numbered, pa.string()), include_columns=[str(at) for at in self._wanted]
                ),
            )
            header = True
            for batch in reader:
                some = batch.slice(1) if header else batch
                header = False
                yield pa.RecordBatch.from_arrays(some.columns, names)

    def _opened(self, csv: CsvFile) -> BinaryIO:
        return pa.input_stream(self._path, compression=csv.compression or None)
