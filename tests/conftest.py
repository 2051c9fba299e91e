"""Fixtures shared by all tests: a real broker, a real database, settings that meet nobody else's, one Spark session.

Servers are started once per run, on free ports and in temporary folders; tests never touch the project's ``var/`` nor the default ports.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import yaml

# Two workers share what two threads of each would have: those of OpenMP wait for each other in loops, ten times as long as they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from infra import config
from infra.config import Settings
from infra.process import free_port
from infra.sections import PostgresSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from infra.stack.s3 import ObjectStore


# A shell's background job ignores SIGINT, and so would every process that a test starts from it and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A broker that a test takes away makes the client say so twenty times a second: a failure's own words would drown in it.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


#: What a caller may say to tests.
_PASSED = ("FLOWLAKE_DATA", "FLOWLAKE_GRAFANA_TOKEN", "FLOWLAKE_GRAFANA_URL", "FLOWLAKE_JARS", "FLOWLAKE_TIMESCALE_DSN")


@pytest.fixture(scope="session", autouse=True)
def _own_home() -> Iterator[Path]:
    """The whole run works in a temporary home, with no FLOWLAKE_* setting of the caller in force."""
    home = Path(tempfile.mkdtemp(prefix="flowlake-test-"))
    kept = {k: v for k, v in os.environ.items() if k.startswith("FLOWLAKE_")}
    for name in kept:
        if name not in _PASSED:
            del os.environ[name]
    os.environ["FLOWLAKE_HOME"] = str(home)
    yield home
    os.environ.update(kept)
    if "FLOWLAKE_HOME" not in kept:
        del os.environ["FLOWLAKE_HOME"]
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command that a test runs in this process configures the log of it; the next test finds it as it was."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), list(root.handlers), root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = [h for h in root.handlers if h in handlers or not getattr(h, "flowlake", False)]
    root.setLevel(level)


@pytest.fixture(scope="session")
def kafka_server(_own_home: Path) -> Iterator[str]:
    """A real broker; ``host:port``."""
    from infra.jvm import jars
    from infra.stack.kafka import Kafka

    jars.ensure("broker")
    broker = Kafka(_own_home / "kafka", free_port(), heap_mb=384)
    try:
        broker.start()
        yield broker.bootstrap
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def postgres_server(_own_home: Path) -> Iterator[PostgresSettings]:
    """A real database server with an empty database ``flowlake``."""
    from infra.stack.postgres import Postgres

    server = Postgres(_own_home / "postgres", free_port())
    try:
        server.start()
        server.create_database("flowlake")
        _hurry(server.settings("postgres"))
        yield server.settings()
    finally:
        server.stop()


def _hurry(server: PostgresSettings) -> None:
    """Let a server not wait for the disk: what is dropped, hundreds of times a run, costs a second each where it does.

    Processes that are killed lose nothing by it, only a machine that loses power would.
    """
    from infra.stack.postgres import connect

    with closing(connect(server, "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET fsync = off")
        cursor.execute("ALTER SYSTEM SET full_page_writes = off")
        cursor.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def s3_server(_own_home: Path) -> Iterator[ObjectStore]:
    """A real object store, empty; ``s3_server.create_bucket(name)``, ``s3_server.lake(name)`` gives the settings of a lake in it."""
    from infra.stack.s3 import ObjectStore

    store = ObjectStore(_own_home / "s3", free_port())
    try:
        store.start()
        yield store
    finally:
        store.stop(timeout_s=1)  # what it holds goes away with the folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FLOWLAKE_HOME of this test alone."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("FLOWLAKE_HOME", str(folder))
    return folder


@pytest.fixture
def settings(home: Path) -> Callable[..., Settings]:
    """Factory of settings: the local ones, with a topic prefix of this test alone.

    ``settings(kafka={"bootstrap_servers": kafka_server}, hot=postgres_server, meter={"buckets": 2})``: a section is given as a dict of
    what differs, or as a section object.
    """
    prefix = f"t{uuid.uuid4().hex[:10]}."
    local: dict[str, Any] = yaml.safe_load((config.ROOT / "conf" / "local.yaml").read_text(encoding="utf-8"))

    def build(**sections: Any) -> Settings:
        # No test meets a server of the machine by accident: the default ports are replaced by one that nobody listens on.
        raw: dict[str, Any] = {
            **local,
            "kafka": {**local.get("kafka", {}), "topic_prefix": prefix, "bootstrap_servers": "127.0.0.1:1"},
            "hot": {"port": 1},
            "alerts": {"port": 1},
            "metrics": {"stream_port": 0},
        }
        for name, value in sections.items():
            raw[name] = {**raw.get(name, {}), **(value if isinstance(value, dict) else _plain(name, value))}
        return config.build(**raw)

    return build


def _plain(section: str, value: Any) -> dict[str, Any]:
    """A section object as the dict of what was set in it; ``postgres_server`` serves for both ``hot`` and ``alerts``."""
    given: dict[str, Any] = {name: getattr(value, name) for name in value.model_fields_set}
    known = Settings.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
    return {name: v for name, v in given.items() if name in known}


@contextmanager
def _made(server: PostgresSettings, like: str) -> Iterator[dict[str, Any]]:
    """A new database that holds what another one does, to which nobody is connected; as settings of a section."""
    from infra.stack.postgres import connect

    name = f"t{time.monotonic_ns()}"
    with closing(connect(server, "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
        yield {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "database": name,
            "trigger_ms": 0,
        }
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(postgres_server: PostgresSettings) -> Iterator[dict[str, Any]]:
    """An empty database of this test alone, as settings of a section."""
    with _made(postgres_server, "template1") as section:
        yield section


@pytest.fixture(scope="session")
def _migrated(postgres_server: PostgresSettings) -> Iterator[str]:
    """Name of a database with the tables of flows and of alerts: to make them takes a second, to copy them a part of it."""
    from jobs.sinks import alerts, hot
    from jobs.sinks.migrations import migrate
    from schemas.network_flows import NETWORK_FLOWS

    with _made(postgres_server, "template1") as section:
        made = config.build(hot=section, alerts=section)
        migrate(hot.component(made, NETWORK_FLOWS))
        migrate(alerts.component(made))
        yield section["database"]


@pytest.fixture
def tables(postgres_server: PostgresSettings, _migrated: str) -> Iterator[dict[str, Any]]:
    """A database of this test alone with the tables of flows and of alerts, as settings of a section."""
    with _made(postgres_server, _migrated) as section:
        yield section


@pytest.fixture(scope="session")
def spark(_own_home: Path) -> Iterator[SparkSession]:
    """The one Spark session of the run, built as the jobs build theirs."""
    from infra.jvm import jars
    from jobs.runtime import session

    jars.ensure("spark")
    built = session.build(
        config.load(), "tests", extra_conf={"spark.ui.enabled": "false", "spark.sql.warehouse.dir": str(_own_home / "warehouse")}
    )
    try:
        yield built
    finally:
        built.stop()


@pytest.fixture(scope="session")
def flowlake_data() -> Path:
    """Folder of the capture files; the test is skipped without it."""
    folder = os.environ.get("FLOWLAKE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("FLOWLAKE_DATA does not name a folder")
    return Path(folder)
