"""The SQL of the documentation is understood by the tables as they are."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from infra.sections import PostgresSettings
from jobs.sinks.migrations import Component, migrate
from schemas import alerts
from schemas.network_flows import NETWORK_FLOWS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "query-the-stores.md"
STATEMENTS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tables(postgres_server: PostgresSettings) -> PostgresSettings:
    migrate(Component("hot", postgres_server, NETWORK_FLOWS.migrations))
    migrate(Component("alerts", postgres_server, alerts.MIGRATIONS))
    return postgres_server


def test_there_are_statements() -> None:
    assert len(STATEMENTS) >= 4


@pytest.mark.integration
@pytest.mark.parametrize("sql", STATEMENTS)
def test_statement_runs(sql: str, tables: PostgresSettings) -> None:
    place = {"host": tables.host, "port": tables.port, "user": tables.user, "dbname": tables.database}
    with closing(psycopg2.connect(**place, password=tables.password.get_secret_value())) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.description is not None
