"""The servers of a demo: started where they do not run, emptied of earlier demos, stopped again where the demo started them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from infra.config import Settings
from infra.errors import StackError, StoreError, one_line
from infra.kafka import topics
from infra.stack.local import LocalStack
from infra.stack.s3 import ObjectStore
from ops.harness.place import BUCKET, DATABASE, Place, is_demo_topic

Say = Callable[[str], None]


class Servers:
    """Kafka, PostgreSQL and - for a lake on S3 - an object store, side by side."""

    def __init__(self, settings: Settings, where: Place) -> None:
        self._settings = settings
        self._place = where
        self.stack = LocalStack(settings)
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="servers")
        self._work: dict[str, Future[float]] = {}
        self._s3 = _object_store(settings, where)
        self.owned: set[str] = set()

    def start(self, say: Say) -> None:
        """Begin to start both; :meth:`wait` tells how it went."""
        stop_object_store(self._place)  # one that an earlier demo has left: it listens elsewhere
        running = {name for name, server in self._servers().items() if server.running()}
        # What a killed demo started is still this place's to stop.
        self.owned = {name for name in self._place.was_started() if name in running}
        self.owned |= {name for name in self._servers() if name not in running}
        self._place.remember_started(self.owned)
        starts = {"postgres": self._database, "kafka": self._broker, "s3": self._bucket}
        self._work = {name: self._pool.submit(start, say) for name, start in starts.items() if name in self._servers()}

    def _servers(self) -> dict[str, Any]:
        return {"kafka": self.stack.kafka(), "postgres": self.stack.postgres()} | ({"s3": self._s3} if self._s3 else {})

    def wait(self) -> dict[str, float]:
        """Seconds that each took.

        Raises
        ------
        StackError, StoreError, BrokerError
            The first that did not come up.
        """
        return {name: work.result() for name, work in self._work.items()}

    def ready(self) -> bool:
        """Whether both are done, well or not."""
        return all(work.done() for work in self._work.values())

    def _database(self, say: Say) -> float:
        began = time.monotonic()
        server = self.stack.postgres()
        assert server is not None
        started = server.start()
        _empty_database(server)
        say(f"PostgreSQL {_was(started)} on 127.0.0.1:{server.port}, database {DATABASE} empty")
        return time.monotonic() - began

    def _bucket(self, say: Say) -> float:
        began = time.monotonic()
        store = self._s3
        assert store is not None
        started = store.start()
        store.create_bucket(BUCKET)
        store.empty_bucket(BUCKET)
        say(f"object store (SeaweedFS) {_was(started)} on {store.endpoint}, bucket {BUCKET} empty")
        return time.monotonic() - began

    def _broker(self, say: Say) -> float:
        from infra.jvm import jars

        began = time.monotonic()
        jars.ensure("broker")
        server = self.stack.kafka()
        assert server is not None
        started = server.start()
        with topics.admin(self._settings) as client:
            old = [name for name in client.list_topics() if is_demo_topic(self._settings, name)]
            if old:
                client.delete_topics(old)
        topics.ensure(self._settings)
        say(f"Kafka {_was(started)} on {server.bootstrap}, topics {self._settings.kafka.topic_prefix}*")
        return time.monotonic() - began

    def pids(self) -> dict[str, int | None]:
        """Process ids by name."""
        found = {name: server.daemon.process() for name, server in self._servers().items()}
        return {name: process.pid if process else None for name, process in found.items()}

    def stop(self, *, keep: bool) -> list[str]:
        """Stop what the demo started, unless ``keep``; returns the names of what was stopped."""
        for work in self._work.values():
            work.exception()  # a server must not come up behind our back
        self._pool.shutdown()
        stopped = []
        if not keep:
            for name, server in self._servers().items():
                if name in self.owned and server.stop():
                    stopped.append(name)
        self._place.started.unlink(missing_ok=True)
        return stopped


def _object_store(settings: Settings, where: Place) -> ObjectStore | None:
    """The demo's own, where its lake is in a bucket."""
    if not settings.lake.path.startswith(f"s3a://{BUCKET}/"):
        return None
    return _store(where, int(settings.lake.s3_endpoint.rpartition(":")[2]))


def _store(where: Place, port: int) -> ObjectStore:
    return ObjectStore(where.base / "s3", port, run_dir=where.base / "s3" / "run", log_dir=where.logs)


def stop_object_store(where: Place) -> bool:
    """Stop the object store that a demo has left running; returns whether there was one. Its data stays."""
    return _store(where, 0).stop()


def _was(started: bool) -> str:
    return "started" if started else "runs already"


def _empty_database(server: Any) -> None:
    import psycopg2
    from psycopg2 import sql

    try:
        connection = psycopg2.connect(
            host="127.0.0.1", port=server.port, user=server.user, password=server.password or None, dbname="postgres", connect_timeout=5
        )
    except psycopg2.OperationalError as e:
        raise StackError(
            f"PostgreSQL on 127.0.0.1:{server.port} refuses user {server.user!r}: {one_line(e)}",
            "the password is set at first start: FLOWLAKE_HOT__PASSWORD must still be the same",
        ) from e
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE)))
    except psycopg2.Error as e:
        raise StoreError(f"database {DATABASE} of an earlier demo cannot be dropped: {one_line(e)}") from e
    finally:
        connection.close()
    server.create_database(DATABASE)
