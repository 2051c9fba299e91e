"""What the tests of the hot store's life share: rows of chosen times, written as the stream writes them, and questions."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from psycopg2.extensions import parse_dsn

from infra.sections import HotSettings, PostgresSettings
from jobs.hotstore import placing
from jobs.hotstore.layout import HotLayout
from jobs.hotstore.maintain import Maintained, maintain
from jobs.sinks import hot, migrations, postgres
from jobs.sinks.migrations import Component
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from schemas.records import HotTable
from tests.sinksdata import table

NOW = datetime.now(UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
#: What a hot store lies on.
STORES = ("postgresql", "timescaledb")


def server_of(kind: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A server of a kind, as settings have it; the test is skipped where none is named."""
    if kind == "timescaledb":
        dsn = os.environ.get("FLOWLAKE_TIMESCALE_DSN", "")
        if not dsn:
            pytest.skip("FLOWLAKE_TIMESCALE_DSN names no server with TimescaleDB: postgresql://user:password@host:port/postgres")
        told = parse_dsn(dsn)
        return {"host": told["host"], "port": int(told.get("port", 5432)), "user": told["user"], "password": told.get("password", "")}
    server: PostgresSettings = request.getfixturevalue("postgres_server")
    return server.model_dump(include={"host", "port", "user", "password"})


@contextmanager
def empty_database(server: dict[str, Any], like: str = "template0") -> Iterator[str]:
    """A database of its own on a server, for as long as it is needed; with what another one holds, to which nobody is connected."""
    name = f"h{uuid.uuid4().hex[:12]}"
    with closing(postgres.connect(PostgresSettings(database="postgres", **server), "test")) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name} TEMPLATE {like}")
        try:
            yield name
        finally:
            connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")


class Store:
    """A hot table in a database of one test; each batch that is written has a number of its own."""

    def __init__(self, settings: HotSettings, table: HotTable = NETWORK_FLOWS) -> None:
        self.settings = settings
        self.table = table
        self._batch = 0

    def with_settings(self, **changed: Any) -> Store:
        return Store(self.settings.model_copy(update=changed), self.table)

    @property
    def component(self) -> Component:
        return Component(self.table.component, self.settings, self.table.migrations, HotLayout(self.settings, self.table))

    def migrate(self) -> list[str]:
        """What was said."""
        said: list[str] = []
        migrations.migrate(self.component, said.append)
        return said

    def missing(self) -> tuple[str, ...]:
        return migrations.status(self.component).missing

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(postgres.connect(self.settings, "test")) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(query, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def write(self, rows: pa.Table) -> int:
        """As a batch of the stream; how many rows were new."""
        self._batch += 1
        with closing(postgres.connect(self.settings, "test")) as connection:
            return write(connection, self.settings, rows, self.table, self._batch)

    def maintain(self, **how: Any) -> Maintained:
        done = maintain(self.settings, [self.table], lambda _: None, **how)
        assert done is not None, "another process is maintaining"
        (report,) = done
        return report

    def where(self) -> dict[str, int]:
        """Rows by partition."""
        return dict(self.sql(f"SELECT tableoid::regclass::text, count(*) FROM {self.table.name} GROUP BY 1"))

    @property
    def rows(self) -> int:
        ((count,),) = self.sql(f"SELECT count(*) FROM {self.table.name}")
        return int(count)


def write(connection: Any, settings: HotSettings, rows: pa.Table, into: HotTable, batch: int) -> int:
    """What the writer of the stream does with a chunk of messages."""
    placing.ready(connection, settings, into, rows[into.time])
    return hot.insert(connection, rows, into, ("test", batch, 0, f"{batch}"))


def flows(times: Sequence[datetime], attack: bool = True, **columns: Any) -> pa.Table:
    """Rows of ``network_flows`` at these times; the same time is the same flow."""
    kind = {"attack_type": "SYN_SCAN"} if attack else {}
    rows = hot.hot_rows(table([{"name": f"{time} {attack}", **kind, **columns} for time in times]), FLOWS)
    return at(rows, times)


def at(rows: pa.Table, times: Sequence[datetime]) -> pa.Table:
    return rows.set_column(0, rows.column_names[0], pa.array(times, pa.timestamp("us", tz="UTC")))


def partition(day: datetime) -> str:
    return f"network_flows_p{day:%Y%m%d}"
