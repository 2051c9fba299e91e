"""What other engines see: catalogs, tables and their places, derived from the settings and the record types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from infra.config import Settings
from infra.errors import ConfigError
from jobs.archiving.columns import ArchiveLayout
from jobs.runtime import lake, s3
from schemas.records import RecordType, hot_records

#: Schema of the lake's tables and of the archive's; that of PostgreSQL is its own, ``public``.
SCHEMA = "flowlake"
#: Columns that are the names of an archive's folders.
PARTITIONS = ("year", "month")


@dataclass(frozen=True)
class EngineType:
    """A column's type as Trino writes it, and as Hive does in the DDL of Athena."""

    trino: str
    hive: str


@dataclass(frozen=True)
class Placed:
    """A table of files: its name in a schema, and where it lies (``s3://bucket/prefix`` or an absolute folder)."""

    name: str
    place: str


def lake_tables(settings: Settings) -> tuple[Placed, ...]:
    """Every Delta table that may be there: those of the record types, and the side tables; without those that have no place."""
    return (*_of_records(settings), *_beside(settings))


def _of_records(settings: Settings) -> Iterator[Placed]:
    for record in settings.catalogue.records:
        with suppress(ConfigError):  # the lake is a root, and nothing lies beside it
            if record.lake:
                yield Placed(record.name, s3.uri(lake.location(settings, record)))


def _beside(settings: Settings) -> Iterator[Placed]:
    for name in lake.SIDE_TABLES:
        with suppress(ConfigError):  # the lake is a root, and nothing lies beside it
            yield Placed(name, s3.uri(lake.beside(settings, name)))


def archives(settings: Settings) -> tuple[tuple[RecordType, Placed], ...]:
    """Record types with a hot table, and what has left it: ``archived_<record type>``."""
    root = s3.uri(lake.archive(settings)).rstrip("/")
    return tuple(
        (record, Placed(record.archived, f"{root}/{record.hot.name}")) for record in hot_records(settings.catalogue.records) if record.hot
    )


def columns(record: RecordType) -> dict[str, EngineType]:
    """Columns of a record type's archive, in their order; without :data:`PARTITIONS`."""
    return {field.name: _kind(field.type) for field in ArchiveLayout.of(record).schema}


def _kind(type_: pa.DataType) -> EngineType:
    if pa.types.is_timestamp(type_):
        return EngineType("timestamp(3)", "timestamp")
    if pa.types.is_integer(type_):
        # A label is int8 in the files and an int for whoever asks, as are the other small numbers.
        return EngineType("bigint", "bigint") if type_.bit_width > 32 else EngineType("integer", "int")
    known = {
        pa.float32(): EngineType("real", "float"),
        pa.float64(): EngineType("double", "double"),
        pa.bool_(): EngineType("boolean", "boolean"),
    }
    return known.get(type_, EngineType("varchar", "string"))
