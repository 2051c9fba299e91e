"""Databases that have the tables of the alerts already: made once, emptied or copied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from infra import config
from infra.sections import AlertSettings, PostgresSettings
from jobs.sinks import alerts
from jobs.sinks.migrations import migrate
from tests.integration.sinkbench import run


@contextmanager
def made(server: PostgresSettings, template: str) -> Iterator[str]:
    """A database like another; its name."""
    name = f"t{uuid4().hex[:16]}"
    password = server.password.get_secret_value() or None
    connection = psycopg2.connect(host=server.host, port=server.port, dbname="postgres", user=server.user, password=password)
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield name
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def section(server: PostgresSettings, name: str) -> dict[str, Any]:
    return {"host": server.host, "port": server.port, "user": server.user, "password": server.password, "database": name, "trigger_ms": 0}


@pytest.fixture(scope="session")
def template(postgres_server: PostgresSettings) -> Iterator[str]:
    """Name of a database with the tables of the alerts."""
    with made(postgres_server, "template1") as name:
        migrate(alerts.component(config.build(alerts=section(postgres_server, name))))
        yield name


@pytest.fixture(scope="session")
def shared(postgres_server: PostgresSettings, template: str) -> Iterator[dict[str, Any]]:
    with made(postgres_server, template) as name:
        yield section(postgres_server, name)


@pytest.fixture
def database(shared: dict[str, Any]) -> dict[str, Any]:
    """A database with the tables of the alerts and nothing in them, as settings of a section; a test changes no table of it."""
    tables = (
        "alerts, incidents, alert_candidates, alert_outbox, notifications, notification_threads, notification_messages, notification_held, "
        "platform_conditions"
    )
    run(AlertSettings(**shared), f"TRUNCATE {tables} CASCADE")
    return shared


@pytest.fixture
def own_database(postgres_server: PostgresSettings, template: str) -> Iterator[dict[str, Any]]:
    """The same, of this test alone."""
    with made(postgres_server, template) as name:
        yield section(postgres_server, name)
