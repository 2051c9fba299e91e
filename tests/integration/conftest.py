"""Fixtures of the integration tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, NewTopic
from psycopg2.extensions import parse_dsn

from infra.config import Settings
from infra.sections import HotSettings, PostgresSettings
from jobs.sinks import postgres
from tests.integration.archivebench import ArchiveBench
from tests.integration.sinkbench import Bench


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


@pytest.fixture(params=["postgresql", "timescaledb"])
def store(request: pytest.FixtureRequest) -> Iterator[HotSettings]:
    """An empty database for a hot store: on plain PostgreSQL, and on TimescaleDB where ``FLOWLAKE_TIMESCALE_DSN`` names a server."""
    if request.param == "timescaledb":
        dsn = os.environ.get("FLOWLAKE_TIMESCALE_DSN", "")
        if not dsn:
            pytest.skip("FLOWLAKE_TIMESCALE_DSN names no server with TimescaleDB: postgresql://user:password@host:port/postgres")
        told = parse_dsn(dsn)
        named = {"host": told["host"], "port": int(told.get("port", 5432)), "user": told["user"], "password": told.get("password", "")}
    else:
        server: PostgresSettings = request.getfixturevalue("postgres_server")
        named = server.model_dump(include={"host", "port", "user", "password"})
    name = f"h{uuid.uuid4().hex[:12]}"
    with closing(postgres.connect(PostgresSettings(database="postgres", **named), "test")) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        yield HotSettings(database=name, **named)
        connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def plain(database: dict[str, Any]) -> HotSettings:
    """An empty database on plain PostgreSQL."""
    return HotSettings(**database)


@pytest.fixture
def archive(store: HotSettings, settings: Callable[..., Settings], tmp_path: Path) -> ArchiveBench:
    """A hot store whose retention waits for the archive: a policy must not drop what a test has just put there."""
    hot = {name: getattr(store, name) for name in store.model_fields_set} | {"keep_until_archived": True}
    return ArchiveBench(settings(hot=hot, archive={"path": str(tmp_path / "archive"), "file_rows": 1000}))
