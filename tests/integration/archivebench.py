"""A hot store with a table of every SQL type, and its archive, for the tests of both."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.config import Settings
from jobs.archiving import dataset, months, overview, restore
from jobs.archiving import run as runs
from jobs.archiving.onemonth import MonthDone
from jobs.archiving.run import Wish
from jobs.hotstore import partitions, shape
from jobs.hotstore.shape import TableKind
from jobs.sinks import hot, postgres
from jobs.sinks.migrations import migrate
from schemas.archive import BOOK
from tests.archivedata import EVERYTHING, everything, insert
from tests.integration.sinkbench import run as sql

TABLE = "everything"
#: What a file of settings does not hold.
SECRETS = {"lake": {"s3_access_key", "s3_secret_key"}, "kafka": {"sasl_password"}, "hot": {"password"}, "alerts": {"password"}}


class ArchiveBench:
    """A hot store with a table of every SQL type, and its archive."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.said: list[str] = []
        migrate(hot.component(settings, EVERYTHING.hot))  # type: ignore[arg-type]

    def fill(self, rows: list[dict[str, Any]]) -> None:
        insert(self.settings.hot, EVERYTHING, rows)

    def hot(self) -> list[str]:
        return everything(self.settings.hot, TABLE)

    def run(self, wish: Wish | None = None) -> list[MonthDone]:
        self.said.clear()
        return runs.run(self.settings, [EVERYTHING], wish or Wish(), self.said.append)

    def restore(self, month: datetime, into: str = "") -> list[restore.RestoredMonth]:
        return restore.restore(self.settings, [EVERYTHING], months.of(month), into, self.said.append)

    def verify(self) -> list[str]:
        return [item.problem for item in overview.verify(self.settings, [EVERYTHING], None, self.said.append)[1]]

    def ids(self) -> list[str]:
        """Of the archived rows, as a reader finds them."""
        found = dataset.dataset(self.settings, EVERYTHING)
        return sorted(found.to_table(columns=["id"])["id"].to_pylist()) if found else []

    def folder(self) -> Path:
        return Path(self.settings.archive.path) / TABLE

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = sql(self.settings.hot, query, *values)
        return found

    def states(self) -> list[str]:
        return [state for (state,) in self.sql(f"SELECT state FROM {BOOK} ORDER BY month, started_at")]

    @property
    def kind(self) -> TableKind:
        """What the hot table is."""
        with closing(postgres.connect(self.settings.hot, "test")) as connection, connection.cursor() as cursor:
            return shape.read(cursor, TABLE).kind

    def not_on_timescale(self, why: str) -> None:
        if self.kind is TableKind.HYPERTABLE:
            pytest.skip(f"TimescaleDB {why}")

    def make_days(self, first: datetime, days: int) -> None:
        """Partitions of some days; TimescaleDB makes its chunks by itself."""
        if self.kind is not TableKind.PARTITIONED:
            return
        with closing(postgres.connect(self.settings.hot, "test")) as connection, connection, connection.cursor() as cursor:
            for number in range(days):
                partitions.make(cursor, hot.table_of(EVERYTHING), first.date() + timedelta(days=number))
