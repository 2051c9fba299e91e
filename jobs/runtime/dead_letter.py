"""Dead letters: what could not be decoded goes to the topic ``dead-letter`` and is never silently lost.

A dead letter is the raw value of the message, byte for byte, with headers that say where it came from and why it was refused. Delivery is
at-least-once: the identity of a letter is (source-topic, source-partition, source-offset, query).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from infra.errors import one_line
from infra.kafka.client import client_options
from infra.sections import KafkaSettings
from schemas.topics import DEAD_LETTER

HEADER_REASON = "reason"
HEADER_TOPIC = "source-topic"
HEADER_PARTITION = "source-partition"
HEADER_OFFSET = "source-offset"
HEADER_QUERY = "query"
#: Present (original length in bytes) when the value had to be cut to fit into a message.
HEADER_LENGTH = "source-length"

#: Room for the headers below the topic's message bound.
_VALUE_LIMIT = DEAD_LETTER.max_message_bytes - 64 * 1024
_REASON_LIMIT = 500

#: Producers of this process, by broker. Keyed by process too: Spark forks its Python workers.
_producers: dict[tuple[int, str], Any] = {}


@dataclass(frozen=True)
class DeadLetter:
    """A message that was refused.

    ``reason`` is one line that begins with a short code (``not-arrow: ...``); the code (:attr:`code`) is what is counted.
    """

    value: bytes | None
    reason: str
    topic: str
    partition: int
    offset: int
    query: str = ""

    @property
    def code(self) -> str:
        """The part of the reason before the colon."""
        return self.reason.split(":", 1)[0]

    def headers(self) -> list[tuple[str, bytes]]:
        """Kafka headers, values as UTF-8 text."""
        pairs = [
            (HEADER_REASON, one_line(self.reason, _REASON_LIMIT)),
            (HEADER_TOPIC, self.topic),
            (HEADER_PARTITION, str(self.partition)),
            (HEADER_OFFSET, str(self.offset)),
        ]
        if self.query:
            pairs.append((HEADER_QUERY, self.query))
        if self.value is not None and len(self.value) > _VALUE_LIMIT:
            pairs.append((HEADER_LENGTH, str(len(self.value))))
        return [(name, text.encode()) for name, text in pairs]

    def body(self) -> bytes:
        """Value to be sent: the raw bytes, cut only where the broker would refuse them."""
        return (self.value or b"")[:_VALUE_LIMIT]

    def key(self) -> bytes:
        """Kafka key: the same letter sent twice lands in the same partition."""
        return f"{self.topic}/{self.partition}/{self.offset}".encode()

    def row(self) -> dict[str, Any]:
        """The letter as a row for Spark's Kafka sink (``key``, ``value``, ``headers``)."""
        return {"key": self.key(), "value": self.body(), "headers": [{"key": k, "value": v} for k, v in self.headers()]}


def producer(kafka: KafkaSettings, client_id: str = "flowlake-dead-letter") -> Any:
    """A producer for small traffic, made once per process and broker.

    Raises
    ------
    kafka.errors.KafkaError
        When no broker answers.
    """
    key = (os.getpid(), f"{client_id}@{kafka.bootstrap_servers}")
    if key not in _producers:
        from kafka import KafkaProducer

        _producers[key] = KafkaProducer(
            **client_options(kafka),
            client_id=client_id,
            acks="all",
            linger_ms=5,  # a batch of alerts is some hundred sends in a row: one request, not one each
            compression_type="gzip",  # in every Python; lz4 needs a package of its own
            max_request_size=DEAD_LETTER.max_message_bytes,
        )
    return _producers[key]


def send(letters: Iterable[DeadLetter], kafka: KafkaSettings, timeout_s: float = 30.0) -> int:
    """Send letters to the topic and wait until the broker has them.

    Parameters
    ----------
    letters
        What was refused; may be empty (no connection is made then).
    kafka
        Broker and topic prefix.

    Returns
    -------
    int
        Number of letters sent.

    Raises
    ------
    kafka.errors.KafkaError
        The broker did not take a letter: the caller's batch must be repeated.
    """
    futures = []
    out = None
    for letter in letters:
        out = out or producer(kafka)
        futures.append(out.send(kafka.topic_prefix + DEAD_LETTER.name, key=letter.key(), value=letter.body(), headers=letter.headers()))
    for future in futures:
        future.get(timeout=timeout_s)
    return len(futures)
