"""A table with rows is laid out in days while others read and write it, and when whoever does it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta

import pytest

from infra.config import ROOT
from infra.sections import HotSettings
from jobs.sinks import hot, postgres
from schemas.network_flows import NETWORK_FLOWS
from tests.integration.hotstore import DAY, NOW, Store, flows
from tests.integration.released import HOT_1, VERSIONS
from tests.integration.sinkbench import until

pytestmark = pytest.mark.integration

#: Days with rows, and rows of each.
DAYS, EACH = 6, 20
#: In a process of its own: migrate, and be killed right behind the n-th transaction or statement.
VICTIM = """
import os, signal, sys
from infra.sections import HotSettings
from jobs.hotstore import intohyper
from jobs.hotstore.layout import HotLayout
from jobs.sinks import migrations
from tests.integration.hotstore import Store

left = int(sys.argv[2])

def counted(function):
    def call(*given, **named):
        global left
        found = function(*given, **named)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return call

HotLayout._run = counted(HotLayout._run)
intohyper._copy = counted(intohyper._copy)
intohyper._behind = counted(intohyper._behind)
Store(HotSettings.model_validate_json(sys.argv[1])).migrate()
"""


def filled(store: HotSettings) -> Store:
    made = Store(store)
    made.sql(f"{VERSIONS} {HOT_1} INSERT INTO flowlake_schema VALUES ('hot', 1)")
    times = [NOW - d * DAY + timedelta(seconds=n) for d in range(DAYS) for n in range(EACH)]
    with closing(postgres.connect(store, "test")) as connection:
        hot.insert(connection, flows(times), NETWORK_FLOWS, ("test", 1, 0, "1"))
    return made


def test_killed_at_any_step_it_goes_on(store: HotSettings) -> None:
    """On plain PostgreSQL: behind the check, behind its verification, behind the change of names, before the rollup is made."""
    made = filled(store)
    rows = DAYS * EACH
    codes = []
    for step in (5, 6, 7, 8, 0):
        done = subprocess.run(
            [sys.executable, "-c", VICTIM, store.model_dump_json(), str(step)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        codes.append(done.returncode)
        assert made.rows == rows, done.stderr
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert codes[-1] == 0
    assert len(codes) > 1, "nobody was killed"
    assert made.missing() == ()
    assert made.write(flows([NOW - d * DAY + timedelta(seconds=n) for d in range(DAYS) for n in range(EACH)])) == 0
    assert made.rows == rows
    leftovers = made.sql("SELECT relname FROM pg_class WHERE relname IN ('network_flows_new', 'network_flows_old')")
    assert leftovers == []
    assert made.sql("SELECT conname FROM pg_constraint WHERE conname = 'flowlake_legacy_bound'") == []


def test_others_read_and_write_meanwhile(store: HotSettings) -> None:
    """Readers see every row at any time, and what is written meanwhile is there behind."""
    made = filled(store)
    end, seen, problems = threading.Event(), [], []
    written = 0

    def read() -> None:
        with closing(postgres.connect(store, "reader")) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            while not end.is_set():
                try:
                    cursor.execute("SELECT count(*) FROM network_flows WHERE timestamp < %s", (NOW + DAY / 4,))
                    seen.append(cursor.fetchone()[0])
                except Exception as e:
                    problems.append(e)

    def write() -> None:
        # Late rows of a day that may have been copied, and new ones; while the indexes change, a writer waits.
        nonlocal written
        while not end.is_set():
            try:
                times = [NOW - 3 * DAY + timedelta(hours=1, seconds=written), NOW + DAY / 2 + timedelta(seconds=written)]
                written += made.write(flows(times))
            except Exception as e:
                problems.append(e)

    others = [threading.Thread(target=read), threading.Thread(target=write)]
    for thread in others:
        thread.start()
    try:
        until(lambda: seen and written, 60)
        made.migrate()
        before = written
        until(lambda: written > before, 60)
    finally:
        end.set()
        for thread in others:
            thread.join()
    assert problems == []
    assert min(seen) >= DAYS * EACH
    assert seen == sorted(seen), "rows came, and none went away"
    assert written > 0
    assert made.rows == DAYS * EACH + written
    assert made.missing() == ()


def test_rows_beyond_the_bound_wait_while_a_table_is_being_partitioned(plain: HotSettings) -> None:
    """Between the steps a row of next year has no place: it is not refused, but waited with."""
    from jobs.hotstore.conversion import statements
    from jobs.sinks.hot import Writer
    from jobs.sinks.stores import StoreUnavailable
    from schemas.packets import FLOWS

    made = filled(plain)
    made.sql(statements("network_flows", "timestamp")[0])
    writer = Writer(plain, FLOWS, "q", 1, 0)
    rows = flows([NOW + 300 * DAY, NOW + DAY / 3])
    with pytest.raises(StoreUnavailable, match="being partitioned"):
        writer._insert(rows, ("q", 1, 0, "a"))
    made.migrate()
    assert writer._insert(rows, ("q", 1, 0, "a")) == 2
    assert made.where()["network_flows_default"] == 1
