"""``flowlake stream`` set up wrongly: one line that names the thing and the way out, an exit code, no trace, and nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.config import ROOT, Settings
from infra.process import Daemon, free_port
from infra.sections import PostgresSettings
from infra.stack.postgres import Postgres
from tests.champions import promote_any

pytestmark = [pytest.mark.e2e, pytest.mark.integration]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSettings]:
    """A database server that asks for a password."""
    server = Postgres(tmp_path_factory.mktemp("guarded"), free_port(), "postgres", "right-horse")
    try:
        server.start()
        server.create_database("flowlake")
        yield server.settings()
    finally:
        server.stop()


@pytest.fixture
def environment(settings: Callable[..., Settings], kafka_server: str, guarded: PostgresSettings, home: Path) -> dict[str, str]:
    """All that the stream needs, and a champion."""
    made = settings(kafka={"bootstrap_servers": kafka_server})
    promote_any(made)
    return {
        **os.environ,
        "FLOWLAKE_HOME": str(home),
        "FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS": kafka_server,
        "FLOWLAKE_KAFKA__TOPIC_PREFIX": made.kafka.topic_prefix,
        "FLOWLAKE_METRICS__STREAM_PORT": "0",
        "FLOWLAKE_HOT__PORT": str(guarded.port),
        "FLOWLAKE_ALERTS__PORT": str(guarded.port),
        "FLOWLAKE_HOT__PASSWORD": guarded.password.get_secret_value(),
        "FLOWLAKE_ALERTS__PASSWORD": guarded.password.get_secret_value(),
    }


def stream(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ops.cli.main", "stream"]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"FLOWLAKE_ALERTS__PASSWORD": "wrong-horse"}, 5, ("password authentication failed", "FLOWLAKE_ALERTS__PASSWORD")),
        # Long: tests/integration/test_sinks.py tries the same without the start of a stream.
        pytest.param(
            *({"FLOWLAKE_LAKE__PATH": "blocked/flows"}, 5, ("blocked/flows", "cannot be written", "lake.path")), marks=pytest.mark.long
        ),
        ({"FLOWLAKE_SCORING__MODEL_NAME": "nobody-trained-this"}, 6, ("nobody-trained-this",)),
    ],
    ids=["wrong password", "lake in the way", "no model"],
)
def test_one_line_and_the_way_out(
    environment: dict[str, str], home: Path, wrong: dict[str, str], code: int, words: tuple[str, ...]
) -> None:
    (home / "blocked").write_text("a file, where a folder is wanted")
    done = stream({**environment, **wrong})
    said = done.stdout + done.stderr
    assert done.returncode == code, said[-3000:]
    for word in words:
        assert word in said, said[-3000:]
    assert "Traceback" not in said
    assert "horse" not in said, "a secret was told"
    assert not list((home / "var" / "run").glob("query-*.pid"))


def test_a_signal_to_the_whole_group_stops_it_between_batches(
    environment: dict[str, str], postgres_server: PostgresSettings, home: Path
) -> None:
    """As systemd and ``timeout`` send it: the JVM must outlive the queries. Until then the stream looks after its hot store."""
    server = {
        "HOST": postgres_server.host,
        "PORT": str(postgres_server.port),
        "DATABASE": postgres_server.database,
        "USER": postgres_server.user,
    }
    mine = {f"FLOWLAKE_{part}__{name}": value for part in ("HOT", "ALERTS") for name, value in server.items()}
    port = free_port()
    mine |= {"FLOWLAKE_HOT__MAINTAIN_S": "1", "FLOWLAKE_METRICS__STREAM_PORT": str(port)}
    argv = [sys.executable, "-m", "ops.cli.main", "stream"]
    log = home / "stream.log"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=ROOT, env={**environment, **mine}, stdout=out, stderr=out, start_new_session=True)
    try:
        checkpoints = home / "var" / "checkpoints"
        end = time.monotonic() + 100
        while len(list(checkpoints.glob("*/commits/0"))) < 4:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        while not (told := [line for line in log.read_text().splitlines() if "maintained" in line]):
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        assert "table=network_flows" in told[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            assert 'flowlake_hot_maintained_timestamp_seconds{table="network_flows"}' in page.read().decode()
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()[-3000:]
        said = log.read_text()
        assert "cleanly" not in said, said[-3000:]
        assert "error" not in said, said[-3000:]
        assert psutil.wait_procs(children, 20)[1] == [], "nothing of it is left"
    finally:
        process.kill()
        process.wait()


def test_a_second_one_is_not_started_beside_the_first(environment: dict[str, str], home: Path) -> None:
    """It would write to the same checkpoints."""
    with Daemon("query-alerts", home / "var" / "run", home / "var" / "logs").claimed():
        done = stream(environment)
    assert done.returncode == 7
    assert f"query alerts runs already (pid {os.getpid()})" in done.stderr
    assert "flowlake down" in done.stderr
