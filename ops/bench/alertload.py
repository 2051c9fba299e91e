"""Alerts at a given rate into a database, by a process of its own, as the query ``alerts`` writes them: what a stream runs beside.

Each attacker scans, guesses a password, injects and carries data away: four alerts, one incident.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from infra.sections import AlertSettings
from jobs.sinks import alertbook, evidence, storms
from jobs.sinks.alertstore import AlertStore
from schemas.alerts import EVIDENCE_COLUMNS
from schemas.packets import FLOWS

#: Alerts of one attacker: attack type, flows.
STEPS = (("SYN_SCAN", 5), ("SSH_BRUTE_FORCE", 5), ("WEB_INJECTION", 1), ("EXFILTRATION", 1))
_US = pa.timestamp("us", tz="UTC")


def address(number: int) -> str:
    """An IPv4 address by its number, in 10.0.0.0/8."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def attacks(rows: list[dict[str, Any]], at: float) -> pa.Table:
    """Records labelled as attacks, columns :data:`schemas.alerts.EVIDENCE_COLUMNS` and those that an alert about a flow tells.

    Parameters
    ----------
    rows
        Columns that matter, ``attack_type`` among them.
    at
        Start of each, seconds since the epoch.
    """
    assert FLOWS.alerts is not None
    count = len(rows)
    constant: dict[str, Any] = {
        "domain": "bench", "sensor_id": "bench", "model_version": "bench", "src_ip": "10.0.0.1", "dst_ip": "192.0.2.1", "protocol": 6,
        "src_port": 40000, "dst_port": 80, "closed": True, "confidence_score": 0.95, "predicted_label": 1,
    }  # fmt: skip
    told = set(FLOWS.alerts.details)
    types = {field.name: field.type for field in FLOWS.published if field.name in told or field.name in EVIDENCE_COLUMNS}
    columns = {}
    for name, kind in types.items():
        if pa.types.is_timestamp(kind):
            columns[name] = pa.array(np.full(count, round(at * 1e6)), pa.int64()).cast(_US)
        else:
            empty = "" if pa.types.is_string(kind) else 0
            columns[name] = pa.array([row.get(name, constant.get(name, empty)) for row in rows], kind)
    return evidence.attacks(pa.table(columns), FLOWS.alerts)


def campaigns(count: int, first: int, at: float) -> pa.Table:
    """Attackers ``first`` to ``first + count``, each with its alerts."""
    rows = [
        {"flow_id": f"{i}/{name}/{n}", "attack_type": name, "src_ip": address(i), "dst_ip": address(0x800000 + i), "dst_port": 1000 + n}
        for i in range(first, first + count)
        for name, flows in STEPS
        for n in range(flows)
    ]
    return attacks(rows, at)


def partials(table: pa.Table, settings: AlertSettings) -> pa.Table:
    """Evidence of a table of attacks, as a task hands it to the driver."""
    assert FLOWS.alerts is not None
    return storms.bounded(evidence.partials(table, FLOWS.alerts, settings.episode_s), settings.storm_alerts, settings.episode_s)


def load(settings: AlertSettings, rate: float, seconds: float, at: float) -> Iterator[float]:
    """Write ``rate`` alerts each second; yields how long that took, seconds. What takes longer than a second delays the next."""
    store = AlertStore(settings, FLOWS)
    each = max(round(rate / len(STEPS)), 1)
    began = time.monotonic()
    for second in range(round(seconds)):
        time.sleep(max(began + second - time.monotonic(), 0))
        before = time.perf_counter()
        store.apply(alertbook.gather([partials(campaigns(each, second * each, at + second), settings)]))
        yield time.perf_counter() - before


if __name__ == "__main__":
    given = json.load(sys.stdin)
    taken = list(load(AlertSettings(**given["alerts"]), given["rate"], given["seconds"], time.time()))
    print(json.dumps(taken))
