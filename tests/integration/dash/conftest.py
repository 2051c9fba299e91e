"""A database as a shift finds it, the server of the page as a process of its own, and a browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra import config
from infra.config import ROOT, Settings
from infra.sections import PostgresSettings
from tests import dashdata
from tests.integration.hotstore import empty_database, server_of
from tests.integration.sinkbench import run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Where Debian and others put the browser; FLOWLAKE tests need no other.
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
#: Files of a certificate and of its key.
Certificate = tuple[str, str]


def sections(server: dict[str, Any], database: str) -> dict[str, dict[str, Any]]:
    where = {name: server[name] for name in ("host", "port", "user")} | {"database": database}
    return {"hot": where, "alerts": {**where, "min_flows": 1}, "metrics": {"stream_port": 0}, "dash": {"port": 0, "refresh_s": 1}}


@pytest.fixture(scope="session")
def stores(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """A shift's flows, alerts and incidents; one of these, a note, a person and a sensor have names that are hostile."""
    server = server_of("postgresql", request)
    with empty_database(server) as name:
        made = config.build(**sections(server, name))
        dashdata.migrated(made)
        hostile = {"name": "hostile", "at": dashdata.shift()[0]["at"], "sensor_id": dashdata.HOSTILE.replace("\x1b", "")}
        dashdata.write(made, [*dashdata.shift(), hostile])
        run(made.alerts, "UPDATE incidents SET title = %s, assigned_to = '<b>ben</b>' WHERE title LIKE 'SYN flood%%'", dashdata.HOSTILE)
        run(made.alerts, "INSERT INTO incident_notes (incident_id, author, note) SELECT id, '<i>anna', %s FROM incidents", dashdata.HOSTILE)
        yield made


@pytest.fixture(scope="session")
def conf(stores: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file that names these stores."""
    file = tmp_path_factory.mktemp("dash") / "conf.yaml"
    server = stores.hot.model_dump(include={"host", "port", "user"})
    file.write_text(yaml.safe_dump(sections(server, stores.hot.database)))
    return file


@contextmanager
def served(conf: Path, *options: str, **environment: str) -> Iterator[str]:
    """``flowlake dash`` as a process of its own; its address."""
    command = [sys.executable, "-m", "ops.cli.main", "dash", "--conf-file", str(conf), *options]
    given = {**os.environ, **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.match(r"(https?://\S+/) ", line)
        assert found, line + process.stdout.read()
        yield found[1].rstrip("/")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture(scope="session")
def dash(conf: Path) -> Iterator[str]:
    """Address of the page over these stores."""
    with served(conf) as address:
        yield address


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate of this machine's, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)).sign(
        key, hashes.SHA256()
    )
    (folder / "dash.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "dash.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "dash.pem"), str(folder / "dash.key")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; for one module, since its loop and that of a client of the application do not go together."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium (Debian), or google-chrome")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Door:
    """A port of this machine that leads to a database while it is open; shut, nobody answers there."""

    def __init__(self, to: PostgresSettings) -> None:
        self._to = (to.host, to.port)
        self._open: list[socket.socket] = []
        self._listening: socket.socket | None = None
        self.port = 0

    def open(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        for one in (self._listening, *self._open):
            if one is not None:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._open.clear()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(self._to)
                self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), closing(source):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def door(stores: Settings) -> Iterator[Door]:
    made = Door(stores.hot)
    made.open()
    yield made
    made.shut()
