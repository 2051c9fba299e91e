"""``flowlake stream`` set up wrongly: one line that names the thing and the way out, an exit code, no trace, and nothing left running."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.config import ROOT, PostgresSettings, Settings
from infra.stack.postgres import Postgres
from infra.stack.process import Daemon, free_port
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
    argv = [sys.executable, "-m", "infra.cli.main", "stream"]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"FLOWLAKE_ALERTS__PASSWORD": "wrong-horse"}, 5, ("password authentication failed", "FLOWLAKE_ALERTS__PASSWORD")),
        ({"FLOWLAKE_LAKE__PATH": "blocked/flows"}, 5, ("blocked/flows", "cannot be written", "lake.path")),
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


def test_a_second_one_is_not_started_beside_the_first(environment: dict[str, str], home: Path) -> None:
    """It would write to the same checkpoints."""
    with Daemon("query-alerts", home / "var" / "run", home / "var" / "logs").claimed():
        done = stream(environment)
    assert done.returncode == 7
    assert f"query alerts runs already (pid {os.getpid()})" in done.stderr
    assert "flowlake down" in done.stderr
