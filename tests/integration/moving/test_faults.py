"""What goes wrong on the way: killed, two at once, the database away, slow, read-only, a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from infra.config import ROOT
from infra.process import free_port
from infra.stack.postgres import Postgres
from jobs.moving import csvfile
from jobs.moving.laketarget import LakeTarget
from jobs.moving.targets import HotTarget, Job
from jobs.runtime import lake
from jobs.sinks import postgres
from schemas.packets import FLOWS
from tests.integration.moving.conftest import Mover, written
from tests.integration.sinkbench import run as sql
from tests.integration.sinkbench import until
from tests.movingdata import rows, text

pytestmark = pytest.mark.integration
#: Rows, and where a process is killed: after so many blocks, before or after the named step of the next.
COUNT = 300
#: A program that migrates with small blocks, and dies at a stated point.
KILLED = """
import os, signal, sys
from jobs.moving import csvfile, rejects, targets, laketarget
from jobs.sinks import hot, parquet
csvfile.BLOCK = 4000
place, number = sys.argv[1], int(sys.argv[2])
owner, name = {"reject": (rejects.RejectFile, "write"), "hot": (hot, "insert"), "lake": (parquet.Log, "commit"),
               "note": (laketarget.files, "replace")}[place.split("-")[1]]
real, calls = getattr(owner, name), 0
def dying(*given, **named):
    global calls
    calls += 1
    if calls == number and place.startswith("before"):
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*given, **named)
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, dying)
from ops.cli.main import main
main(["migrate", "csv", sys.argv[3], "--into", "both"])
"""


def given(tmp_path: Path) -> Path:
    """Rows, and a line in the middle that is none."""
    file = tmp_path / "live.csv"
    file.write_text(text(rows(COUNT // 2)) + "broken\n" + text(rows(COUNT // 2, COUNT // 2), header=False))
    return file


def counted(mover: Mover) -> tuple[int, int]:
    ((hot,),) = sql(mover.settings.hot, "SELECT count(*) FROM network_flows")
    return hot, lake.dataset(lake.location(mover.settings, FLOWS)).count_rows()


@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("before-hot", 1),
        ("after-hot", 4),
        ("before-lake", 3),
        ("after-lake", 3),
        ("before-note", 2),
        ("after-note", 5),
        ("after-reject", 8),
    ],
)
def test_killed_and_started_again(mover: Mover, tmp_path: Path, place: str, number: int) -> None:
    file = given(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, place, str(number), str(file)], cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (told,) = mover.told("csv", file, "--into", "both")["files"]
    assert told["closes"]
    assert counted(mover) == (COUNT, COUNT)
    if number > 1:
        assert told["resumed_at_byte"] > 0, "it goes on where it was"
    assert (tmp_path / "live.csv.rejects.csv").read_text() == f'line,reason,raw\n{COUNT // 2 + 2},"number of fields","broken"\n'


def test_two_at_once(mover: Mover, tmp_path: Path) -> None:
    file = given(tmp_path)
    mover.told("csv", file, "--into", "both")
    for store, target in (("hot", HotTarget(mover.settings, FLOWS)), ("lake", LakeTarget(mover.settings, FLOWS))):
        target.prepare(print)
        target.begin(Job(FLOWS, file, "time zone UTC"))
        code, _, err = mover("csv", file, "--into", store)
        assert code == 5
        assert "by another process" in err or "another migration" in err
        target.end()
        assert mover("csv", file, "--into", store)[0] == 0


@pytest.fixture
def own(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """A server of this test alone."""
    server = Postgres(tmp_path / "own", free_port())
    server.start()
    try:
        server.create_database("flowlake")
        section = server.settings()
        monkeypatch.setenv(
            "FLOWLAKE_CONF", str(written(home, {name: getattr(section, name) for name in ("host", "port", "user", "database")}))
        )
        for name in ("HOT", "ALERTS"):
            monkeypatch.setenv(f"FLOWLAKE_{name}__PASSWORD", section.password.get_secret_value())
        yield server
    finally:
        server.stop()


def test_a_database_that_is_down(mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_HOT__PORT", str(free_port()))
    code, _, err = mover("csv", given(tmp_path), "--patience", 0.3)
    assert code == 5
    assert "waiting for the store" in err
    assert "goes on where it was" in err


def test_a_database_that_is_restarted_in_between(
    own: Postgres, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra import config

    mover = Mover(config.load(), capsys)
    monkeypatch.setattr(csvfile, "BLOCK", 4000)
    blocks = 0
    real = postgres.copy_table
    starter: list[threading.Thread] = []

    def stopping(*arguments: Any) -> None:
        nonlocal blocks
        blocks += 1
        if blocks == 4:
            own.stop()
            starter.append(threading.Timer(0.5, own.start))
            starter[0].start()
        real(*arguments)

    monkeypatch.setattr(postgres, "copy_table", stopping)
    code, out, err = mover("csv", given(tmp_path), "--json")
    starter[0].join()
    assert code == 0, err
    assert "waiting for the store" in err
    assert f'"written": {COUNT}' in out
    assert sql(mover.settings.hot, "SELECT count(*), count(DISTINCT flow_id) FROM network_flows") == [(COUNT, COUNT)]


def _as_owner(mover: Mover, statement: str) -> None:
    admin = psycopg2.connect(**postgres_arguments(mover))
    admin.autocommit = True
    with closing(admin), admin.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(statement)


def postgres_arguments(mover: Mover) -> dict[str, Any]:
    hot = mover.settings.hot
    return {
        "host": hot.host,
        "port": hot.port,
        "dbname": hot.database,
        "user": hot.user,
        "password": hot.password.get_secret_value() or None,
    }


def test_a_read_only_database(mover: Mover, tmp_path: Path) -> None:
    file = given(tmp_path)
    mover.told("csv", file, "--to", "2026-03-01T12:00:10")
    _as_owner(mover, f"ALTER DATABASE {mover.settings.hot.database} SET default_transaction_read_only = on")
    code, _, err = mover("csv", file, "--patience", 0.3)
    assert (code, "read-only transaction" in err) == (5, True)
    _as_owner(mover, f"ALTER DATABASE {mover.settings.hot.database} SET default_transaction_read_only = off")
    (told,) = mover.told("csv", file)["files"]
    assert told["stores"]["hot"] == {"written": COUNT - 10, "already_there": 10, "by_an_earlier_run": 0}


def test_a_slow_database_is_waited_for(mover: Mover, tmp_path: Path) -> None:
    file = given(tmp_path)
    mover.told("csv", file, "--to", "2026-03-01T12:00:01")
    holder = psycopg2.connect(**postgres_arguments(mover))
    with closing(holder), holder.cursor() as cursor:
        cursor.execute("LOCK TABLE network_flows IN SHARE MODE")
        held = threading.Thread(target=lambda: (_waiting(mover), holder.rollback()))
        held.start()
        (told,) = mover.told("csv", file)["files"]
        held.join()
    assert told["stores"]["hot"]["written"] == COUNT - 1


def _waiting(mover: Mover) -> None:
    """Until a writer waits for the lock."""
    until(lambda: sql(mover.settings.hot, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0] > 0)


def test_a_value_that_the_database_refuses_does_not_hold_up_the_others(mover: Mover, tmp_path: Path) -> None:
    file = given(tmp_path)
    mover.told("csv", file, "--to", "2026-03-01T12:00:01")
    sql(mover.settings.hot, "ALTER TABLE network_flows ADD CONSTRAINT own CHECK (flow_duration <> 310)")
    (told,) = mover.told("csv", file)["files"]
    assert told["closes"]
    assert told["rejected_by_reason"] == {"number of fields": 1, "refused by the database": 1}
    assert sql(mover.settings.hot, "SELECT count(*) FROM network_flows") == [(COUNT - 1,)]
    assert "refused by the database" in (tmp_path / "live.csv.rejects.csv").read_text()


def test_no_room_for_the_rejects(mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = given(tmp_path)
    full = tmp_path / "full"
    full.mkdir()
    (full / "live.csv.rejects.csv").symlink_to("/dev/full")
    code, _, err = mover("csv", file, "--rejects", full)
    assert code == 9
    assert "No space left on device" in err
    assert sql(mover.settings.hot, "SELECT count(*) FROM network_flows") == [(0,)], "no row before its block's rejects are safe"
    assert mover.told("csv", file)["files"][0]["rows"] == COUNT
    code, _, err = mover("csv", file, "--rejects", tmp_path / "none")
    assert (code, "there is no such folder" in err) == (2, True)


def test_a_lake_whose_folder_cannot_be_written(mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLOWLAKE_LAKE__PATH", str(tmp_path / "file" / "flows"))
    code, _, err = mover("csv", given(tmp_path), "--into", "lake")
    assert (code, "lake" in err) == (5, True)


def test_interrupted_by_hand(mover: Mover, tmp_path: Path) -> None:
    code = "import jobs.moving.csvfile as c; c.BLOCK = 3000; from ops.cli.main import main; main(['migrate', 'csv', %r])"
    file = tmp_path / "live.csv"
    file.write_text(text(rows(3000)))
    process = subprocess.Popen([sys.executable, "-c", code % str(file)], cwd=ROOT, stderr=subprocess.PIPE, env=dict(os.environ))
    until(lambda: sql(mover.settings.hot, "SELECT to_regclass('network_flows') IS NOT NULL")[0][0])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, b"Traceback" in err) in ((130, False), (0, False))
    mover.told("csv", file)
    assert sql(mover.settings.hot, "SELECT count(*) FROM network_flows") == [(3000,)]
