"""Hot store: final records of a type into its table in PostgreSQL (:class:`schemas.records.HotTable`).

The tasks write, not the driver: each copies its messages into the table, what is there already being left alone (the identity is in the
primary key), together with a line of the batch ledger, in one transaction a chunk of messages. A task never waits for the database -
it would hold a core that the meter needs - but reports it as away; the driver waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psycopg2
import pyarrow as pa

from infra.config import Settings
from infra.errors import StoreError, one_line
from infra.log import get
from infra.sections import HotSettings, PostgresSettings
from jobs.hotstore import placing
from jobs.hotstore.conversion import BOUND
from jobs.hotstore.layout import HotLayout
from jobs.quality.intake import Intake, QuarantineWriter
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.workers import settled
from jobs.sinks import messages, postgres, sink
from jobs.sinks.grants import Layouts, RoleGrants
from jobs.sinks.messages import Message
from jobs.sinks.migrations import Component, migrate
from jobs.sinks.postgres import RefusedData
from jobs.sinks.sink import Applied
from jobs.sinks.stores import QueryHandle, StoreUnavailable
from schemas import hot
from schemas.records import HotTable, RecordType
from schemas.roles import of_hot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: The sink's own name (:meth:`schemas.records.RecordType.query`).
SINK = "hot"
#: Rows of one COPY and transaction.
CHUNK_ROWS = 50_000
#: Batches whose ledger lines are kept, and batches between two clearings.
LEDGER_BATCHES, _PRUNE_EVERY = 10_000, 1000

_STAGE = "hot_stage_{}"
_REPORT = pa.schema(
    [
        ("rows", pa.int64()),
        ("inserted", pa.int64()),
        ("refused", pa.string()),
        ("left_out", pa.string()),  # rows that fail a check
        ("away", pa.string()),  # why the store could not be used; the driver waits and repeats the batch
        ("fault", pa.string()),  # why it will not be usable; the query stops
    ]
)
_REPORT_DDL = "rows long, inserted long, refused string, left_out string, away string, fault string"


@dataclass
class Written:
    """What a task did: final records seen, rows that were new, messages refused."""

    rows: int = 0
    inserted: int = 0
    letters: list[DeadLetter] = field(default_factory=list)


def table_of(record: RecordType) -> HotTable:
    """The hot table of a record type that has one."""
    if record.hot is None:
        raise ValueError(f"record type {record.name} has no hot table")
    return record.hot


def columns(record: RecordType) -> tuple[str, ...]:
    """Columns of a message that the writer reads, in the order of the schema."""
    wanted = {*table_of(record).sources, *([record.final] if record.final else [])}
    return tuple(sorted(wanted, key=record.published.get_field_index))


def hot_rows(table: pa.Table, record: RecordType) -> pa.Table:
    """Final records as rows of the hot table: the declared columns under their names in the store."""
    final, declared = record.finals(table), table_of(record).columns
    return pa.table([final[column.source] for column in declared], names=[column.name for column in declared])


def insert(connection: Any, rows: pa.Table, into: HotTable, ledger: tuple[str, int, int, str]) -> int:
    """Write rows and the ledger line ``(query, batch id, task, offsets)`` in one transaction.

    Returns
    -------
    int
        Rows that were new. A repetition of a chunk whose line is in the ledger with the same offsets is not even copied.

    Raises
    ------
    psycopg2.Error
        Nothing was applied (the commit itself may have been, if the connection broke: repeat).
    """
    with connection, connection.cursor() as cursor:
        query, batch_id, task, offsets = ledger
        cursor.execute(f"SELECT offsets FROM {hot.LEDGER} WHERE query = %s AND batch_id = %s AND task = %s", (query, batch_id, task))
        found = cursor.fetchone()
        if found is not None and found[0] == offsets:
            return 0
        inserted = put(cursor, rows, into)
        cursor.execute(
            f"INSERT INTO {hot.LEDGER} (query, batch_id, task, offsets, rows, inserted) VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (query, batch_id, task) DO UPDATE SET offsets = EXCLUDED.offsets, rows = EXCLUDED.rows, "
            f"inserted = {hot.LEDGER}.inserted + EXCLUDED.inserted, written_at = clock_timestamp()",
            (query, batch_id, task, offsets, rows.num_rows, inserted),
        )
        return inserted


def put(cursor: Any, rows: pa.Table, into: HotTable) -> int:
    """Write rows within a transaction, and note their hours; number of those that were not there already."""
    if not rows.num_rows:
        return 0
    # In the order of the key: two writers of the same rows wait for each other instead of deadlocking.
    rows = rows.sort_by([(name, "ascending") for name in into.key])
    inserted = _copy(cursor, rows, into)
    if inserted:
        placing.note(cursor, into, rows[into.time])
    return inserted


def _copy(cursor: Any, rows: pa.Table, into: HotTable) -> int:
    """Copy rows into the table, those left out that are there; number of the others.

    Rows that are there already mean that a batch is being repeated after a failure: it is taken for granted that none is, and only when
    the table objects do they go through a stage table, at twice the cost.
    """
    cursor.execute("SAVEPOINT straight")
    try:
        postgres.copy_table(cursor, into.name, into.types, rows)
        return int(cursor.rowcount)
    except psycopg2.errors.UniqueViolation:
        cursor.execute("ROLLBACK TO SAVEPOINT straight")
    stage, names = _STAGE.format(into.name), ", ".join(into.types)
    cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {stage} (LIKE {into.name}) ON COMMIT DELETE ROWS")
    postgres.copy_table(cursor, stage, into.types, rows)
    cursor.execute(f"INSERT INTO {into.name} ({names}) SELECT {names} FROM {stage} ORDER BY {', '.join(into.key)} ON CONFLICT DO NOTHING")
    return int(cursor.rowcount)


def meant(error: psycopg2.Error, settings: HotSettings) -> Exception:
    """What an error of a write means (:func:`jobs.sinks.postgres.classify`); a table that is being partitioned is waited for."""
    if isinstance(error, psycopg2.errors.CheckViolation) and error.diag.constraint_name == BOUND:
        return StoreUnavailable(f"{error.diag.table_name}: the table is being partitioned, and has no place for such times yet")
    return postgres.classify(error, settings)


def _offsets(group: list[Message]) -> str:
    """Which messages a chunk is made of."""
    first, last = group[0], group[-1]
    return f"{first.topic}/{first.partition}/{first.offset}-{last.partition}/{last.offset}/{len(group)}"


class Writer:
    """Writes the messages of one task. Chunks are numbered within the task, so that each has its own line in the ledger."""

    def __init__(self, settings: HotSettings, record: RecordType, query: str, batch_id: int, task: int) -> None:
        self._settings = settings
        self._record = record
        self._columns = columns(record)
        self._query = query
        self._batch_id = batch_id
        self._next = task * 100_000
        self.written = Written()

    def write(self, found: Iterable[Message]) -> None:
        """Write messages, chunk by chunk.

        Raises
        ------
        StoreUnavailable, StoreError
            See :func:`jobs.sinks.postgres.classify`.
        """
        for group in messages.chunks(found, CHUNK_ROWS):
            self._group(group)

    def _group(self, group: list[Message]) -> None:
        rows = hot_rows(messages.joined(group, self._record, self._columns), self._record)
        number, self._next = self._next, self._next + 1
        try:
            self.written.inserted += self._insert(rows, (self._query, self._batch_id, number, _offsets(group)))
            self.written.rows += rows.num_rows
        except RefusedData as e:
            # One message with a value the database will not have must not hold up the others: find it.
            if len(group) == 1:
                self.written.letters.append(group[0].refused(f"store: {e}", self._record.query(SINK)))
                return
            middle = len(group) // 2
            self._group(group[:middle])
            self._group(group[middle:])

    def _insert(self, rows: pa.Table, ledger: tuple[str, int, int, str]) -> int:
        connection = postgres.kept(self._settings, f"flowlake-{SINK}")
        try:
            table = table_of(self._record)
            placing.ready(connection, self._settings, table, rows[table.time])
            return insert(connection, rows, table, ledger)
        except psycopg2.Error as e:
            postgres.discard(connection)
            raise meant(e, self._settings) from e


def task(
    settings: Settings, record: RecordType, query: str, batch_id: int, intake: Callable[[], Intake]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for ``mapInArrow``: writes, and yields one row of counts."""

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        writer = Writer(settings.hot, record, query, batch_id, context.partitionId() if context else 0)
        name, stored, taken = record.query(SINK), columns(record), intake()
        wanted = sorted({*stored, *taken.columns}, key=record.published.get_field_index)
        away = fault = refused = left_out = ""
        letters: list[DeadLetter] = []

        def decoded() -> Iterator[Message]:
            for batch in batches:
                found, bad = messages.decode(batch, record, query=name, columns=wanted)
                letters.extend(bad)
                for message in taken.sift(found):
                    yield replace(message, rows=message.rows.select(stored))

        try:
            writer.write(decoded())
            refused = sink.refuse(letters + writer.written.letters, settings.kafka)
            left_out = taken.report()
        except StoreUnavailable as e:
            away = str(e)
        except StoreError as e:
            fault = str(e)
        done = writer.written
        yield pa.record_batch([[done.rows], [done.inserted], [refused], [left_out], [away], [fault]], schema=_REPORT)

    return write


