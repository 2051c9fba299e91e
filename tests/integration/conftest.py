"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from infra.config import Settings
from infra.sections import HotSettings
from tests.integration.archivebench import ArchiveBench
from tests.integration.hotstore import STORES, empty_database, server_of
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


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[HotSettings]:
    """An empty database for a hot store: on plain PostgreSQL, and on TimescaleDB where ``FLOWLAKE_TIMESCALE_DSN`` names a server."""
    server = server_of(request.param, request)
    with empty_database(server) as name:
        yield HotSettings(database=name, **server)


@pytest.fixture
def plain(database: dict[str, Any]) -> HotSettings:
    """An empty database on plain PostgreSQL."""
    return HotSettings(**database)


@pytest.fixture
def archive(store: HotSettings, settings: Callable[..., Settings], tmp_path: Path) -> ArchiveBench:
    """A hot store whose retention waits for the archive: a policy must not drop what a test has just put there."""
    hot = {name: getattr(store, name) for name in store.model_fields_set} | {"keep_until_archived": True}
    return ArchiveBench(settings(hot=hot, archive={"path": str(tmp_path / "archive"), "file_rows": 1000}))
