"""The benches of the hot store, in small: their books, and what they refuse."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from infra.config import Settings
from infra.errors import ConfigError, StoreError
from infra.sections import PostgresSettings
from ops.bench import compression, dashboards, hot, hotrows, hotstore, views
from ops.bench.questions import TimedQuery
from schemas.network_flows import NETWORK_FLOWS

pytestmark = pytest.mark.integration


@pytest.fixture
def dsn(postgres_server: PostgresSettings) -> str:
    return f"postgresql://{postgres_server.user}@{postgres_server.host}:{postgres_server.port}/postgres"


def _databases(dsn: str) -> set[str]:
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'flowlake_bench%'")
        found = {name for (name,) in cursor.fetchall()}
    connection.close()
    return found


def test_every_row_of_the_insert_bench_is_there_once(
    settings: Callable[..., Settings], dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = hot.run(settings(), rows=6000, batch=300, dsn=dsn)
    phases = result["phases"]
    assert {name: phase["new_rows"] for name, phase in phases.items()} == {"new": 6000, "late": 1200, "replayed": 0, "mixed": 5400}
    assert phases["replayed"]["rows"] == 1200
    assert phases["mixed"]["rows"] > 5400, "some come again"
    assert all(phase["rows_per_s"] > 0 for phase in phases.values())
    assert result["met"] == (phases["mixed"]["rows_per_s"] >= hot.GOAL)
    assert "mixed: " in capsys.readouterr().out
    assert json.loads(json.dumps(result)) == result
    assert _databases(dsn) == set()


def test_a_row_that_is_missing_is_found(settings: Callable[..., Settings], dsn: str) -> None:
    made = settings()
    with hotstore.store(made, dsn) as own:
        hotstore.prepare(own, NETWORK_FLOWS)
        plan = hot.Plan(hotrows.generated(made, wanted=1000), 1000, 100, seed=1)
        for rows in (plan.current, plan.late):
            hotstore.load(own, NETWORK_FLOWS, rows, lambda _: None, writers=1)
        hot.check(own, NETWORK_FLOWS, plan)
        with hotstore.asking(own) as cursor:
            cursor.execute("DELETE FROM network_flows WHERE ctid IN (SELECT ctid FROM network_flows LIMIT 1)")
        with pytest.raises(StoreError, match="rows are missing or there twice"):
            hot.check(own, NETWORK_FLOWS, plan)


def test_a_store_of_its_own_is_gone_afterwards(settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with hotstore.store(settings()) as own:
        assert hotstore.facts(own)["postgresql"].startswith("18")
        assert own.hot.port != settings().hot.port
    assert list(tmp_path.glob("flowlake-bench-*")) == []
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(host=own.hot.host, port=own.hot.port, user=own.hot.user, dbname="postgres")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("postgres//nothing", ConfigError, "--dsn: invalid dsn: missing"),
        ("postgresql://postgres@127.0.0.1:1/postgres", StoreError, "--dsn: PostgreSQL at 127.0.0.1:1/postgres: .*refused"),
    ],
)
def test_a_server_that_is_none_is_told_in_one_line(settings: Callable[..., Settings], given: str, error: Any, words: str) -> None:
    with pytest.raises(error, match=words) as caught, hotstore.store(settings(), given):
        pass
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_pages_are_asked_with_all_their_questions(settings: Callable[..., Settings], dsn: str) -> None:
    result = views.run(settings(), flows=2_000, days=1, dsn=dsn, times=2, connections=2)
    assert list(result["pages"]) == ["traffic", "attacks", "alerts", "model", "storage", "flows"]
    for page in result["pages"].values():
        assert set(page["ranges"]) == {page["opens_with"], *views.SPANS}
        for shown in page["ranges"].values():
            assert shown["asked"] == 2
            assert shown["slowest"]
    assert result["pages"]["traffic"]["ranges"]["24h"]["rows"] > 50
    opened = [page["ranges"][page["opens_with"]]["p95_ms"] for page in result["pages"].values()]
    assert result["met"] == (max(opened) <= views.GOAL_MS)


def test_dashboards_are_asked_as_often_as_is_said(settings: Callable[..., Settings], dsn: str) -> None:
    result = dashboards.run(settings(), flows=20_000, days=2, dsn=dsn, times=3, clients=2)
    assert result["flows"] == 20_000
    panels, book = result["panels"], result["cookbook"]
    assert {answer["asked"] for answer in panels["queries"].values()} == {3}
    assert panels["all"]["asked"] == 3 * panels["questions"] == 3 * len(panels["queries"])
    assert panels["within_goal"] == sum(answer["p99_ms"] <= dashboards.GOAL_MS for answer in panels["queries"].values())
    assert {answer["asked"] for answer in book["queries"].values()} == {3}
    assert result["all"]["asked"] == panels["all"]["asked"] + book["all"]["asked"], "all questions are judged together"
    assert result["all"]["max_ms"] == max(panels["all"]["max_ms"], book["all"]["max_ms"])
    assert result["met"] == (result["all"]["p99_ms"] <= dashboards.GOAL_MS)
    assert [name.split(".")[0] for name in result["exports"]] == ["21"]
    assert not set(result["exports"]) & set(book["queries"])
    assert set(result["plans"]) == {
        name for group in (panels, book) for name, answer in group.get("queries", {}).items() if answer["p99_ms"] > dashboards.GOAL_MS
    }
    rows = {name: answer["rows"] for name, answer in panels["queries"].items()}
    assert rows["panel: newest flows"] == rows["panel: newest attacks"] == 100
    assert rows["panel: volume of each sensor, last 15 minutes"] > 0, "the flows reach up to now"
    assert rows["panel: top attackers, last 7 days"] > 0, "the rollups are refreshed"
    assert 40 < rows["panel: flows and attacks per hour, last 7 days"] <= 49
    assert json.loads(json.dumps(result)) == result


def test_ctrl_c_ends_a_statement_that_runs(settings: Callable[..., Settings], dsn: str) -> None:
    def sleep(own: Settings) -> None:
        with hotstore.asking(own) as cursor:
            cursor.execute("SELECT pg_sleep(3600)")

    def interrupt_when_it_runs() -> None:
        with closing(psycopg2.connect(dsn)) as admin, admin.cursor() as cursor:
            admin.autocommit = True
            running = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(3600)' AND datname LIKE 'flowlake_bench%'"
            while not (cursor.execute(running) or cursor.fetchone()):
                pass
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt_when_it_runs)
    watcher.start()
    with pytest.raises(KeyboardInterrupt), hotstore.store(settings(), dsn) as own:
        hotstore.interruptible(own, lambda: sleep(own))
    watcher.join()
    assert _databases(dsn) == set()


def test_a_question_that_fails_is_named(settings: Callable[..., Settings], dsn: str) -> None:
    with hotstore.store(settings(), dsn) as own:
        wrong = TimedQuery("3. A wrong one", "SELECT nothing FROM nowhere")
        with pytest.raises(StoreError, match=r'3\. A wrong one: relation "nowhere" does not exist'):
            dashboards.ask(own, [wrong], 1, 1, 1, lambda _: None)


def test_compression_wants_a_server_that_has_it(settings: Callable[..., Settings], dsn: str) -> None:
    with pytest.raises(StoreError, match="has no TimescaleDB: ") as caught:
        compression.run(settings(), dsn=dsn, flows=1000, days=1, choices=("",))
    assert "--dsn" in caught.value.hint
    assert _databases(dsn) == set()


def test_compression_measures_each_choice(settings: Callable[..., Settings]) -> None:
    server = os.environ.get("FLOWLAKE_TIMESCALE_DSN", "")
    if not server:
        pytest.skip("FLOWLAKE_TIMESCALE_DSN names no server with TimescaleDB: postgresql://user:password@host:port/postgres")
    result = compression.run(settings(), dsn=server, flows=20_000, days=1, choices=("", "predicted_label"), times=1)
    found = result["segment_by"]
    assert list(found) == ["none", "predicted_label"]
    for measured in found.values():
        assert measured["bytes_after"] < measured["bytes_before"]
        assert measured["ratio"] == pytest.approx(measured["bytes_before"] / measured["bytes_after"], rel=0.02)
        assert measured["replay_rows_per_s"] > 0
        assert measured["late_rows_per_s"] > 0
