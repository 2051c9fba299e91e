"""Alerts written and grouped: how many a second, what a storm of a million leaves, and whether a stream beside them is harmed."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from infra.config import ROOT, Settings
from infra.process import free_port
from infra.sections import AlertSettings
from infra.stack.postgres import Postgres
from jobs.sinks import alertbook, alerts, ask
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import migrate
from ops.bench import alertload, stream
from ops.bench.place import machine
from schemas.packets import FLOWS

#: Alerts in a batch of a storm, before it is bounded.
_STORM_BATCH = 20_000
#: The longest that an incident may be seen after its first alert, and the two of one transaction must not differ by more, ms.
_AFTER = (
    "SELECT coalesce(max(extract(epoch FROM i.created_at - a.first)), 0)::float8 * 1000 AS ms FROM incidents i JOIN "
    "(SELECT incident_id, min(created_at) AS first FROM alerts GROUP BY incident_id) a ON a.incident_id = i.id"
)


@contextmanager
def _database(settings: Settings) -> Iterator[Settings]:
    folder = Path(tempfile.mkdtemp(prefix="flowlake-bench-"))
    server = Postgres(folder / "postgres", free_port())
    try:
        server.start()
        server.create_database("flowlake")
        place = server.settings().model_dump(exclude_unset=True)
        own = settings.model_copy(update={"alerts": settings.alerts.model_copy(update=place)})
        migrate(alerts.component(own), lambda _: None)
        yield own
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run(settings: Settings, *, seconds: float, storm: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Batches of a hundred alerts, then a storm, each in a database of its own.

    Parameters
    ----------
    settings
        Of the project.
    seconds
        Batches of a hundred alerts.
    storm
        Forged sources of the storm.
    say
        Told of the progress.

    Returns
    -------
    dict
        ``alerts_per_s`` that could be written and grouped, ms a batch, how long after its first alert an incident was there (ms),
        alerts and incidents; of the storm seconds, rows of the tables and peak memory of this process (MiB).
    """
    with _database(settings) as own:
        say(f"{seconds:.0f} batches of 100 alerts")
        taken = list(_unpaced(own.alerts, round(seconds)))
        (made,) = ask.query(own.alerts, "SELECT (SELECT count(*) FROM alerts) AS alerts, (SELECT count(*) FROM incidents) AS incidents")
        (after,) = ask.query(own.alerts, _AFTER)
    result: dict[str, Any] = {
        **made,
        "alerts_per_s": round(made["alerts"] / sum(taken)),
        "batch_ms": {"p50": round(float(np.percentile(taken, 50)) * 1e3, 1), "p99": round(float(np.percentile(taken, 99)) * 1e3, 1)},
        "incident_after_its_first_alert_ms": round(after["ms"], 1),
    }
    with _database(settings) as own:
        result["storm"] = _storm(own, storm, say)
    return {**result, "machine": machine()}


def _unpaced(settings: AlertSettings, batches: int) -> Iterator[float]:
    store = AlertStore(settings, FLOWS)
    each = 100 // len(alertload.STEPS)
    for batch in range(batches):
        found = alertload.partials(alertload.campaigns(each, batch * each, 1.7e9 + batch), settings)
        before = time.perf_counter()
        store.apply(alertbook.gather([found]))
        yield time.perf_counter() - before


def _storm(settings: Settings, sources: int, say: Callable[[str], None]) -> dict[str, Any]:
    """As many alerts as there are forged sources, in a minute of event time."""
    store = AlertStore(settings.alerts, FLOWS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    for first in range(0, sources, _STORM_BATCH):
        rows = [
            {"flow_id": f"storm/{i}", "attack_type": "WEB_INJECTION", "src_ip": alertload.address(i)}
            for i in range(first, min(first + _STORM_BATCH, sources))
        ]
        store.apply(alertbook.gather([alertload.partials(alertload.attacks(rows, 1.7e9 + 60 * first / sources), settings.alerts)]))
        say(f"{first + len(rows):,} forged sources")
    tables = ("alerts", "alert_outbox", "alert_state", "alert_flows", "incidents", "user_actions")
    counts = ", ".join(f"(SELECT count(*) FROM {name}) AS {name}" for name in tables)
    (found,) = ask.query(settings.alerts, f"SELECT {counts}, (SELECT max(flow_count) FROM alerts WHERE kind = 'storm') AS counted")
    return {
        "sources": sources,
        "seconds": round(time.perf_counter() - began, 1),
        "rows": found,
        "more_memory_mib": max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, 0) >> 10,
    }


def beside(settings: Settings, *, rate: float, seconds: float, alerts_per_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """The stream alone, and with alerts written into the same database by another process, one after the other.

    Returns
    -------
    dict
        ``ratio`` of the packets per second worked off with to without, what :func:`ops.bench.stream.run` says of either in short, and
        ms that a second's alerts took (p99).
    """
    say("the stream alone")
    alone = stream.run(settings, rate=rate, seconds=seconds, say=say)
    say(f"the stream beside {alerts_per_s:.0f} alerts a second")
    running: list[subprocess.Popen[str]] = []
    try:
        with_alerts = stream.run(
            settings, rate=rate, seconds=seconds, say=say, started=lambda own: running.append(_start(own, alerts_per_s, seconds))
        )
        text, _ = running[0].communicate(timeout=120)
    finally:
        for process in running:
            process.kill()
    taken = json.loads(text)
    names = ("sustained", "kpps_done", "lag_slope_pps", "stages_ms")
    return {
        "ratio": round(with_alerts["kpps_done"] / alone["kpps_done"], 3),
        "alone": {name: alone[name] for name in names},
        "beside": {name: with_alerts[name] for name in names},
        "alerts_written": round(len(taken) * alerts_per_s),
        "alerts_ms": {"p50": round(float(np.percentile(taken, 50)) * 1e3, 1), "p99": round(float(np.percentile(taken, 99)) * 1e3, 1)},
    }


def _start(settings: Settings, rate: float, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.bench.alertload"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdin is not None
    # thousands of alerts an hour are the load here, not a storm
    given = {**settings.alerts.model_dump(mode="json"), "storm_alerts": 1_000_000}
    json.dump({"alerts": given, "rate": rate, "seconds": seconds}, process.stdin)
    process.stdin.close()
    process.stdin = None
    return process
