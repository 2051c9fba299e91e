"""From the batches of a store into the quarantine: the tasks write files, the driver puts them into the table with one commit.

A batch that is repeated finds its transaction in the table's log; a message that is read again from a new checkpoint, or that the meter
wrote twice, finds the identities of its rows. A systemic fault may fail every row of a batch: none of them passes through the driver.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.config import Settings
from infra.log import get
from infra.sections import LakeSettings
from jobs.quality import derive, table
from jobs.quality.batch import Checks, Failed
from jobs.runtime import lake, s3
from jobs.sinks import counters, parquet
from jobs.sinks.messages import Message
from schemas.records import RecordType

#: Stores of which the first that a record type declares writes its rows to the quarantine.
OWNERS = ("lake", "hot")
#: Rows of one file; some tens of MB as JSON.
FILE_ROWS = 10_000


def checks(settings: Settings, record: RecordType) -> Checks | None:
    """The checks of the batches of a record type; None where they are turned off, or there is no place for a quarantine."""
    if not settings.quality.batch_checks or owner(record) is None or table.problem(settings):
        return None
    if record.lake and not parquet.reaches(lake.location(settings, record)):
        return None
    return Checks(record, derive.in_batches(record, settings), settings.quality)


def owner(record: RecordType) -> str | None:
    """The store whose query writes a type's failing rows to the quarantine."""
    return next((store for store in OWNERS if getattr(record, store) is not None), None)


class Intake:
    """What one task takes out of its messages.

    Parameters
    ----------
    checks
        None: everything passes.
    root
        Place of the table, as delta-rs spells it; empty where another query writes it.
    lake_settings
        Endpoint and keys.
    query
        The query on whose behalf it works.
    """

    def __init__(self, checks: Checks | None, root: str, lake_settings: LakeSettings, query: str) -> None:
        self._checks = checks
        self._root = root
        self._lake = lake_settings
        self._query = query
        self._counts: Counter[str] = Counter()
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._files: list[dict[str, Any]] = []

    @property
    def columns(self) -> set[str]:
        """Columns that the checks look at."""
        return self._checks.columns if self._checks else set()

    def sift(self, messages: Sequence[Message]) -> list[Message]:
        """Messages without their failing rows."""
        if self._checks is None:
            return list(messages)
        good, failed = self._checks.sift(messages)
        if failed:
            self._take(failed, self._checks.record)
        return good

    def _take(self, failed: list[Failed], record: RecordType) -> None:
        self._counts.update(rule for item in failed for rule in item.rules)
        if not self._root:
            return
        rows = table.rows_of(failed, record, self._query, datetime.now(UTC))
        for begin in range(0, rows.num_rows, FILE_ROWS):
            self._waiting.append(rows.slice(begin, FILE_ROWS))
            self._rows += self._waiting[-1].num_rows
            if self._rows >= FILE_ROWS:
                self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        rows = pa.concat_tables(self._waiting)
        self._waiting, self._rows = [], 0
        for day in rows[parquet.PARTITION].unique():
            part = rows.filter(pc.equal(rows[parquet.PARTITION], day))
            for added in parquet.write([part], self._root, self._lake, table.STATISTICS):
                (file,) = added.to_pylist()
                self._files.append({**file, "date": str(file["date"]), "ids": part["id"].to_pylist()})

    def report(self) -> str:
        """What was taken out, as JSON for the driver; empty when nothing was. Files are written."""
        self._flush()
        return json.dumps({"counts": self._counts, "files": self._files}) if self._counts else ""


class QuarantineWriter:
    """The driver's part, of one query.

    Parameters
    ----------
    settings
        Where the table lies.
    record
        What the query stores.
    store
        ``lake`` or ``hot``.
    """

    def __init__(self, settings: Settings, record: RecordType, store: str) -> None:
        self._settings = settings
        self._record = record
        self._query = record.query(store)
        self.checks = checks(settings, record)
        self._owns = self.checks is not None and owner(record) == store
        self.root = s3.uri(table.side(settings).path) if self._owns else ""
        #: Makes the part of one task. Picklable.
        self.intake = partial(Intake, self.checks, self.root, settings.lake, self._query)
        self._log = parquet.Log(self.root, settings.lake)
        self._known: set[str] | None = None  # ids of this record type's rows; None: not read yet

    def prepare(self) -> None:
        """Make the table, where this query writes it; says so where there can be none.

        Raises
        ------
        StoreError
            Its place cannot be written.
        """
        if self._owns:
            table.side(self._settings).create()
        elif self.checks is None and self._settings.quality.batch_checks and (why := table.problem(self._settings)):
            get(f"sink.{self._query}").warning("no checks on batches: rows that fail would have no place to go", cause=why)

    def commit(self, reports: Iterable[str], app: str, batch_id: int) -> None:
        """Put what the tasks wrote into the table, once for each row.

        Raises
        ------
        deltalake.exceptions.DeltaError, OSError
            Nothing was committed, or it was and this was not heard: the batch must be repeated.
        """
        files = [file for report in reports if report and self._owns for file in json.loads(report)["files"]]
        if not files:
            return
        if self._known is None:
            self._known = self._read()
        fresh, ids = self._fresh(files, self._known)
        try:
            if fresh:
                self._log.commit(fresh, app, batch_id)
        except BaseException:
            self._log.forget()
            self._known = None
            raise
        self._known.update(ids)

    def _fresh(self, files: list[dict[str, Any]], known: set[str]) -> tuple[list[tuple[str, int, date, str]], set[str]]:
        """Files of rows that the table does not hold; one that holds some that are there is written anew without them."""
        chosen: list[tuple[str, int, date, str]] = []
        seen: set[str] = set()
        for file in files:
            ids = file["ids"]
            new = []
            for i, one in enumerate(ids):
                if one not in known and one not in seen:
                    new.append(i)
                seen.add(one)
            if len(new) == len(ids):
                chosen.append((file["path"], file["size"], date.fromisoformat(file["date"]), file["stats"]))
                continue
            if new:
                rows = self._rows_of(file["path"]).take(pa.array(new))
                rows = rows.append_column(table.SCHEMA.field(parquet.PARTITION), pa.array([date.fromisoformat(file["date"])] * len(new)))
                for added in parquet.write([rows], self.root, self._settings.lake, table.STATISTICS):
                    chosen += [(one["path"], one["size"], one["date"], one["stats"]) for one in added.to_pylist()]
            parquet.discard([file["path"]], self.root, self._settings.lake)
        return chosen, seen

    def _rows_of(self, path: str) -> pa.Table:
        return pq.ParquetFile(path, filesystem=lake.files(self.root, self._settings.lake)).read()

    def _read(self) -> set[str]:
        rows = lake.dataset(self.root, self._settings.lake if "://" in self.root else None)
        mine = (pc.field("record") == self._record.name) & (pc.field("stage") == table.BATCH)
        return set(rows.to_table(columns=["id"], filter=mine)["id"].to_pylist())


def count(reports: Iterable[str], query: str) -> int:
    """Count the rows that the tasks of a batch left out, by rule; logs one warning a batch."""
    total: Counter[str] = Counter()
    for report in reports:
        total.update(json.loads(report)["counts"] if report else {})
    for rule, amount in total.items():
        counters.add(counters.LEFT_OUT, query, amount, rule=rule)
    if total:
        get(f"sink.{query}").warning("rows that fail a check are left out: flowlake quarantine list", rows=total.total(), rules=dict(total))
    return total.total()
