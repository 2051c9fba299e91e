"""Topics that lose messages, or are deleted and made anew under the same name."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kafka import KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from infra.config import Settings
from infra.kafka import topics
from infra.kafka.client import client_options


def remake(settings: Settings, topic: str, partitions: int = 0) -> None:
    """Delete a topic and make it again, with as many partitions as it had unless told otherwise."""
    name = settings.topic(topic)
    with topics.admin(settings) as client:
        config = client.describe_topics([name])[0]
    delete(settings, topic)
    create(settings, topic, partitions or len(config["partitions"]))


def delete(settings: Settings, topic: str) -> None:
    with topics.admin(settings) as client:
        client.delete_topics([settings.topic(topic)])


def create(settings: Settings, topic: str, partitions: int) -> None:
    name = settings.topic(topic)
    with topics.admin(settings) as client:
        for _ in range(100):
            try:
                client.create_topics([NewTopic(name, partitions, 1, topic_configs={"max.message.bytes": "10485760"})])
                break
            except TopicAlreadyExistsError:  # the deletion takes its time
                time.sleep(0.1)
        for _ in range(100):
            found = client.describe_topics([name])[0]["partitions"]
            if len(found) == partitions and all(p["error_code"] == 0 for p in found):
                return
            time.sleep(0.1)
    raise AssertionError(f"{name} was not made")


def drop_before(settings: Settings, topic: str, offset: int, partition: int = 0) -> None:
    """What retention does: the topic now begins at ``offset``."""
    with topics.admin(settings) as client:
        client.delete_records({TopicPartition(settings.topic(topic), partition): offset})


def send(settings: Settings, topic: str, messages: int | Iterable[bytes], partition: int = 0) -> None:
    """Some messages (or so many)."""
    producer = KafkaProducer(**client_options(settings.kafka))
    for value in [b"x"] * messages if isinstance(messages, int) else messages:
        producer.send(settings.topic(topic), value, partition=partition)
    producer.flush()
    producer.close()
