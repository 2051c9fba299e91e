"""Labelled records of a lake's Delta table, at a version of it: read by this process, or by Spark where they are too many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from infra import paths
from infra.config import Settings
from infra.errors import ConfigError, ModelError, StoreError, one_line
from infra.sections import LakeSettings
from jobs.runtime import lake, s3
from jobs.runtime.sidetable import Side
from jobs.sinks import labels as labeltable
from jobs.training import reading
from jobs.training.lakelabels import LakeLabels
from jobs.training.reading import Progress
from jobs.training.rows import VERSION, RowReader, candidates, current
from jobs.training.sampling import Sample
from jobs.training.truth import KEY, SPAN, Truth
from schemas.records import RecordType

if TYPE_CHECKING:
    from deltalake import DeltaTable

#: Records up to which this process reads a table itself, in memory that does not grow with them.
DIRECT_ROWS = 20_000_000


@dataclass(frozen=True)
class Versions:
    """Versions of the tables that were read; as text such as ``flows@12+labels@3``, which ``--as-of`` takes.

    Attributes
    ----------
    table
        Number of the version of the records' table; None: to be looked up.
    labels
        That of the table ``labels``; None: the newest, or there is none.
    time
        Instead of ``table``: a time.
    """

    table: int | None = None
    labels: int | None = None
    time: datetime | None = None

    @classmethod
    def parse(cls, text: str, record: RecordType) -> Versions:
        """What ``--as-of`` says: a number, a time, or what a training has recorded.

        Raises
        ------
        ConfigError
            It is none of them.
        """
        said = text.strip()
        if not said:
            return cls()
        if said.isdecimal():
            return cls(int(said))
        if match := re.fullmatch(rf"{re.escape(record.name)}@(\d+)(?:\+labels@(\d+))?", said):
            return cls(int(match[1]), int(match[2]) if match[2] else None)
        try:
            time = datetime.fromisoformat(said)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError) as e:  # of 0001-01-01T00:00+14:00 UTC has no time
            raise ConfigError(
                f"--as-of {text!r} is no version", f"a number, a time such as 2026-03-01T12:00, or {record.name}@12+labels@3"
            ) from e
        return cls(time=time)

    def text(self, record: RecordType) -> str:
        """As it is recorded."""
        return f"{record.name}@{self.table}" + ("" if self.labels is None else f"+labels@{self.labels}")


@dataclass(frozen=True)
class FromLake:
    """Which records of a lake.

    Attributes
    ----------
    place
        Folder or URI of the table.
    record
        What lies in it.
    as_of
        Versions that are asked for.
    truth
        A truth table (Parquet); the table ``labels`` counts in any case.
    engine
        ``auto``, ``local`` or ``spark``.
    """

    place: str
    record: RecordType
    as_of: Versions
    truth: Path | None
    engine: str


def read_lake(settings: Settings, wanted: FromLake, seed: int, sample: Sample, progress: Progress) -> tuple[Versions, list[str]]:
    """Put the labelled records of a table into a sample; returns the versions that were read, and what was dropped and noticed.

    Raises
    ------
    ConfigError
        A folder that delta-rs would look for elsewhere.
    ModelError
        No labels are there, the truth table cannot be read, there is no such version, its files are gone, or columns are missing.
    StoreError
        The table cannot be read.
    """
    record, place = wanted.record, wanted.place
    if "://" not in place:
        paths.check(Path(place).resolve(), "--records", paths.LAKE, "move the table to another folder")
    table = opened(place, settings.lake, wanted.as_of)
    known, newest = wanted.as_of.labels, Side(settings, labeltable.LABELS).version()
    if known is not None and (newest is None or known > newest):
        there = "there is no such table yet" if newest is None else f"there are 0 to {newest}"
        raise ModelError(f"table labels: no version {known}", f"{there}; --as-of {record.name}@{table.version()} takes the newest")
    versions = Versions(int(table.version()), newest if known is None else known)
    labels, conflicts = _labels(settings, wanted, versions)
    schema = pa.schema(table.schema().to_arrow())
    missing = [name for name in _columns(record, wanted.truth is not None) if name not in schema.names]
    if missing:
        raise ModelError(f"{place}: missing columns {', '.join(missing[:10])}", f"a table of {record.name} of another version of flowlake?")
    reader = RowReader(record, schema, place, seed)
    columns = [name for name in schema.names if name in {*reader.columns, *_columns(record, wanted.truth is not None), VERSION}]
    rows = _rows(table)
    by_spark = wanted.engine == "spark" or (wanted.engine == "auto" and rows > DIRECT_ROWS)
    progress(f"{place}, version {versions.table}: {rows:,} rows" + (", read by Spark" if by_spark else ""))
    try:
        if by_spark:
            from jobs.training.sparkread import read

            read(settings, place, int(table.version()), columns, reader, labels, sample, progress)
        else:
            _direct(table, place, settings.lake, columns, reader, labels, sample, progress, rows)
    except FileNotFoundError as e:
        raise _gone(table, place) from e
    except (pa.ArrowException, OSError) as e:
        raise StoreError(f"lake {place}: {one_line(e, 200)}", "name the folder of a Delta table") from e
    return versions, [*reader.said(), *labels.notes(conflicts)]


def opened(place: str, store: LakeSettings, as_of: Versions) -> DeltaTable:
    """The table at the version that is asked for.

    Raises
    ------
    ModelError
        There is no such version.
    StoreError
        There is no such table, or the store refuses.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    root = s3.uri(place)
    try:
        table = DeltaTable(root, storage_options=s3.storage_options(store, place))
    except (DeltaError, OSError) as e:
        raise StoreError(f"lake {place}: {one_line(e, 200)}", "name the folder of a Delta table: --records, or lake.path") from e
    version = as_of.table if as_of.time is None else as_of.time
    if version is None:
        return table
    newest = table.version()
    history = table.history()
    numbers = [int(entry["version"]) for entry in history if "version" in entry]
    first = min(history, key=lambda entry: entry.get("timestamp", 0), default={})
    since = datetime.fromtimestamp(first.get("timestamp", 0) / 1000, UTC)
    there = f"there are {min(numbers, default=newest)} to {newest}, the oldest of {since.isoformat(timespec='seconds')}"
    shown = version if isinstance(version, int) else version.isoformat(timespec="seconds")
    if isinstance(version, datetime) and version < since:
        raise ModelError(f"lake {place}: no version as old as {shown}", f"{there}; flowlake lake history lists them")
    try:
        table.load_as_version(version)
    except (DeltaError, OSError, ValueError, OverflowError) as e:
        raise ModelError(f"lake {place}: no version {shown}: {one_line(e, 120)}", f"{there}; flowlake lake history lists them") from e
    return table


