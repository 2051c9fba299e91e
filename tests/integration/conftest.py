"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from infra.config import Settings
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


@pytest.fixture
def archive(database: dict[str, Any], settings: Callable[..., Settings], tmp_path: Path) -> ArchiveBench:
    return ArchiveBench(settings(hot=database, archive={"path": str(tmp_path / "archive"), "file_rows": 1000}))
