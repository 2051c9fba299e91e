"""``flowlake up | status | doctor | down`` beside servers that somebody else runs at the configured loopback addresses."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg2
import pytest
from kafka.admin import KafkaAdminClient

from infra.jvm import jars
from infra.process import free_port
from infra.sections import PostgresSettings
from infra.stack.kafka import Kafka
from infra.stack.postgres import Postgres
from ops.cli import main as cli

pytestmark = pytest.mark.integration

ADMINISTRATOR = "an administrator's password"
SECRET = "the password of app"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL that asks for passwords. Roles: ``app`` may create databases, ``guest`` may not."""
    server = Postgres(tmp_path_factory.mktemp("theirs"), free_port(), password=ADMINISTRATOR)
    try:
        server.start()
        execute(server, f"CREATE ROLE app LOGIN CREATEDB PASSWORD '{SECRET}'")
        execute(server, f"CREATE ROLE guest LOGIN PASSWORD '{SECRET}'")
        yield server
    finally:
        server.stop()


def execute(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    with closing(
        psycopg2.connect(host="127.0.0.1", port=server.port, user="postgres", password=server.password or None, dbname="postgres")
    ) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def databases(server: Postgres) -> set[str]:
    return {str(name) for (name,) in execute(server, "SELECT datname FROM pg_database")}


class Terminal:
    """Commands of one home, with what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, var: Path) -> None:
        self._capsys, self._monkeypatch, self.var = capsys, monkeypatch, var

    def set(self, **values: object) -> None:
        """Settings: ``hot__port=1``."""
        for name, value in values.items():
            self._monkeypatch.setenv(f"FLOWLAKE_{name.upper()}", str(value))

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and standard output and error together."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        shown = self._capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    def parts(self) -> dict[str, dict[str, str]]:
        """What ``status`` says of each part."""
        code, shown = self.run("status", "--json")
        assert code == 0, shown
        return {part["name"]: part for part in json.loads(shown)["parts"]}

    def doctor(self) -> dict[str, dict[str, str]]:
        """What ``doctor`` finds, by check."""
        _, shown = self.run("doctor", "--json")
        return {finding["check"]: finding for finding in json.loads(shown)}


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path) -> Terminal:
    """A home of its own, every address one where nobody listens."""
    jars.ensure("broker")
    made = Terminal(capsys, monkeypatch, home / "var")
    port = free_port()
    made.set(kafka__bootstrap_servers=f"127.0.0.1:{free_port()}", hot__port=port, alerts__port=port)
    return made


def use(terminal: Terminal, server: Postgres, *sections: str, user: str = "app", password: str = SECRET, database: str) -> None:
    for section in sections or ("hot", "alerts"):
        keys = {"port": server.port, "user": user, "password": password, "database": database}
        terminal.set(**{f"{section}__{key}": value for key, value in keys.items()})


def test_a_postgres_of_yours_is_used_as_it_is(terminal: Terminal, theirs: Postgres) -> None:
    use(terminal, theirs, database="used")
    terminal.set(alerts__database="incidents")
    part = terminal.parts()["postgres"]
    assert part["state"] == "external"
    assert "no database incidents yet; flowlake up creates it" in part["detail"]
    code, shown = terminal.run("up", "--only", "postgres")
    assert code == 0, shown
    assert f"external         127.0.0.1:{theirs.port}, database incidents and used created" in shown
    assert "topics" not in shown, "the broker is not asked for"
    assert databases(theirs) >= {"used", "incidents"}
    assert terminal.run("up", "--only", "postgres")[1].count("created") == 0
    process = theirs.daemon.process()
    assert process is not None
    part = terminal.parts()["postgres"]
    assert (part["state"], part["detail"], part["pid"]) == ("external", f"(postgres (pid {process.pid}))", None)
    finding = terminal.doctor()["postgres"]
    assert (finding["state"], finding["mend"]) == ("ok", "")
    assert "external server" in finding["detail"]
    code, shown = terminal.run("down")
    assert code == 0
    assert f"external, left running  127.0.0.1:{theirs.port}" in shown
    assert theirs.ready()
    assert not (terminal.var / "postgres").exists()


@pytest.mark.parametrize(
    ("user", "password", "database", "why", "way_out"),
    [
        ("app", "not that one", "refused", "password authentication failed", "FLOWLAKE_HOT__PASSWORD"),
        ("app", "", "refused", "no password supplied", "FLOWLAKE_HOT__PASSWORD"),
        ("nobody", SECRET, "refused", "password authentication failed", "hot.user"),
        ("guest", SECRET, "refused", "may not create it", "FLOWLAKE_HOT__DATABASE"),
    ],
)
def test_a_postgres_that_refuses(
    terminal: Terminal, theirs: Postgres, user: str, password: str, database: str, why: str, way_out: str
) -> None:
    use(terminal, theirs, user=user, password=password, database=database)
    code, shown = terminal.run("up")
    assert code == 5
    error, hint = [line for line in shown.splitlines() if "error" in line or line.startswith("  ")]
    assert why in error
    assert f"127.0.0.1:{theirs.port}" in error
    assert repr(user) in error
    assert way_out in hint
    assert SECRET not in shown
    assert not (terminal.var / "kafka").exists(), "nothing has been started"
    state = terminal.parts()["postgres"]["state"]
    assert state == ("external" if user == "guest" else "refused")  # that guest may not create it only trying tells
    if state == "refused":
        finding = terminal.doctor()["postgres"]
        assert finding["state"] == "missing"
        assert why in finding["detail"]
        assert way_out in finding["mend"]
    assert terminal.run("down")[0] == 0


def test_a_database_without_the_maintenance_database(terminal: Terminal, theirs: Postgres) -> None:
    """A pooler, or an administrator, may let a user into its own database only."""
    execute(theirs, "CREATE DATABASE only_this OWNER guest")
    execute(theirs, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    try:
        use(terminal, theirs, user="guest", database="only_this")
        assert terminal.run("up", "--only", "postgres")[0] == 0
        use(terminal, theirs, user="guest", database="no_such")
        code, shown = terminal.run("up", "--only", "postgres")
        assert code == 5
        assert 'database "no_such" does not exist' in shown
    finally:
        execute(theirs, "GRANT CONNECT ON DATABASE postgres TO PUBLIC")


def test_two_postgres_of_yours(terminal: Terminal, theirs: Postgres, postgres_server: PostgresSettings) -> None:
    use(terminal, theirs, "hot", database="two_hot")
    terminal.set(alerts__port=postgres_server.port, alerts__database="two_alerts")
    assert terminal.run("up", "--only", "postgres")[0] == 0
    parts = terminal.parts()
    assert [parts[name]["state"] for name in ("postgres-hot", "postgres-alerts")] == ["external", "external"]
    assert "two_hot" in databases(theirs)
    assert "two_alerts" not in databases(theirs)
    with closing(psycopg2.connect(host="127.0.0.1", port=postgres_server.port, user="postgres", dbname="two_alerts")):
        pass
    assert {name: found["state"] for name, found in terminal.doctor().items() if "postgres" in name} == {
        "postgres-hot": "ok",
        "postgres-alerts": "ok",
    }


def test_two_users_of_one_postgres_of_yours(terminal: Terminal, theirs: Postgres) -> None:
    use(terminal, theirs, "hot", database="users")
    use(terminal, theirs, "alerts", database="users", user="postgres", password=ADMINISTRATOR)
    assert terminal.run("up", "--only", "postgres")[0] == 0
    terminal.set(alerts__password="another")
    code, shown = terminal.run("up", "--only", "postgres")
    assert code == 5
    assert "FLOWLAKE_ALERTS__PASSWORD" in shown


def test_one_of_yours_and_one_of_the_stack(terminal: Terminal, theirs: Postgres) -> None:
    use(terminal, theirs, "hot", database="beside")
    terminal.set(alerts__port=free_port())
    try:
        code, shown = terminal.run("up", "--only", "postgres")
        assert code == 0, shown
        parts = terminal.parts()
        assert [parts[name]["state"] for name in ("postgres-hot", "postgres-alerts")] == ["external", "ready"]
    finally:
        code, shown = terminal.run("down", "--only", "postgres")
    assert "postgres  stopped" in shown
    assert theirs.ready()
    assert terminal.parts()["postgres-alerts"]["state"] == "stopped"


def test_a_postgres_of_yours_while_the_stack_s_runs_elsewhere(terminal: Terminal, theirs: Postgres) -> None:
    before = free_port()
    terminal.set(hot__port=before, alerts__port=before)
    assert terminal.run("up", "--only", "postgres")[0] == 0
    try:
        use(terminal, theirs, database="elsewhere")
        code, shown = terminal.run("up", "--only", "postgres")
        assert code == 0
        assert f"this stack's own still runs on port {before}" in shown
        part = terminal.parts()["postgres"]
        assert (part["state"], part["address"]) == ("external", f"127.0.0.1:{theirs.port}")
        assert f"still runs on port {before}" in part["detail"]
        port = free_port()
        terminal.set(hot__port=port, alerts__port=port)
        code, shown = terminal.run("up", "--only", "postgres")
        assert code == 7
        assert f"runs on port {before}" in shown
        assert "flowlake down" in shown
    finally:
        use(terminal, theirs, database="elsewhere")
        code, shown = terminal.run("down")
    assert "postgres  stopped" in shown
    assert "external, left running" in shown
    assert theirs.ready()
    assert "still runs" not in terminal.parts()["postgres"]["detail"]


def topics(bootstrap: str) -> set[str]:
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        return set(client.list_topics())
    finally:
        client.close()


def test_a_kafka_of_yours(terminal: Terminal, kafka_server: str) -> None:
    before = f"127.0.0.1:{free_port()}"
    terminal.set(kafka__bootstrap_servers=before, kafka__topic_prefix="yours.")
    with silent() as taken:  # of no concern to it
        terminal.set(hot__port=taken, alerts__port=taken)
        code, shown = terminal.run("up", "--only", "kafka")
    try:
        assert code == 0, shown
        assert terminal.parts()["kafka"]["state"] == "ready"
        terminal.set(kafka__bootstrap_servers=kafka_server)
        code, shown = terminal.run("up", "--only", "kafka")
        assert code == 0, shown
        assert f"external         {kafka_server}" in shown
        assert f"still runs on port {before.rpartition(':')[2]}" in shown
        assert "yours.raw-packets" in topics(kafka_server)
        assert terminal.run("topics", "--check")[0] == 0
        assert terminal.parts()["kafka"]["state"] == "external"
        assert terminal.doctor()["kafka"]["state"] == "ok"
        other = f"127.0.0.1:{free_port()}"
        terminal.set(kafka__bootstrap_servers=other)
        code, shown = terminal.run("up", "--only", "kafka")
        assert code == 7
        assert f"runs on port {before.rpartition(':')[2]}" in shown
        assert terminal.doctor()["kafka"]["state"] == "missing"
    finally:
        terminal.set(kafka__bootstrap_servers=kafka_server)
        code, shown = terminal.run("down", "--only", "kafka")
    assert "kafka     stopped" in shown
    assert "kafka     external, left running" in shown
    assert "yours.raw-packets" in topics(kafka_server)
    assert not (terminal.var / "postgres").exists()


def test_a_kafka_of_yours_that_wants_a_user(terminal: Terminal, tmp_path: Path) -> None:
    server = Sasl(tmp_path / "sasl", free_port(), heap_mb=256)
    try:
        server.start()
        terminal.set(kafka__bootstrap_servers=server.bootstrap)
        for security, way_out in ((None, "kafka.security"), (SECRET, "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS")):
            if security:
                terminal.set(
                    kafka__security=json.dumps({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}),
                    kafka__sasl_username="app",
                    kafka__sasl_password="not that one",
                )
            code, shown = terminal.run("up", "--only", "kafka")
            assert code == 4, shown
            assert f"Kafka at {server.bootstrap}, java (pid" in shown
            assert "does not let us in" in shown
            assert way_out in shown
            assert terminal.parts()["kafka"]["state"] == "refused"
        terminal.set(kafka__sasl_password=SECRET)
        code, shown = terminal.run("up", "--only", "kafka")
        assert code == 0, shown
        assert terminal.parts()["kafka"]["state"] == "external"
    finally:
        server.stop()
    code, shown = terminal.run("up", "--only", "kafka")
    assert code == 7
    assert "knows no SASL_PLAINTEXT" in shown


class Sasl(Kafka):
    """A broker that asks for a user and a password."""

    def _write_configuration(self) -> None:
        super()._write_configuration()
        login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="app" password="{SECRET}"'
        more = {
            "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.plaintext.plain.sasl.jaas.config": f'{login} user_app="{SECRET}";',
        }
        with self.configuration.open("a", encoding="utf-8") as f:
            f.writelines(f"{key}={value}\n" for key, value in more.items())


@contextmanager
def silent() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        yield s.getsockname()[1]


@contextmanager
def http() -> Iterator[int]:
    """Speaks HTTP."""

    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("listener", [silent, http])
@pytest.mark.parametrize("part", ["kafka", "postgres"])
def test_what_speaks_another_protocol_is_named(terminal: Terminal, part: str, listener: Callable[[], AbstractContextManager[int]]) -> None:
    with listener() as port:
        terminal.set(kafka__bootstrap_servers=f"127.0.0.1:{port}", hot__port=port, alerts__port=port)
        code, shown = terminal.run("up", "--only", part)
        assert code == 7
        assert re.search(rf"port {port} for \w+ is taken by .*\(pid {os.getpid()}\)", shown), shown
        state = terminal.parts()[part]
        assert state["state"] == "stopped"
        assert f"(pid {os.getpid()})" in state["detail"]
        finding = terminal.doctor()[part]
        assert finding["state"] == "missing"
        assert f"(pid {os.getpid()})" in finding["detail"]
        code, shown = terminal.run("down")
        assert code == 0
        assert "left running" not in shown