def read_truth(path: Path) -> pa.Table:
    """A truth table from Parquet.

    Raises
    ------
    ModelError
        The file cannot be read.
    """
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as e:
        raise ModelError(f"truth table {path}: {one_line(e, 200)}", "flowlake sensor generate writes one beside a capture") from e


def _labels(settings: Settings, wanted: FromLake, versions: Versions) -> tuple[LakeLabels, list[labeltable.Conflict]]:
    record = wanted.record
    if wanted.truth is not None and not set(KEY) <= set(record.schema.names):
        raise ConfigError(
            f"--labels {wanted.truth}: a truth table is joined by addresses, which {record.name} lack", "use the table labels"
        )
    truth = None if wanted.truth is None else Truth(read_truth(wanted.truth))
    labels = LakeLabels.of(settings, record, truth, versions.labels)
    if truth is None and not len(labels):
        raise ModelError(
            f"{wanted.place}: {record.name} of a lake carry no labels, and the table labels has none of them",
            "name a truth table with --labels truth.parquet, or label some: flowlake labels export, then import",
        )
    return labels, labeltable.conflicts(settings, record, versions.labels)


def _columns(record: RecordType, truth: bool) -> list[str]:
    return list(dict.fromkeys([record.key, record.event_time, *([*KEY, *SPAN] if truth else []), *candidates(record)]))


def _rows(table: DeltaTable) -> int:
    actions = pa.table(table.get_add_actions(flatten=True))
    counts = actions.column("num_records").to_pylist() if "num_records" in actions.schema.names else []
    return sum(n or 0 for n in counts)


def _direct(
    table: DeltaTable, place: str, store: LakeSettings, columns: list[str], reader: RowReader, labels: LakeLabels, sample: Sample,
    progress: Progress, rows: int,
) -> None:  # fmt: skip
    done, told = 0, 0
    for batch in _batches(table, place, store, columns):
        records = current(batch, reader)
        if records.num_rows:
            sample.add(reader.rows(records, labels.labels(records)))
        done += batch.num_rows
        if done - told >= 1_000_000:
            told = done
            progress(f"{done:,} of {rows:,} rows read")


def _batches(table: DeltaTable, place: str, store: LakeSettings, columns: list[str]) -> Iterator[pa.RecordBatch]:
    dataset = table.to_pyarrow_dataset(filesystem=lake.files(s3.uri(place), store))
    # Little ahead of what is looked at: memory is that of some batches, whatever the table's size.
    return dataset.to_batches(columns=columns, batch_size=reading.BATCH, batch_readahead=2, fragment_readahead=1)


def _gone(table: DeltaTable, place: str) -> ModelError:
    version = table.version()
    table.update_incremental()
    return ModelError(
        f"lake {place}: files of version {version} are gone: VACUUM has removed them",
        f"the newest is {table.version()}; lake.history_days says how long older ones are kept",
    )
