"""Topics on a real broker: created once, differences reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.config import Settings
from infra.errors import BrokerError
from infra.kafka import topics
from schemas.packets import RAW_PACKETS

pytestmark = pytest.mark.integration
Factory = Callable[..., Settings]


@pytest.fixture
def local(settings: Factory, kafka_server: str) -> Settings:
    return settings(kafka={"bootstrap_servers": kafka_server})


def test_created_once_as_declared(local: Settings) -> None:
    assert [t.missing for t in topics.inspect(local).topics] == [True] * len(local.catalogue.topics)
    first = topics.ensure(local)
    assert all(t.created for t in first.topics)
    assert first.differences == []
    assert {t.name: t.partitions for t in first.topics}[local.topic("raw-packets")] == local.kafka.partitions["raw-packets"]
    second = topics.ensure(local)
    assert not any(t.created for t in second.topics)
    assert second.differences == []


def test_every_difference_is_reported_and_nothing_changed(local: Settings, settings: Factory, kafka_server: str) -> None:
    from kafka.admin import NewTopic

    name = local.topic(RAW_PACKETS.name)
    with topics.admin(local) as client:
        client.create_topics([NewTopic(name, 7, 1, topic_configs={"retention.ms": "1234", "compression.type": "gzip"})])
    wants_three = local.model_copy(update={"kafka": local.kafka.model_copy(update={"replication_factor": 3})})
    found = "\n".join(d for d in topics.inspect(wants_three).differences if d.startswith(f"{name}:"))
    assert "7 partitions, declared 4" in found
    assert "replication factor 1, declared 3" in found
    assert f"retention.ms=1234, declared {RAW_PACKETS.retention_ms}" in found
    assert "compression.type=gzip, declared producer" in found
    assert f"max.message.bytes=16777216, declared {RAW_PACKETS.max_message_bytes}" in found
    assert {t.name: t.partitions for t in topics.ensure(local).topics}[name] == 7


def test_more_replicas_than_brokers_is_refused_with_the_reason(settings: Factory, kafka_server: str) -> None:
    with pytest.raises(BrokerError, match="cannot be created") as failure:
        topics.ensure(settings(kafka={"bootstrap_servers": kafka_server, "replication_factor": 3}))
    assert "kafka.replication_factor" in failure.value.hint


def test_absent_broker(settings: Factory) -> None:
    with pytest.raises(BrokerError, match=r"no Kafka broker answers at 127\.0\.0\.1:1:"):
        topics.ensure(settings())
