"""Fixtures of the integration tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from infra.config import PostgresSettings, Settings
from tests.integration.sinkbench import Bench


@pytest.fixture
def database(postgres_server: PostgresSettings) -> Iterator[dict[str, Any]]:
    """A database of this test alone, as settings of a section."""
    name = f"t{time.monotonic_ns()}"
    admin = postgres_server.model_copy(update={"database": "postgres"})
    connection = psycopg2.connect(
        host=admin.host, port=admin.port, dbname="postgres", user=admin.user, password=admin.password.get_secret_value() or None
    )
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield {"host": admin.host, "port": admin.port, "user": admin.user, "password": admin.password, "database": name, "trigger_ms": 0}
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def bench(kafka_server: str, database: dict[str, Any], settings: Callable[..., Settings]) -> Iterator[Bench]:
    made = settings(kafka={"bootstrap_servers": kafka_server}, hot=database, alerts={**database, "min_flows": 1}, lake={"trigger_ms": 0})
    admin = KafkaAdminClient(bootstrap_servers=kafka_server)
    admin.create_topics(
        [NewTopic(made.topic(t.name), 2 if t.name == "predictions" else 1, 1, topic_configs=t.config()) for t in made.catalogue.topics]
    )
    with closing(admin):
        built = Bench(made)
        yield built
        built.close()
