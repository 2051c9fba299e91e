"""The tables that a question may name: those of every record type in lake, archive and hot store, the alerts, and tables beside the lake's.

Names are the same everywhere: ``lake.flowlake.flows``, ``hot.public.network_flows``, ``archive.flowlake.archived_flows``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from infra.config import Settings
from infra.console.looks import NO_TABLE
from infra.errors import ConfigError, StoreError, one_line
from infra.sections import PostgresSettings
from jobs.archiving import dataset as archive
from jobs.archiving.columns import ArchiveLayout
from jobs.quality import table as quarantine
from jobs.runtime import lake, s3
from jobs.runtime.sidetable import Side
from jobs.sinks import postgres
from jobs.sinks.labels import LABELS
from jobs.sinks.parquet import lake_schema
from jobs.watching.tables import DRIFT, REFERENCES
from schemas import alerts
from schemas.records import HotTable, RecordType, hot_records

if TYPE_CHECKING:
    from jobs.asking.pgscan import Snapshot

LAKE, HOT, ARCHIVE = ("lake", "flowlake"), ("hot", "public"), ("archive", "flowlake")
#: Databases and their schemas, in the order in which names without them are looked up.
DATABASES = (LAKE, HOT, ARCHIVE)


class Opener:
    """Opens tables for one question: each database of PostgreSQL is asked at one moment.

    Parameters
    ----------
    settings
        Where the stores are.
    failed
        Called with what goes wrong while rows are read.
    """

    def __init__(self, settings: Settings, failed: Callable[[Exception], None]) -> None:
        self.settings = settings
        self._failed = failed
        self._snapshots: dict[PostgresSettings, Snapshot] = {}

    def lake(self, place: str) -> Any:
        """The Delta table in a place."""
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return lake.dataset(place, self.settings.lake)
        except TableNotFoundError as e:
            raise StoreError(f"lake {place} holds no table yet", NO_TABLE) from e
        except (OSError, DeltaError, RuntimeError, ValueError) as e:
            raise self.unreadable(str(e), place) from e

    def unreadable(self, text: str, place: str, database: str = LAKE[0]) -> StoreError:
        """What a failure to read the files of a table of the lake or the archive means."""
        if store := s3.trouble(text, place, self.settings.lake):
            return StoreError(store.message, store.hint)
        if database == ARCHIVE[0]:
            return StoreError(
                f"archive {place} cannot be read: {one_line(text)}",
                "check archive.path; flowlake archive verify names files that are damaged",
            )
        return StoreError(f"lake {place} cannot be read: {one_line(text)}", "check lake.path and lake.s3_endpoint")

    def archive(self, record: RecordType) -> Any:
        """The archive of a record type; without rows while nothing is archived."""
        import pyarrow.dataset as ds

        found = archive.dataset(self.settings, record)
        return ds.dataset(pa.table({f.name: pa.array([], f.type) for f in _archive_schema(record)})) if found is None else found

    def postgres(self, database: PostgresSettings, table: str) -> Any:
        """A table of a database."""
        from jobs.asking.pgscan import PostgresTable, Snapshot

        # Where hot store and alerts share a database, they are asked at the same moment.
        place = PostgresSettings(**database.model_dump(include=set(PostgresSettings.model_fields) - {"trigger_ms"}))
        if place not in self._snapshots:
            self._snapshots[place] = Snapshot(place)
        return PostgresTable(self._snapshots[place], table, self._failed)

    def cancel(self) -> None:
        """End what the databases are doing for the question."""
        for snapshot in self._snapshots.values():
            snapshot.cancel()

    def close(self) -> None:
        """Let go of the databases."""
        for snapshot in self._snapshots.values():
            snapshot.close()


@dataclass(frozen=True)
class AskedTable:
    """A table: its name in three parts, its columns as declared (empty: only the store knows them), where it lies, how it is opened."""

    database: str
    schema: str
    name: str
    comment: str
    columns: tuple[tuple[str, str], ...]
    place: str
    open: Callable[[Opener], Any]

    @property
    def qualified(self) -> str:
        """Its whole name."""
        return f"{self.database}.{self.schema}.{self.name}"

    def named(self, database: str, schema: str, name: str) -> bool:
        """Whether these parts of a name (empty: not given) mean this table; ``lake.flows`` and ``public.alerts`` will do."""
        if name.lower() != self.name:
            return False
        given = (database.lower(), schema.lower())
        return given in (("", ""), ("", self.database), ("", self.schema), (self.database, self.schema), (self.database, "main"))


def tables(settings: Settings) -> list[AskedTable]:
    """Every table of the catalogue's record types, then those that they share."""
    records = settings.catalogue.records
    hot = hot_records(records)
    found = [table for record in records for table in _lake(settings, record)]
    found += [table for record in hot for table in (*_hot(settings, record), *_archive(settings, record))]
    found += [_known(settings, table) for table in settings.catalogue.tables(settings)]
    if any(record.alerts for record in records):
        columns = tuple(alerts.TYPES.items())
        found.append(
            AskedTable(
                *HOT,
                alerts.TABLE,
                "Alerts of all record types",
                columns,
                postgres.where(settings.alerts),
                lambda o: o.postgres(o.settings.alerts, alerts.TABLE),
            )
        )
    for table in (LABELS, quarantine.TABLE, DRIFT, REFERENCES):
        with suppress(ConfigError):  # a lake that is a whole bucket has no place beside it
            found.append(_beside(Side(settings, table)))
    return sorted(found, key=lambda table: [name for name, _ in DATABASES].index(table.database))


