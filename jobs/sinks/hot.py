"""Hot store: closed records into PostgreSQL's ``network_flows``.

The tasks write, not the driver: each copies its messages into ``network_flows``, what is there already being left alone (the identity is
the primary key), together with a line of the batch ledger, in one transaction a chunk of messages. A task never waits for the database -
it would hold a core that the meter needs - but reports it as away; the driver waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg2
import pyarrow as pa

from infra.config import PostgresSettings, Settings
from infra.errors import StoreError, one_line
from infra.log import get
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.workers import settled
from jobs.sinks import counters, messages, postgres, source
from jobs.sinks.messages import Message
from jobs.sinks.postgres import RefusedData
from jobs.sinks.stores import QueryHandle, StoreUnavailable, until_done
from schemas import hot
from schemas.flows import PREDICTION_SCHEMA

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

NAME = "hot"
#: Rows of one COPY and transaction.
CHUNK_ROWS = 50_000
#: Batches whose ledger lines are kept.
LEDGER_BATCHES = 10_000

_COLUMNS = tuple(sorted({*hot.SOURCE_NAMES, "closed"}, key=PREDICTION_SCHEMA.get_field_index))
_STAGE = "hot_stage"
_REPORT = pa.schema(
    [
        ("rows", pa.int64()),
        ("inserted", pa.int64()),
        ("refused", pa.string()),
        ("away", pa.string()),  # why the store could not be used; the driver waits and repeats the batch
        ("fault", pa.string()),  # why it will not be usable; the query stops
    ]
)
_REPORT_DDL = "rows long, inserted long, refused string, away string, fault string"


@dataclass
class Written:
    """What a task did: closed records seen, rows that were new, messages refused."""

    rows: int = 0
    inserted: int = 0
    letters: list[DeadLetter] = field(default_factory=list)


def hot_rows(table: pa.Table) -> pa.Table:
    """Closed records as rows of ``network_flows``: the declared columns under their names in the store."""
    closed = table.filter(table["closed"])
    return pa.table([closed[column.source] for column in hot.HOT_COLUMNS], names=list(hot.COLUMN_NAMES))


def insert(connection: Any, rows: pa.Table, ledger: tuple[str, int, int, str]) -> int:
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
        inserted = 0
        if rows.num_rows:
            # In the order of the key: two writers of the same rows wait for each other instead of deadlocking.
            rows = rows.sort_by([("timestamp", "ascending"), ("flow_id", "ascending")])
            inserted = _copy(cursor, rows)
        cursor.execute(
            f"INSERT INTO {hot.LEDGER} (query, batch_id, task, offsets, rows, inserted) VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (query, batch_id, task) DO UPDATE SET offsets = EXCLUDED.offsets, rows = EXCLUDED.rows, "
            f"inserted = {hot.LEDGER}.inserted + EXCLUDED.inserted, written_at = clock_timestamp()",
            (query, batch_id, task, offsets, rows.num_rows, inserted),
        )
        return int(inserted)


def _copy(cursor: Any, rows: pa.Table) -> int:
    """Copy rows into the table, those left out that are there; number of the others.

    Rows that are there already mean that a batch is being repeated after a failure: it is taken for granted that none is, and only when
    the table objects do they go through a stage table, at twice the cost.
    """
    cursor.execute("SAVEPOINT straight")
    try:
        postgres.copy_table(cursor, hot.TABLE, hot.COLUMN_TYPES, rows)
        return int(cursor.rowcount)
    except psycopg2.errors.UniqueViolation:
        cursor.execute("ROLLBACK TO SAVEPOINT straight")
    cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {_STAGE} (LIKE {hot.TABLE}) ON COMMIT DELETE ROWS")
    postgres.copy_table(cursor, _STAGE, hot.COLUMN_TYPES, rows)
    names = ", ".join(hot.COLUMN_NAMES)
    cursor.execute(f"INSERT INTO {hot.TABLE} ({names}) SELECT {names} FROM {_STAGE} ORDER BY timestamp, flow_id ON CONFLICT DO NOTHING")
    return int(cursor.rowcount)


def _offsets(group: list[Message]) -> str:
    """Which messages a chunk is made of."""
    first, last = group[0], group[-1]
    return f"{first.topic}/{first.partition}/{first.offset}-{last.partition}/{last.offset}/{len(group)}"


class Writer:
    """Writes the messages of one task. Chunks are numbered within the task, so that each has its own line in the ledger."""

    def __init__(self, settings: PostgresSettings, query: str, batch_id: int, task: int) -> None:
        self._settings = settings
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
        rows = hot_rows(messages.joined(group, _COLUMNS))
        number, self._next = self._next, self._next + 1
        try:
            self.written.inserted += self._insert(rows, (self._query, self._batch_id, number, _offsets(group)))
            self.written.rows += rows.num_rows
        except RefusedData as e:
            # One message with a value the database will not have must not hold up the others: find it.
            if len(group) == 1:
                self.written.letters.append(group[0].refused(f"store: {e}", NAME))
                return
            middle = len(group) // 2
            self._group(group[:middle])
            self._group(group[middle:])

    def _insert(self, rows: pa.Table, ledger: tuple[str, int, int, str]) -> int:
        connection = postgres.kept(self._settings, f"flowlake-{NAME}")
        try:
            return insert(connection, rows, ledger)
        except psycopg2.Error as e:
            postgres.discard(connection)
            raise postgres.classify(e, self._settings) from e


def task(settings: Settings, query: str, batch_id: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for ``mapInArrow``: writes, and yields one row of counts."""

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        writer = Writer(settings.hot, query, batch_id, context.partitionId() if context else 0)
        away = fault = refused = ""
        letters: list[DeadLetter] = []

        def decoded() -> Iterator[Message]:
            for batch in batches:
                found, bad = messages.decode(batch, query=NAME, columns=_COLUMNS)
                letters.extend(bad)
                yield from found

        try:
            writer.write(decoded())
            refused = source.refuse(letters + writer.written.letters, settings.kafka)
        except StoreUnavailable as e:
            away = str(e)
        except StoreError as e:
            fault = str(e)
        done = writer.written
        yield pa.record_batch([[done.rows], [done.inserted], [refused], [away], [fault]], schema=_REPORT)

    return write


