"""Kafka: a topic of the platform's broker, keyed by incident; the header ``id`` is the same at every attempt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from infra.errors import one_line
from infra.kafka.client import client_options
from infra.sections import KafkaSettings
from jobs.notifying.notice import Notice
from jobs.notifying.receivers.outcome import ReceiverRefused, TryLater


class KafkaReceiver:
    """Writes to a topic.

    Parameters
    ----------
    kafka
        The broker.
    topic
        Its name on the broker.
    shape
        Message -> JSON.
    content_type
        Header of each message.
    timeout_s
        Seconds until the broker must have it.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, shape: Callable[[Notice], Any], content_type: str, timeout_s: float) -> None:
        self._kafka = kafka
        self._topic = topic
        self._shape = shape
        self._content_type = content_type
        self._timeout_s = timeout_s
        self._producer: Any = None

    @property
    def where(self) -> str:
        return f"topic {self._topic} at {self._kafka.bootstrap_servers}"

    def shown(self, notice: Notice) -> str:
        return json.dumps(self._shape(notice), indent=1, ensure_ascii=False)

    def send(self, notice: Notice) -> str:
        """Write it, and wait until all replicas have it."""
        from kafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

        headers = [("content-type", self._content_type.encode()), ("id", notice.id.encode()), ("news", notice.news.encode())]
        value = json.dumps(self._shape(notice), ensure_ascii=False, separators=(",", ":")).encode()
        try:
            self._producer = self._producer or self._connected()
            sent = self._producer.send(self._topic, key=notice.key.encode(), value=value, headers=headers).get(timeout=self._timeout_s)
        except MessageSizeTooLargeError as e:
            raise ReceiverRefused(f"{self.where}: {one_line(e)}") from e
        except UnknownTopicOrPartitionError as e:
            raise TryLater(f"{self.where}: there is no such topic") from e
        except (KafkaError, RuntimeError, OSError) as e:
            raise TryLater(f"{self.where}: {one_line(e)}") from e
        return f"partition {sent.partition}, offset {sent.offset}"

    def _connected(self) -> Any:
        from kafka import KafkaProducer

        within_ms = round(self._timeout_s * 1000)
        return KafkaProducer(
            **client_options(self._kafka),
            client_id="flowlake-notify",
            acks="all",
            compression_type="gzip",
            bootstrap_timeout_ms=within_ms,
            max_block_ms=within_ms,
            request_timeout_ms=within_ms,
            delivery_timeout_ms=within_ms,  # it must not arrive when it has been put down as one that has not
        )
