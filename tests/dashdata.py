"""Stores as a shift finds them, for the tests of the dashboard: flows of the last hour, alerts and incidents made of them."""

from __future__ import annotations

import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.config import Settings
from jobs.sinks import alertbook, alerts, evidence, hot, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import migrate
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.sinksdata import T0, table

#: What would be a script, a query or a command if it were not taken as text.
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'; DROP TABLE alerts; -- \x1b[2J{{7*7}}"
SENSORS = ("edge-1", "edge-2")


def migrated(settings: Settings) -> None:
    """The tables, empty."""
    migrate(hot.component(settings, NETWORK_FLOWS))
    migrate(alerts.component(settings))


def write(settings: Settings, rows: list[dict[str, Any]], batch: int = 0) -> None:
    """Flows into the hot store, and the alerts and incidents that they make."""
    flows = table(rows)
    with closing(postgres.connect(settings.hot, "test")) as connection:
        hot.insert(connection, hot.hot_rows(flows, FLOWS), NETWORK_FLOWS, ("dash", batch, 0, "x"))
        connection.commit()
    parts = evidence.partials(evidence.attacks(flows, FLOWS.alerts), FLOWS.alerts, 3600)
    if any(row.get("attack_type", "BENIGN") != "BENIGN" for row in rows):
        AlertStore(settings.alerts, FLOWS).apply(alertbook.gather([parts]))
        postgres.discard(postgres.kept(settings.alerts, "flowlake-alerts"))


def shift(now: datetime | None = None) -> list[dict[str, Any]]:
    """Flows of the fifty minutes before: an ordinary day, an intrusion in three steps, a botnet, a flood."""
    end = now or datetime.now(UTC)
    rng = random.Random(7)

    def at(minutes: float) -> float:
        return (end - timedelta(minutes=minutes) - T0).total_seconds()

    benign = [
        {
            "name": f"b{i}", "at": at(rng.uniform(0.2, 50)), "sensor_id": SENSORS[i % 3 == 0], "src_ip": f"10.0.0.{rng.randint(1, 60)}",
            "dst_ip": f"192.0.2.{rng.randint(1, 9)}", "dst_port": rng.choice((80, 443, 53)), "protocol": rng.choice((6, 6, 17)),
            "total_length_fwd_packets": rng.randint(200, 9000), "total_length_bwd_packets": rng.randint(500, 90_000),
        }
        for i in range(1500)
    ]  # fmt: skip
    return [
        *benign,
        *(_attack("SYN_SCAN", "6.6.6.6", f"10.0.0.{i}", at(40) + i) for i in range(1, 40)),
        *(_attack("SSH_BRUTE_FORCE", "6.6.6.6", "10.0.0.5", at(32) + i) for i in range(25)),
        *(_attack("EXFILTRATION", "10.0.0.5", "7.7.7.7", at(20) + i) for i in range(3)),
        *(_attack("BOTNET_BEACON", f"10.0.1.{bot}", "9.9.9.9", at(28 - 3 * i) + bot) for bot in range(1, 6) for i in range(6)),
        *(_attack("SYN_FLOOD", f"198.51.{i // 250}.{i % 250 + 1}", "10.0.2.1", at(9) + i / 10) for i in range(600)),
    ]


def _attack(kind: str, source: str, target: str, at: float) -> dict[str, Any]:
    return {
        "name": f"{kind}{source}{target}{at}", "attack_type": kind, "src_ip": source, "dst_ip": target, "at": at, "sensor_id": SENSORS[0],
    }  # fmt: skip


def attack(kind: str, source: str, target: str, now: datetime | None = None) -> dict[str, Any]:
    """A flow of an attack that began two seconds ago."""
    return _attack(kind, source, target, ((now or datetime.now(UTC)) - T0).total_seconds() - 2)
