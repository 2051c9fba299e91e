"""Flow records into a file: CSV or Parquet under CICFlowMeter's names, written while the capture is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from infra.errors import CaptureError, ConfigError, one_line
from infra.files import PartialFile
from schemas.cicflowmeter import cic_table, csv_table


class RecordWriter:
    """Writes batches of records to ``path`` (``.csv``, ``.csv.gz`` or ``.parquet``).

    The file appears under its name only when it is whole. A device or a named pipe is written to as it is, CSV where its name says nothing.

    Parameters
    ----------
    path
        Where to.
    labels
        Gives the label of each record of a table, or None for unlabelled.
    growing
        The records come over hours and are to be read meanwhile: a ``.csv`` takes its name with the first of them, grows from then on, and
        is kept when writing ends with an error. The other two cannot be read before they are whole, and are as ever.

    Raises
    ------
    ConfigError
        The ending is neither CSV nor Parquet, or the folder cannot be written.
    """

    def __init__(self, path: Path, labels: Callable[[pa.Table], pa.Array] | None = None, *, growing: bool = False) -> None:
        name = path.name.lower()
        if os.path.isdir(path):
            raise ConfigError(f"--out {path}: a folder", "name a file in it, such as flows.csv")
        # A device or a pipe is written to, and never replaced; what comes through one grows.
        special = os.path.exists(path) and not os.path.isfile(path)
        if not special and not name.endswith((".csv", ".csv.gz", ".parquet")):
            raise ConfigError(f"--out {path}: neither .csv, .csv.gz nor .parquet", "name the file flows.csv or flows.parquet")
        self._path = Path(os.path.realpath(path))
        self._parquet = name.endswith(".parquet")
        self._gzip = name.endswith(".gz")
        self._labels = labels
        self._growing = growing and (special or name.endswith(".csv"))
        self._writer: pa.csv.CSVWriter | pa.parquet.ParquetWriter | None = None
        self._sink: pa.NativeFile | None = None
        self.rows = 0
        try:
            # Ours, and not Arrow's: that takes names in UTF-8 alone.
            self._partial = PartialFile(path)
        except OSError as e:
            raise ConfigError(f"--out {self._path}: {e.strerror}", "name a folder that exists and can be written") from e

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Append batches of ``schemas.flows.RECORD_SCHEMA``.

        Raises
        ------
        CaptureError
            The disk is full, or gone.
        """
        for batch in batches:
            records = pa.Table.from_batches([batch])
            try:
                self._append(records)
            except OSError as e:
                raise self._unwritten(e) from e

    def _append(self, records: pa.Table) -> None:
        table = cic_table(records, self._labels(records) if self._labels and len(records) else None)
        if not self._parquet:
            table = csv_table(table)
        if self._writer is None:
            if self._parquet:
                self._writer = pa.parquet.ParquetWriter(self._partial.file, table.schema, compression="zstd")
            else:
                self._sink = pa.output_stream(self._partial.file, compression="gzip" if self._gzip else None)
                options = pa.csv.WriteOptions(quoting_style="needed", quoting_header="none")
                self._writer = pa.csv.CSVWriter(self._sink, table.schema, write_options=options)
        self._writer.write_table(table)
        if self._growing and self._sink is not None:
            self._sink.flush()
            self._partial.take_name()  # not before there is something new: until then an old file stays
        self.rows += table.num_rows

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None and self._writer is None:
                from schemas.flows import RECORD_SCHEMA

                self._append(RECORD_SCHEMA.empty_table())
            self._close()
            if kind is None:
                self._partial.commit()
        except OSError as e:
            if kind is None:  # else the first failure is told
                raise self._unwritten(e) from e
        finally:
            self._partial.discard()

    def _close(self) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            if self._sink is not None:
                self._sink.close()

    def _unwritten(self, error: OSError) -> CaptureError:
        return CaptureError(f"cannot write {self._path}: {reason(error)}", "make room, or name another place")


def reason(error: OSError) -> str:
    """What the system says, without what Arrow puts around it."""
    return os.strerror(error.errno) if error.errno else one_line(error, 200)
