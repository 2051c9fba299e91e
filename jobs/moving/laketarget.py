"""The lake table of a record type, as a target of a migration.

Written with delta-rs, as the stream's query writes it: a commit is made only if no other took its number, on a folder and on S3 alike,
so both may append at one time. What is there already is known by its identity, read from the table for the minutes of the rows.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from infra import files
from infra.config import Settings
from infra.errors import FlowlakeError, StoreError, one_line
from jobs.moving.csvfile import Position
from jobs.moving.targets import Job, Say
from jobs.runtime import lake, s3
from jobs.runtime.meanings import About
from jobs.sinks import laketable, parquet
from jobs.sinks.identities import Identities
from jobs.sinks.parquet import PARTITION
from jobs.sinks.stores import StoreUnavailable
from schemas.records import RecordType


class _KeysByArrow:
    """Reads identities of the table without Spark (:class:`jobs.sinks.identities.Reader`)."""

    def __init__(self, settings: Settings, record: RecordType, path: str) -> None:
        self._settings, self._record, self._path = settings, record, path

    def newest(self) -> int | None:
        rows = lake.dataset(self._path, self._settings.lake)
        days = [value for part in rows.get_fragments() if (value := ds.get_partition_keys(part.partition_expression).get(PARTITION))]
        if not days:
            return None
        times = rows.to_table(columns=[self._record.event_time], filter=ds.field(PARTITION) == max(days))[0]
        return int(np.asarray(times.cast(pa.int64())).max()) if len(times) else None

    def within(self, spans: list[tuple[int, int]]) -> Iterator[tuple[bytes, int]]:
        key, time = self._record.key, self._record.event_time
        us = pa.timestamp("us", tz="UTC")

        def one(first: int, last: int) -> Any:
            low, high = pa.scalar(first, us), pa.scalar(last, us)
            days = (ds.field(PARTITION) >= low.as_py().date()) & (ds.field(PARTITION) <= high.as_py().date())
            return days & (ds.field(time) >= low) & (ds.field(time) <= high)

        rows = lake.dataset(self._path, self._settings.lake)
        chosen = reduce(or_, (one(*span) for span in spans))
        for batch in rows.scanner(columns=[key, time], filter=chosen).to_batches():
            starts = batch.column(1).cast(pa.int64()).to_pylist()
            yield from zip((text.encode() for text in batch.column(0).to_pylist()), starts, strict=True)


class LakeTarget:
    """The lake table of a record type."""

    def __init__(self, settings: Settings, record: RecordType, *, again: bool = False) -> None:
        self.name = "lake"
        self._settings, self._record, self._again = settings, record, again
        self._path = lake.location(settings, record)
        self.where = f"lake {self._path}"
        if not parquet.reaches(self._path):
            raise StoreError(f"lake {self._path}: rows are moved into a folder or S3 only", "set lake.path")
        self._root = s3.uri(self._path)
        self._known = Identities(_KeysByArrow(settings, record, self._path))
        self._log = parquet.Log(self._root, settings.lake)
        self._table_id = ""
        self._run, self._commits = uuid.uuid4().hex, 0
        self._job: Job | None = None
        self._lock: IO[str] | None = None

    def prepare(self, say: Say) -> None:
        from deltalake import DeltaTable

        options = s3.storage_options(self._settings.lake, self._path)
        try:
            if not DeltaTable.is_deltatable(self._root, options):
                self._create(options)
                say(f"lake {self._path}: made")
            table = DeltaTable(self._root, storage_options=options)
            there = pa.schema(table.schema().to_arrow()).names
            self._table_id = str(table.metadata().id)
        except Exception as e:
            raise self._problem(e) from e
        if lacking := [name for name in parquet.lake_schema(self._record).names if name not in there]:
            raise StoreError(
                f"lake table {self._path} is of an older version: it lacks column {lacking[0]}", "start the stream once: it adds what lacks"
            )

    def _create(self, options: dict[str, str]) -> None:
        from deltalake import DeltaTable

        declared = self._record.lake
        DeltaTable.create(
            self._root,
            schema=pa.schema([pa.field(f.name, f.type) for f in parquet.lake_schema(self._record)]),
            mode="ignore",
            partition_by=[PARTITION],
            description=declared.comment if declared else "",
            configuration=dict(laketable.properties(self._record, self._settings.lake)),
            storage_options=options,
        )

    def begin(self, job: Job) -> Position | None:
        self._job = job
        folder = self._settings.path(self._settings.paths.var) / "migrate"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # One at a time: rows of two files may be the same, and what one is writing the other does not see.
            self._lock = (folder / f"{self._record.name}.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise StoreError(f"another migration into {self.where} is at work", "wait until it has ended") from e
        except OSError as e:
            raise StoreError(f"{folder} (paths.var) cannot be written: {os.strerror(e.errno or 0)}", "set paths.var") from e
        try:
            noted = json.loads(self._note(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if self._again or noted.get("table") != self._table_id:
            return None
        return job.position(str(noted.get("position", "")), self.where)

    def _note(self, job: Job) -> Path:
        return self._settings.path(self._settings.paths.var) / "migrate" / f"{job.key.replace('/', '-')}.json"

    def write(self, rows: pa.Table, position: Position) -> tuple[int, list[int]]:
        try:
            written = self._append(rows) if rows.num_rows else 0
        except BaseException as e:
            self._known.forget()  # whether it was committed is not known
            self._log.forget()
            if isinstance(e, FlowlakeError | StoreUnavailable) or not isinstance(e, Exception):
                raise
            raise self._problem(e) from e
        assert self._job is not None
        noted = {"file": str(self._job.path), "table": self._table_id, "position": self._job.noted(position)}
        files.replace(self._note(self._job), json.dumps(noted))
        return written, []

    def _append(self, rows: pa.Table) -> int:
        ids = np.array(rows[self._record.key].to_pylist(), "S36")
        starts = np.asarray(rows[self._record.event_time].combine_chunks().cast(pa.int64()))
        fresh = self._known.new(ids, starts)
        if fresh.any():
            new = rows.filter(pa.array(fresh))
            added = parquet.write([parquet.dated(new, self._record)], self._root, self._settings.lake, parquet.statistics_of(self._record))
            made = [tuple(row.values()) for batch in added for row in batch.to_pylist()]
            self._commits += 1
            self._log.commit(made, f"flowlake-migrate-{self._run}", self._commits)  # type: ignore[arg-type]
        self._known.add(ids, starts)
        return int(fresh.sum())

    def end(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _problem(self, error: Exception) -> Exception:
        if known := lake.trouble(error, self._path, self._settings.lake, About.SYSTEM):
            return StoreUnavailable(known.message) if known.passing else StoreError(known.message, known.hint)
        return StoreError(f"lake {self._path}: {one_line(error)}", "check lake.path")
