"""A topic deleted and made anew between two runs of the stream, as a user meets it: told, shown, mended by one option.

The short form, without the commands: ``tests/integration/test_topic_made_anew.py``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deltalake import DeltaTable

from infra.config import ROOT, Settings
from infra.errors import CheckpointError
from infra.kafka import topics
from schemas.packets import PREDICTIONS
from tests.integration.remake import remake
from tests.integration.sinkbench import Bench, until
from tests.sinksdata import flow_id

pytestmark = [pytest.mark.e2e, pytest.mark.integration, pytest.mark.long]


@pytest.fixture
def made(settings: Callable[..., Settings], kafka_server: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings, which the commands find in their environment; topics."""
    built = settings(kafka={"bootstrap_servers": kafka_server})
    monkeypatch.setenv("FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS", kafka_server)
    monkeypatch.setenv("FLOWLAKE_KAFKA__TOPIC_PREFIX", built.kafka.topic_prefix)
    monkeypatch.setenv("FLOWLAKE_METRICS__STREAM_PORT", "0")
    monkeypatch.setenv("FLOWLAKE_LAKE__TRIGGER_MS", "0")
    topics.ensure(built)
    return built


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ops.cli.main", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120)


@contextmanager
def stream(home: Path, *options: str) -> Iterator[None]:
    """The lake's query alone, stopped as a user does."""
    log = home / "stream.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command("stream", "--only", "lake", *options), cwd=ROOT, env=os.environ, stdout=out, stderr=out)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def lake_ids(made: Settings) -> list[str]:
    path = made.path(made.lake.path)
    if not any(path.glob("_delta_log/*.json")):
        return []
    return sorted(DeltaTable(path).to_pyarrow_dataset().to_table(["flow_id"])["flow_id"].to_pylist())


def query_shown() -> dict[str, object]:
    done = run("status", "--json")
    assert done.returncode == 0, done.stderr
    (shown,) = json.loads(done.stdout)["queries"]
    return dict(shown)


def test_between_two_runs(made: Settings, home: Path) -> None:
    bench = Bench(made)
    bench.rows([{"name": 1}, {"name": 2}])
    bench.rows([{"name": 3}])
    with stream(home):
        until(lambda: len(lake_ids(made)) == 3, 100)
        until(lambda: any(home.glob("var/checkpoints/lake-v*/commits/0")), 20)
    assert (query_shown()["behind"], query_shown()["problem"]) == (0, "")
    bench.close()
    remake(made, PREDICTIONS.name)
    bench = Bench(made)
    bench.rows([{"name": 3}, {"name": 4}])
    bench.rows([{"name": 5}])
    bench.close()

    shown = query_shown()
    assert shown["behind"] == 2, "two messages, none of which was read"
    assert "--accept-new-topics" in str(shown["problem"])
    people = run("status").stdout
    assert "made anew" in people

    refused = run("stream", "--only", "lake")
    said = refused.stdout + refused.stderr
    assert refused.returncode == CheckpointError.exit_code, said[-3000:]
    for word in (made.topic(PREDICTIONS.name), "query lake", "deleted and made anew", "--accept-new-topics"):
        assert word in said, said[-3000:]
    assert "Traceback" not in said

    with stream(home, "--accept-new-topics"):
        until(lambda: len(lake_ids(made)) >= 5, 100)
    assert lake_ids(made) == sorted(flow_id(name) for name in range(1, 6))
    assert (query_shown()["behind"], query_shown()["problem"]) == (0, "")
