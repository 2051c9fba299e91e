"""From the outbox to the topic ``alerts``: what a batch committed is sent afterwards, by a thread of its own.

A message leaves the outbox only when the broker has it, so a crash between the two sends it again and loses nothing; its ``id`` lets
readers
deduplicate. The broker being slow or away does not hold up the alerts in the database.
"""

from __future__ import annotations

import threading

import psycopg2

from infra.config import Settings
from infra.errors import StoreError, one_line
from infra.log import get
from jobs.runtime.dead_letter import producer
from jobs.sinks import postgres
from jobs.sinks.stores import QueryHandle, StoreUnavailable
from schemas import alerts as table
from schemas.topics import ALERTS

_BATCH = 500
_IDLE_S = 5.0
CONTENT_ALERT = f"application/vnd.flowlake.alert+json; v={table.MESSAGE_VERSION}"


def drain(settings: Settings) -> int:
    """Send what waits in the outbox.

    Returns
    -------
    int
        Messages sent.

    Raises
    ------
    StoreUnavailable, StoreError
        The database cannot be used.
    kafka.errors.KafkaError
        The broker did not take a message; it stays in the outbox.
    """
    topic = settings.topic(ALERTS.name)
    connection = postgres.kept(settings.alerts, "flowlake-outbox")
    sent = 0
    try:
        while True:
            with connection, connection.cursor() as cursor:
                # Skipping locked rows: another process may be draining the same outbox.
                cursor.execute(f"SELECT seq, key, message FROM {table.OUTBOX} ORDER BY seq LIMIT %s FOR UPDATE SKIP LOCKED", (_BATCH,))
                waiting = cursor.fetchall()
                if not waiting:
                    return sent
                out = producer(settings.kafka, "flowlake-alerts")
                headers = [("content-type", CONTENT_ALERT.encode())]
                futures = [out.send(topic, key=key.encode(), value=message.encode(), headers=headers) for _, key, message in waiting]
                for future in futures:
                    future.get(timeout=30)
                cursor.execute(f"DELETE FROM {table.OUTBOX} WHERE seq = ANY(%s)", ([seq for seq, _, _ in waiting],))
                sent += len(waiting)
    except psycopg2.Error as e:
        postgres.discard(connection)
        raise postgres.classify(e, settings.alerts) from e
    except BaseException:
        postgres.discard(connection)
        raise


class Drainer(threading.Thread):
    """Drains after each :meth:`wake`, at its start, and every few seconds; ends with the query."""

    def __init__(self, settings: Settings, handle: QueryHandle) -> None:
        super().__init__(name="alert-outbox", daemon=True)
        self._settings = settings
        self._handle = handle
        self._wake = threading.Event()
        self._wake.set()

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def run(self) -> None:
        """Drain until the query ends, and once more then; failures are logged and tried again."""
        from kafka.errors import KafkaError

        log = get("sink.alerts")
        active = True
        while active:
            self._wake.wait(_IDLE_S)
            self._wake.clear()
            active = self._handle.active()
            try:
                drain(self._settings)
            except (StoreUnavailable, StoreError, RuntimeError, KafkaError) as e:
                log.warning("alerts wait for the topic in the outbox", cause=one_line(e))
