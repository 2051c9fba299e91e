"""A topic from its beginning on, for whoever keeps the newest of what it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.config import Settings


def follow(settings: Settings, topic: str, ending: threading.Event) -> Iterator[list[tuple[bytes | None, int]]]:
    """Values of a topic from its beginning, with when they were written (ms), until ``ending`` is set; nothing new: an empty list."""
    from kafka import KafkaConsumer

    from infra.kafka.client import client_options

    with closing(KafkaConsumer(settings.topic(topic), auto_offset_reset="earliest", **client_options(settings.kafka))) as consumer:
        while not ending.is_set():
            polled = consumer.poll(timeout_ms=500).values()
            yield [(message.value, message.timestamp) for messages in polled for message in messages]