def prepare(settings: Settings) -> None:
    """Create or migrate the tables; TimescaleDB's parts when the server has the extension.

    Raises
    ------
    StoreError
        The database refuses.
    StoreUnavailable
        It cannot be reached.
    """
    postgres.migrate(settings.hot, NAME, hot.MIGRATIONS)
    connection = postgres.connect(settings.hot, "flowlake-migrate")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'")
            if not cursor.fetchone()[0]:
                return
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_MIGRATE,))
                for statement in hot.timescale_statements():
                    cursor.execute(statement)
        except psycopg2.Error as e:
            # The extension is a convenience: without the right to create it the table serves as it is.
            get("sink.hot").warning("TimescaleDB is there but could not be applied", cause=one_line(e))
    except psycopg2.Error as e:
        raise postgres.classify(e, settings.hot) from e
    finally:
        connection.close()


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Start the query ``hot``.

    Raises
    ------
    StoreError
        The database cannot be reached or refuses. (Once started, the query waits for a database that goes away.)
    """
    handle = QueryHandle(NAME)
    name = postgres.where(settings.hot)
    try:
        prepare(settings)
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it (flowlake up), or set hot.host and hot.port") from e

    def once(frame: DataFrame, query: str, batch_id: int) -> list[Any]:
        reports = frame.mapInArrow(settled(task(settings, query, batch_id)), _REPORT_DDL).collect()
        for report in reports:
            if report.fault:
                raise StoreError(report.fault)
        for report in reports:
            if report.away:
                raise StoreUnavailable(report.away)
        return list(reports)

    def probe() -> None:
        postgres.connect(settings.hot, f"flowlake-{NAME}-probe").close()

    def apply(frame: DataFrame, batch_id: int) -> dict[str, Any]:
        query = source.query_id(frame.sparkSession)
        first = True

        def attempt() -> list[Any]:
            nonlocal first
            if not first:
                probe()  # from the driver: no task, and so no core, waits for a database that is away
            first = False
            return once(frame, query, batch_id)

        reports = until_done(attempt, handle, store=name, on_wait=lambda _: counters.add(counters.WAITS, NAME, 1))
        rows, inserted = sum(r.rows for r in reports), sum(r.inserted for r in reports)
        counters.add(counters.SINK_ROWS, NAME, inserted)
        counters.add(counters.SINK_COPIES, NAME, rows - inserted)
        refused = source.count_refused((r.refused for r in reports), NAME)
        if batch_id % 1000 == 0:
            _prune(settings.hot, query, batch_id)
        return {"rows": rows, "inserted": inserted, "refused": refused}

    return source.run(source.read(spark, settings, snapshots=False), settings, NAME, settings.hot.trigger_ms, handle, apply)


def _prune(settings: PostgresSettings, query: str, batch_id: int) -> None:
    """Forget old lines of the ledger; a failure leaves them to the next time."""
    try:
        connection = postgres.kept(settings, f"flowlake-{NAME}")
        with connection, connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {hot.LEDGER} WHERE query = %s AND batch_id < %s", (query, batch_id - LEDGER_BATCHES))
    except (psycopg2.Error, StoreUnavailable, StoreError) as e:
        get("sink.hot").warning("old lines of the batch ledger stay", cause=str(e))