def component(settings: Settings, table: HotTable) -> Component:
    """A table of this store: its versions, and how it lies."""
    return Component(table.component, settings.hot, table.migrations, Layouts(HotLayout(settings.hot, table), RoleGrants(of_hot(table))))


class HotSink:
    """The hot table of a record type (:class:`jobs.sinks.sink.Sink`)."""

    final = True
    hint = "start it (flowlake up), or set hot.host and hot.port"

    def __init__(self, settings: Settings, record: RecordType) -> None:
        self.name = record.query(SINK)
        self.record = record
        self.trigger_ms = settings.hot.trigger_ms
        self._settings = settings
        self._keeper = QuarantineWriter(settings, record, SINK)

    @property
    def store(self) -> str:
        return postgres.where(self._settings.hot)

    def prepare(self) -> None:
        migrate(component(self._settings, table_of(self.record)))
        self._keeper.prepare()

    def begin(self, handle: QueryHandle) -> None:
        """Nothing works beside the batches."""

    def apply(self, frame: DataFrame, batch_id: int, *, again: bool) -> Applied:
        if again:
            # From the driver: no task, and so no core, waits for a database that is away.
            postgres.connect(self._settings.hot, f"flowlake-{SINK}-probe").close()
        work = task(self._settings, self.record, sink.query_id(frame.sparkSession), batch_id, self._keeper.intake)
        reports = frame.mapInArrow(settled(work), _REPORT_DDL).collect()
        for report in reports:
            if report.fault:
                raise StoreError(report.fault)
        for report in reports:
            if report.away:
                raise StoreUnavailable(report.away)
        left_out = tuple(r.left_out for r in reports)
        self._keep(left_out, sink.application(self, frame.sparkSession), batch_id)
        rows, inserted = (sum(r[name] for r in reports) for name in ("rows", "inserted"))
        return Applied(rows, inserted, tuple(r.refused for r in reports), left_out=left_out)

    def _keep(self, left_out: Sequence[str], app: str, batch_id: int) -> None:
        """Into the quarantine with what fails a check, where this query writes it."""
        from deltalake.exceptions import DeltaError

        try:
            self._keeper.commit(left_out, app, batch_id)
        except (DeltaError, OSError) as e:  # the batch is repeated: what is in the table already stays one
            raise StoreUnavailable(f"quarantine {self._keeper.root}: {one_line(e)}") from e

    def applied(self, frame: DataFrame, batch_id: int, done: Applied) -> None:
        if batch_id % _PRUNE_EVERY == 0:
            _prune(self._settings.hot, sink.query_id(frame.sparkSession), batch_id)


def _prune(settings: PostgresSettings, query: str, batch_id: int) -> None:
    """Forget old lines of the ledger; a failure leaves them to the next time."""
    try:
        connection = postgres.kept(settings, f"flowlake-{SINK}")
        with connection, connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {hot.LEDGER} WHERE query = %s AND batch_id < %s", (query, batch_id - LEDGER_BATCHES))
    except (psycopg2.Error, StoreUnavailable, StoreError) as e:
        get("sink.hot").warning("old lines of the batch ledger stay", cause=str(e))
