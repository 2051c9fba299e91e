"""Fixtures of the tests of blocks: the tables on a real PostgreSQL, and flows of an attacker in the hot store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from infra import config
from infra.config import Settings
from infra.sections import PostgresSettings
from jobs.sinks import alerts, hot, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import migrate
from ops.cli.main import main
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.integration.incidents.test_grouping import INTRUSION, give
from tests.sinksdata import table

#: The source of :data:`INTRUSION`.
INTRUDER = "6.6.6.6"


class Site:
    """Settings in a file that the commands read, and the commands."""

    def __init__(self, settings: Settings, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings = settings
        self._conf = conf
        self._capsys = capsys

    def respond(self, **response: Any) -> Settings:
        """The settings with another section ``response``, in the file too."""
        written = yaml.safe_load(self._conf.read_text())
        self._conf.write_text(yaml.safe_dump({**written, "response": response}))
        secret = {"webhook_secret": SecretStr(os.environ.get("FLOWLAKE_RESPONSE__WEBHOOK_SECRET", ""))}
        self.settings = self.settings.model_copy(update={"response": type(self.settings.response)(**response, **secret)})
        return self.settings

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a command."""
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        out = self._capsys.readouterr()
        return int(end.value.code or 0), out.out, out.err


@pytest.fixture(scope="package")
def prepared(postgres_server: PostgresSettings) -> Iterator[str]:
    """A database to copy: the tables of alerts and flows, and in them an intrusion of three alerts, which are one incident."""
    name = "response_prepared"
    with _admin(postgres_server) as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    section = {"host": postgres_server.host, "port": postgres_server.port, "user": postgres_server.user, "database": name}
    section["password"] = postgres_server.password
    where = config.build(hot=section, alerts={**section, "min_flows": 1})
    migrate(hot.component(where, NETWORK_FLOWS))
    migrate(alerts.component(where))
    with closing(postgres.connect(where.hot, "test")) as connection:
        hot.insert(connection, hot.hot_rows(table(INTRUSION), FLOWS), NETWORK_FLOWS, ("q", 0, 0, "x"))
    give(AlertStore(where.alerts, FLOWS), INTRUSION)
    postgres.kept(where.alerts, "flowlake-alerts").close()
    yield name
    with _admin(postgres_server) as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _admin(server: PostgresSettings) -> Iterator[Any]:
    with closing(postgres.connect(server.model_copy(update={"database": "postgres"}), "test")) as connection:
        connection.autocommit = True
        yield connection.cursor()


@pytest.fixture
def site(
    prepared: str,
    postgres_server: PostgresSettings,
    settings: Callable[..., Settings],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Site]:
    """A copy of :func:`prepared` of this test alone, and a file of settings that names it."""
    name = f"response{time.monotonic_ns()}"
    with _admin(postgres_server) as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {prepared}")
    section = {"host": postgres_server.host, "port": postgres_server.port, "user": postgres_server.user, "database": name}
    conf = home / "conf.yaml"
    conf.write_text(yaml.safe_dump({"hot": section, "alerts": {**section, "min_flows": 1}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    for store in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{store}__PASSWORD", postgres_server.password.get_secret_value())
    yield Site(settings(hot=section, alerts={**section, "min_flows": 1}), conf, capsys)
    with _admin(postgres_server) as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
