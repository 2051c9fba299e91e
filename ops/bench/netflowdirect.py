"""The collector without Kafka and Spark: over UDP, decoded, marked, enriched, into PostgreSQL; records a second of its one process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from infra.config import ROOT, Settings
from infra.errors import StackError
from infra.stack.postgres import Postgres
from jobs.sinks import postgres
from ops.bench.netflow import ExportLoad
from ops.bench.place import stack
from ops.harness.exported.routers import with_own_ports
from ops.harness.place import Place, environment, write_conf
from schemas.rawflowtable import TABLE
from sensors.netflow.settings import ExporterSensorSettings

Say = Callable[[str], None]
#: Kernels are compiled at the first start of all, s.
_START_S = 240.0
_GIVEN_UP = ("thinned", "limited", "dropped", "refused", "unsent", "kernel_dropped")


def run(settings: Settings, *, rate: float, seconds: float, exporters: int, burst: float, say: Say = print) -> dict[str, Any]:
    """Send, and wait until every record is stored.

    Returns
    -------
    dict
        As :func:`ops.bench.netflow.run`, without what only the stream has; ``collector_cpu_us``: CPU of the collector's process, a record.

    Raises
    ------
    StackError
        The collector ended.
    """
    load = ExportLoad(rate, seconds, exporters, burst)
    with stack(settings) as (moved, where):
        own = with_own_ports(moved)
        where.base.mkdir(parents=True, exist_ok=True)
        server = Postgres(where.base / "postgres", own.hot.port, own.hot.user)
        server.start()
        try:
            server.create_database(own.hot.database)
            with _collector(own, where) as process:
                say("the collector listens; sending")
                before = _cpu_s(process)
                port = own.section(ExporterSensorSettings).ports[0]
                load.export(Path(), own, port, threading.Event())
                ended = _stored(own, int(load.summary["records"]), process)
                cpu = _cpu_s(process) - before
                process.send_signal(signal.SIGINT)
                summary = json.loads(process.communicate(timeout=60)[0].splitlines()[-1])
        finally:
            server.stop()
    records = int(load.summary["records"])
    return {
        "mode": "direct",
        "exporters": exporters,
        "offered_per_s": round(records / (load.ended - load.began)),
        "records": records,
        "datagrams": load.summary["datagrams"],
        "stored": summary["records_stored"],
        "stored_per_s": round(summary["records_stored"] / (ended - load.began)),
        "behind_s": round(ended - load.ended, 1),
        "given_up": {name: summary[name] for name in _GIVEN_UP},
        "collector_cpu_us": round(cpu / max(summary["records_stored"], 1) * 1e6, 1),
    }


@contextmanager
def _collector(own: Settings, where: Place) -> Iterator[subprocess.Popen[str]]:
    """The command at work: it listens, and has its tables."""
    write_conf(own, where.conf)
    where.logs.mkdir(parents=True, exist_ok=True)
    log = where.logs / "collector.log"
    command = [sys.executable, "-m", "ops.cli.main", "sensor", "netflow", "--mode", "direct", "--json", "--conf-file", str(where.conf)]
    with (
        log.open("w", encoding="utf-8") as told,
        subprocess.Popen(command, cwd=ROOT, env=environment(where), stdout=subprocess.PIPE, stderr=told, text=True) as process,
    ):
        try:
            deadline = time.monotonic() + _START_S
            while _rows(own) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise StackError("the collector does not begin", f"the log: {log}")
                time.sleep(0.5)
            yield process
        finally:
            process.kill()


def _cpu_s(process: subprocess.Popen[str]) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def _rows(own: Settings) -> int | None:
    """Records that are stored; None: there is no table yet."""
    with closing(postgres.connect(own.hot, "flowlake-bench")) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL AND to_regclass('flow_raw_collectors') IS NOT NULL", (TABLE,))
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(f"SELECT count(*) FROM {TABLE}")
        return int(cursor.fetchone()[0])


def _stored(own: Settings, records: int, process: subprocess.Popen[str]) -> float:
    """When all records were stored, or no more came (monotonic seconds)."""
    last, since = -1, time.monotonic()
    while process.poll() is None:
        found, now = _rows(own) or 0, time.monotonic()
        if found >= records:
            return now
        if found > last:
            last, since = found, now
        elif now - since > 10:
            return since
        time.sleep(0.1)
    raise StackError("the collector ended while it was measured", "run it by hand: flowlake sensor netflow --mode direct")