def _known(settings: Settings, table: HotTable) -> AskedTable:
    """A table that is no record type's."""
    return AskedTable(*HOT, table.name, "", tuple(table.types.items()), postgres.where(settings.hot), _of_hot(settings, table.name))


def other(settings: Settings, name: str) -> AskedTable:
    """A table of the hot store that no declaration speaks of."""
    return AskedTable(*HOT, name, "", (), postgres.where(settings.hot), _of_hot(settings, name))


def _of_hot(settings: Settings, name: str) -> Callable[[Opener], Any]:
    return lambda opener: opener.postgres(settings.hot, name)


def _beside(side: Side) -> AskedTable:
    columns = tuple((f.name, str(f.type)) for f in side.table.schema)
    return AskedTable(*LAKE, side.table.name, side.table.comment, columns, side.path, lambda _: side.dataset())


def _in_lake(place: str) -> Callable[[Opener], Any]:
    return lambda opener: opener.lake(place)


def _lake(settings: Settings, record: RecordType) -> Iterator[AskedTable]:
    if record.lake:
        columns = tuple((f.name, str(f.type)) for f in lake_schema(record))
        with suppress(ConfigError):  # the lake is a root, and nothing lies beside it
            place = lake.location(settings, record)
            yield AskedTable(*LAKE, record.name, record.lake.comment, columns, place, _in_lake(place))


def _hot(settings: Settings, record: RecordType) -> Iterator[AskedTable]:
    if record.hot:
        for name, columns, comment in (
            (record.hot.name, tuple(record.hot.types.items()), f"{record.name} of the last days"),
            *((rollup.name, tuple((c, "") for c in rollup.columns), f"{record.hot.name}, summed up") for rollup in record.hot.rollups),
        ):
            yield AskedTable(*HOT, name, comment, columns, postgres.where(settings.hot), _of_hot(settings, name))


def _archive(settings: Settings, record: RecordType) -> Iterator[AskedTable]:
    if record.hot:
        columns = tuple((f.name, str(f.type)) for f in _archive_schema(record))
        yield AskedTable(
            *ARCHIVE,
            record.archived,
            f"{record.name} that have left the hot store",
            columns,
            lake.archive(settings),
            lambda o: o.archive(record),
        )


def _archive_schema(record: RecordType) -> pa.Schema:
    """Columns of an archived table, and its folders."""
    return pa.schema([*ArchiveLayout.of(record).schema, pa.field("year", pa.int32()), pa.field("month", pa.int32())])
