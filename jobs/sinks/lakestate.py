"""What there is to know of the lake's tables, from their logs: for ``flowlake lake info`` and ``history``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import StoreError
from jobs.runtime import lake, s3
from jobs.sinks import compaction
from jobs.sinks.parquet import PARTITION
from schemas.records import RecordType


@dataclass(frozen=True)
class State:
    """A table: where it is, and what its newest version holds. ``problem`` in place of all that where it cannot be read.

    ``newest``: latest event time; ``written``: time of the last version; ``small_files``: what compaction would take;
    ``since_checkpoint``: versions that who opens the table reads one by one.
    """

    table: str
    path: str
    version: int | None = None
    written: datetime | None = None
    files: int = 0
    small_files: int = 0
    bytes: int = 0
    rows: int = 0
    dates: int = 0
    newest: datetime | None = None
    checkpoint: int | None = None
    since_checkpoint: int = 0
    problem: str = ""


def tables(settings: Settings) -> Iterator[tuple[str, str, RecordType | None]]:
    """Name, place and record type (None: a side table) of every table of the lake."""
    for record in settings.catalogue.records:
        if record.lake:
            yield record.name, lake.location(settings, record), record
    for name in lake.SIDE_TABLES:
        yield name, lake.beside(settings, name), None


def find(settings: Settings, name: str) -> tuple[str, RecordType | None]:
    """Place and record type of a table.

    Raises
    ------
    StoreError
        There is none of that name; names those that there are.
    """
    there = {table: (path, record) for table, path, record in tables(settings)}
    if name not in there:
        raise StoreError(f"no table {name!r} in the lake", f"tables: {', '.join(there)}")
    return there[name]


def state(settings: Settings, name: str, path: str, record: RecordType | None) -> State | None:
    """What a table holds; None where it is not made yet."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        table = DeltaTable(s3.uri(path), storage_options=s3.storage_options(settings.lake, path))
        return _state(settings, name, path, record, table)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as e:
        return State(name, path, problem=str(lake.problem(e, path, settings.lake)))


def _state(settings: Settings, name: str, path: str, record: RecordType | None, table: Any) -> State:
    actions = pa.table(table.get_add_actions(flatten=True))
    small = 0
    newest = None
    if record:
        small = sum(len(step) for step in compaction.plan(compaction.pieces(table, record), settings.lake.file_rows))
        column = f"max.{record.event_time}"
        newest = pc.max(actions[column]).as_py() if column in actions.column_names else None
    dates = f"partition.{PARTITION}"
    checkpoint = lake.last_checkpoint(path, settings.lake)
    version = int(table.version())
    written = table.history(1)
    return State(
        name,
        path,
        version,
        _time(written[0]["timestamp"]) if written else None,
        actions.num_rows,
        small,
        pc.sum(actions["size_bytes"]).as_py() or 0,
        pc.sum(actions["num_records"]).as_py() or 0,
        len(pc.unique(actions[dates])) if dates in actions.column_names else 0,
        newest,
        checkpoint,
        version + 1 if checkpoint is None else version - checkpoint,
    )


def history(settings: Settings, path: str, limit: int) -> list[dict[str, Any]]:
    """The newest versions of a table: version, time, what made it.

    Raises
    ------
    StoreError
        There is no table, or the store does not answer, or refuses.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        table = DeltaTable(s3.uri(path), storage_options=s3.storage_options(settings.lake, path))
        return [
            {
                "version": entry.get("version"),
                "time": _time(entry["timestamp"]),
                "operation": entry.get("flowlake", entry.get("operation", "")),
                "engine": entry.get("engineInfo", ""),
                "parameters": entry.get("operationParameters", {}),
                "metrics": entry.get("operationMetrics", {}),
            }
            for entry in table.history(limit)
        ]
    except TableNotFoundError as e:
        raise StoreError(f"lake {path} holds no table yet", "flowlake stream writes it") from e
    except (DeltaError, OSError) as e:
        raise lake.problem(e, path, settings.lake) from e


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
