"""The collector without Kafka when PostgreSQL is killed, or the connection breaks in the commit; and that it needs no Kafka."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.config import ROOT, Settings, load
from infra.process import free_port
from infra.stack.postgres import Postgres
from jobs.sources.netflow.directmetrics import DirectMaker
from jobs.sources.netflow.warm import datagrams
from sensors.netflow import metrics
from sensors.netflow.sensor import FlowExportSensor
from tests.integration.netflow.test_direct import configured, numbered, receiving, rows, stored
from tests.integration.portproxy import PortProxy
from tests.unit.sensors.netflow.runningsensor import Start, starting
from tests.unit.sensors.netflow.senders import eventually, free_ports, send

pytestmark = pytest.mark.integration


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as start:
        yield start


def kill(server: Postgres) -> None:
    """All of its processes at once, as the machine would."""
    first = server.daemon.process()
    assert first is not None
    whole = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for one in whole:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(whole, 30)


@pytest.mark.timeout(300)
def test_a_server_that_is_killed_and_comes_back_has_every_record(tmp_path: Path, settings: Callable[..., Settings], start: Start) -> None:
    server = Postgres(tmp_path / "postgres", free_port())
    server.start()
    try:
        server.create_database("flowlake")
        own = configured(settings, {"host": "127.0.0.1", "port": server.port, "user": server.user, "database": "flowlake"})
        sensor, running, port = receiving(own, start)
        for at in range(0, 200, 50):
            send([numbered(n) for n in range(at, at + 50)], port)
        assert eventually(lambda: sensor.account().sent == 200, 60)
        kill(server)
        send([numbered(n) for n in range(200, 300)], port)
        assert eventually(lambda: metrics.health(sensor).checks["postgresql"] == "unreachable", 60)
        assert sensor.account().sent == 200
        server.start()
        send([numbered(n) for n in range(300, 320)], port)
        assert eventually(lambda: sensor.account().sent == 320, 90)
        account = running.end()
        assert (account.received, account.lost, account.thinned) == (320, 0, 0)
        assert rows(own, "SELECT count(*), count(DISTINCT flow_id) FROM flow_raw") == [(320, 320)]
        assert rows(own, "SELECT count(*), count(DISTINCT flow_id) FROM flow_exports") == [(320, 320)]
    finally:
        server.stop()


class CommitCutter(PortProxy):
    """In front of a PostgreSQL of this machine: of the next commits, the server does them and nobody hears of it."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.due = 0
        self.cut = 0

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on; the answer to a commit that is due is not."""
        silent = threading.Event()
        threading.Thread(target=self._back, args=(server, client, silent), daemon=True).start()
        while data := client.recv(1 << 16):
            if self.due and data.endswith(b"COMMIT\0"):
                silent.set()
            server.sendall(data)

    def _back(self, server: socket.socket, client: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if silent.is_set() and b"COMMIT\0" in data:
                    self.due -= 1
                    self.cut += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)


def test_a_connection_that_breaks_in_the_commit_costs_and_doubles_nothing(
    database: dict[str, Any], settings: Callable[..., Settings], start: Start
) -> None:
    with CommitCutter(database["port"]) as cutter:
        own = configured(settings, {**database, "port": cutter.port})
        maker = DirectMaker(own)
        sensor = FlowExportSensor(own, "edge", outlet=maker, linger_s=30.0)
        running = start(sensor)
        assert eventually(lambda: bool(sensor.listener.sockets))
        port = sensor.listener.sockets[0].port
        send([numbered(0)], port)
        assert eventually(lambda: sensor.account().sent == 1, 60)
        for n in range(1, 4):
            cutter.due = 1
            assert eventually(lambda n=n: cutter.cut == n, 60)  # type: ignore[misc]  # a heartbeat's, or the last batch's
            cutter.due = 1
            send([numbered(100 * n + i) for i in range(40)], port)
            assert eventually(lambda n=n: sensor.account().sent == 1 + 40 * n, 60)  # type: ignore[misc]
            cutter.cut = n
        account = running.end()
        assert (account.received, account.lost) == (121, 0)
    assert rows(configured(settings, database), "SELECT count(*), count(DISTINCT flow_id) FROM flow_raw") == [(121, 121)]


#: The command, in a process in which nothing can be imported from these packages.
_ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("kafka", "pyspark"):
            raise ImportError(f"{name} is out of reach")

sys.meta_path.insert(0, Refuse())
from pathlib import Path
from jobs.sources.netflow.commands.sensor import netflow
netflow(port=[int(sys.argv[1])], mode="direct", duration=120.0, conf_file=Path(sys.argv[2]), as_json=True)
"""


def test_the_command_needs_postgresql_alone(database: dict[str, Any], tmp_path: Path) -> None:
    """What docs/how-to/receive-flow-exports.md says under Without Kafka; not even the packages of the client and of Spark are loaded."""
    (port,) = free_ports(1)
    words = {"host": database["host"], "port": database["port"], "user": database["user"], "database": database["database"]}
    lines = ["hot:", *(f"  {name}: {value}" for name, value in words.items()), "kafka:", "  bootstrap_servers: 127.0.0.1:1"]
    conf = tmp_path / "small.yaml"
    conf.write_text("\n".join([*lines, "enrichment:", "  geoip:", "    enabled: false", ""]))
    command = [sys.executable, "-c", _ALONE, str(port), str(conf)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            listens = lambda: any(one.laddr.port == port for one in psutil.Process(process.pid).net_connections("udp"))  # noqa: E731
            assert eventually(lambda: process.poll() is not None or listens(), 90)
            send(datagrams(), port)
            assert eventually(lambda: process.poll() is not None or stored(load(conf)) == 3, 90)
            process.send_signal(signal.SIGINT)  # as Ctrl-C
            out, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, said
    summary = json.loads(out.splitlines()[-1])
    assert (summary["mode"], summary["datagrams_received"], summary["datagrams_sent"]) == ("direct", 3, 3)
    assert (summary["records_stored"], summary["records_refused"], summary["undecoded"]) == (3, 0, {})
