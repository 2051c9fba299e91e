"""What the tests of the sinks share: topics and a database of one test alone, and queries that run while it looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from kafka import KafkaConsumer, KafkaProducer

from infra.config import Settings
from infra.sections import PostgresSettings
from tests.sinksdata import headers, table, value

Rows = list[dict[str, Any]]


class Bench:
    """One test's broker topics and database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, max_request_size=10 << 20)

    def send(self, *messages: tuple[bytes | None, list[tuple[str, bytes]]], partition: int = 0) -> None:
        for data, pairs in messages:
            self._producer.send(self.settings.topic("predictions"), key=b"k", value=data, headers=pairs, partition=partition).get(10)

    def rows(self, rows: Rows, message_id: str = "", partition: int = 0) -> None:
        self.send((value(table(rows)), headers(message_id or f"q/{time.monotonic_ns()}")), partition=partition)

    def topic(self, name: str) -> list[Any]:
        """Everything in a topic."""
        consumer = KafkaConsumer(
            self.settings.topic(name), bootstrap_servers=self.settings.kafka.bootstrap_servers, auto_offset_reset="earliest", group_id=None,
            consumer_timeout_ms=1500,
        )  # fmt: skip
        with closing(consumer):
            return list(consumer)

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = run(self.settings.hot, query, *values)
        return found

    def close(self) -> None:
        self._producer.close()


def run(where: PostgresSettings, query: str, *values: Any) -> Any:
    connection = psycopg2.connect(
        host=where.host, port=where.port, dbname=where.database, user=where.user, password=where.password.get_secret_value() or None
    )
    with closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def running(start: Callable[..., Any], spark: Any, settings: Settings) -> Iterator[Any]:
    query = start(spark, settings)
    try:
        yield query
    finally:
        query.stop()


def drain(start: Callable[..., Any], spark: Any, settings: Settings) -> None:
    """Start a sink, let it take what there is, stop it."""
    with running(start, spark, settings) as query:
        query.processAllAvailable()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.1)
