"""Real servers: restart, faults, access."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import psutil
import psycopg2
import pytest

from infra.errors import StackError
from infra.jvm import jars
from infra.process import free_port
from infra.stack.kafka import Kafka
from infra.stack.postgres import Postgres
from infra.stack.s3 import ObjectStore

pytestmark = pytest.mark.integration


def connect(server: Postgres, password: str = "", database: str = "flowlake") -> psycopg2.extensions.connection:
    return psycopg2.connect(host="127.0.0.1", port=server.port, user="postgres", password=password or None, dbname=database)


def query(server: Postgres, statement: str, password: str = "") -> list[tuple[object, ...]]:
    connection = connect(server, password)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_postgres_keeps_data_and_asks_for_the_password(tmp_path: Path) -> None:
    server = Postgres(tmp_path, free_port(), password="s3cret '\\ word")
    try:
        assert server.start()
        assert not server.start(), "a second start leaves it alone"
        assert server.create_database("flowlake")
        assert not server.create_database("flowlake")
        query(server, "CREATE TABLE t AS SELECT 42 AS n", server.password)
        with pytest.raises(psycopg2.OperationalError):
            connect(server)
        with pytest.raises(psycopg2.OperationalError):
            connect(server, "wrong")
        assert server.stop()
        assert not server.running()
        server.start()
        assert query(server, "SELECT n FROM t", server.password) == [(42,)]
        with pytest.raises(StackError, match="refuses user 'postgres'"):
            Postgres(tmp_path, server.port, password="changed").create_database("x")
        assert server.password not in " ".join(psutil.Process(server.daemon.process().pid).cmdline())  # type: ignore[union-attr]
        assert server.password not in server.daemon.log_file.read_text()
    finally:
        server.stop()


def test_postgres_killed_with_stale_pid_files_starts_again(tmp_path: Path) -> None:
    """Kill -9, and postmaster.pid then names a live process that is no server: this test's own."""
    server = Postgres(tmp_path, free_port())
    try:
        server.start()
        server.create_database("flowlake")
        query(server, "CREATE TABLE t AS SELECT 7 AS n")
        process = server.daemon.process()
        assert process is not None
        family = [process, *process.children(recursive=True)]
        for member in family:
            os.kill(member.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)
        left = server.data / "postmaster.pid"
        lines = left.read_text().split("\n")
        left.write_text("\n".join([str(os.getpid()), *lines[1:]]))
        assert not server.running()
        assert server.start()
        assert query(server, "SELECT n FROM t") == [(7,)]
    finally:
        server.stop()


def test_postgres_interrupted_initdb_is_mended(tmp_path: Path) -> None:
    server = Postgres(tmp_path, free_port())
    (server.data / "base").mkdir(parents=True)
    try:
        assert server.start()
        assert server.ready()
    finally:
        server.stop()


def test_postgres_of_another_version_is_named(tmp_path: Path) -> None:
    server = Postgres(tmp_path, free_port())
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("15\n")
    with pytest.raises(StackError, match="written by PostgreSQL 15"):
        server.start()


@pytest.mark.parametrize("kind", [Kafka, Postgres])
def test_busy_port(tmp_path: Path, kind: type[Kafka] | type[Postgres]) -> None:
    jars.ensure("broker")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        with pytest.raises(StackError, match=rf"taken by .*\(pid {os.getpid()}\)"):
            kind(tmp_path, s.getsockname()[1]).start()


def test_kafka_killed_keeps_messages_and_starts_again(tmp_path: Path) -> None:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient, NewTopic

    jars.ensure("broker")
    broker = Kafka(tmp_path, free_port(), heap_mb=256)
    try:
        assert broker.start()
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics([NewTopic("kept", 1, 1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
        producer.send("kept", b"value").get(20)
        producer.close()
        process = broker.daemon.process()
        assert process is not None
        process.kill()
        process.wait(10)
        assert not broker.running()
        assert broker.start(), "the pid file is stale"
        consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", group_id=None)
        consumer.assign([TopicPartition("kept", 0)])
        assert next(iter(consumer)).value == b"value"
        consumer.close()
        assert broker.stop()
        assert not broker.ready()
    finally:
        broker.stop()


def test_object_store_keeps_its_data_where_it_was_told_to(tmp_path: Path) -> None:
    """A comma makes a list of folders to it. (The other servers: ``tests/e2e/test_odd_paths.py``.)"""
    home = tmp_path / "a  b,ü %2F?#&=;:!$'\"[1]{2}*\\`"
    store = ObjectStore(home, free_port())
    try:
        store.start()
        store.create_bucket("flows")
    finally:
        store.stop(1)
    assert list(tmp_path.iterdir()) == [home]
    assert (home / "data" / "filerldb2").is_dir()
