"""The condition of entries, which is SQL, against the rule said over in Python: random entries and alerts, and chosen ones."""

from __future__ import annotations

import ipaddress
import json
import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from infra.config import Settings
from jobs.sinks import postgres
from jobs.suppression import conditions
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration
NOW = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)  # the day before clocks go forward in Europe


@pytest.fixture
def where(tables: dict[str, Any], settings: Callable[..., Settings]) -> Settings:
    return settings(alerts=tables)


def put_alert(where: Settings, **given: Any) -> dict[str, Any]:
    row = {
        "kind": "repeated", "attack_type": "BOTNET_BEACON", "sensor_id": "s1", "domain": "d1", "first_seen": NOW, "last_seen": NOW,
        "sources": ["10.0.0.1"], "targets": ["10.0.0.2"], "ports": [80], "unseen": 0, **given, "id": str(uuid4()),
    }  # fmt: skip
    single = row["kind"] == "per-flow"
    details: dict[str, Any] = {"dst_port": row["ports"][0]} if single else {
        "sources": row["sources"], "targets": row["targets"], "ports": row["ports"],
        "distinct_sources": len(row["sources"]) + row["unseen"],
        "distinct_targets": len(row["targets"]), "distinct_ports": len(row["ports"]),
    }  # fmt: skip
    run(
        where.alerts,
        "INSERT INTO alerts (id, timestamp, src_ip, dst_ip, attack_type, severity, confidence, details, kind, domain, sensor_id, "
        "model_version, first_seen, last_seen, flow_count) VALUES (%s, %s, %s, %s, %s, 3, 1, %s, %s, %s, %s, '', %s, %s, 1)",
        row["id"], row["first_seen"], row["sources"][0] if single or len(row["sources"]) == 1 else None,
        row["targets"][0] if single or len(row["targets"]) == 1 else None, row["attack_type"], json.dumps(details), row["kind"],
        row["domain"], row["sensor_id"], row["first_seen"], row["last_seen"],
    )  # fmt: skip
    return row


def put_entry(where: Settings, **given: Any) -> dict[str, Any]:
    row = {
        "sort": "whitelist", "network": None, "direction": "either", "kind": None, "attack_type": None, "port_low": None, "port_high": None,
        "sensor_id": None, "domain": None, "starts_at": NOW, "ends_at": None, "repeats": "", "repeats_until": None, "timezone": "UTC",
        "ended_at": None, **given,
    }  # fmt: skip
    row["starts_at"] = row["starts_at"] if row["sort"] == "maintenance" else datetime(2020, 1, 1, tzinfo=UTC)
    names = ", ".join(row)
    ((row["id"],),) = run(
        where.alerts,
        f"INSERT INTO suppressions ({names}, reason, created_by) VALUES ({', '.join(['%s'] * len(row))}, 'r', 'a') RETURNING id",
        *row.values(),
    )
    return row


def decided(where: Settings) -> dict[tuple[str, int], bool]:
    """(alert, entry) -> whether the database says that the entry silences it."""
    sql = f"SELECT a.id::text, e.id, {conditions.FITS} FROM alerts a, suppressions e"
    with closing(postgres.connect(where.alerts, "test")) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return {(alert, entry): fits for alert, entry, fits in cursor.fetchall()}


def plain(text: str) -> Any:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def fits(alert: dict[str, Any], entry: dict[str, Any]) -> bool:
    """The rule again, as its words say it."""
    if any(entry[name] is not None and entry[name] != alert[name] for name in ("kind", "attack_type", "sensor_id", "domain")):
        return False
    if entry["port_low"] is not None and not all(entry["port_low"] <= port <= entry["port_high"] for port in alert["ports"]):
        return False
    if entry["network"] is not None:
        net = ipaddress.ip_network(entry["network"])
        sides = {"source": alert["sources"], "target": alert["targets"]}
        hidden = {"source": alert["unseen"] if alert["kind"] != "per-flow" else 0, "target": 0}
        if not any(all(plain(one) in net for one in sides[side]) and not hidden[side] and sides[side]
                   for side in sides if entry["direction"] in (side, "either")):  # fmt: skip
            return False
    return entry["sort"] == "whitelist" or in_window(alert, entry)


def in_window(alert: dict[str, Any], entry: dict[str, Any]) -> bool:
    if entry["ended_at"] is not None and alert["last_seen"] > entry["ended_at"]:
        return False
    zone = ZoneInfo(entry["timezone"])
    begin, end, first, last = (
        moment.astimezone(zone).replace(tzinfo=None)
        for moment in (entry["starts_at"], entry["ends_at"], alert["first_seen"], alert["last_seen"])
    )
    step = {"": 0, "day": 1, "week": 7}[entry["repeats"]]
    until = entry["repeats_until"].astimezone(zone).replace(tzinfo=None) if entry["repeats_until"] else datetime.max
    starts = [begin + timedelta(days=step * i) for i in range(60 if step else 1)]
    return any(start <= first and last <= start + (end - begin) and (not step or start < until) for start in starts)


ADDRESSES = ["10.0.0.1", "10.0.0.200", "10.9.9.9", "192.0.2.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8:0:1::1"]
NETWORKS = ["10.0.0.0/24", "10.0.0.1/32", "10.0.0.0/8", "192.0.2.0/24", "2001:db8::/64", "2001:db8::1/128", "::/0", "0.0.0.0/0", None]


def random_alert(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["scan", "flood", "repeated", "per-flow"])
    many = {"scan": "targets", "flood": "sources"}.get(kind)
    return {
        "kind": kind, "attack_type": rng.choice(["A", "B"]), "sensor_id": rng.choice(["s1", "s2"]), "domain": rng.choice(["d1", "d2"]),
        "sources": rng.sample(ADDRESSES, rng.randint(1, 3) if many == "sources" else 1), "unseen": rng.choice([0, 0, 3]),
        "targets": rng.sample(ADDRESSES, rng.randint(1, 3) if many == "targets" else 1),
        "ports": sorted(rng.sample([22, 80, 443], rng.randint(1, 2) if many else 1)),
        "first_seen": (at := NOW + timedelta(hours=rng.uniform(-30, 400))), "last_seen": at + timedelta(hours=rng.choice([0, 0.1, 2, 30])),
    }  # fmt: skip


def random_entry(rng: random.Random) -> dict[str, Any]:
    def maybe(*values: Any) -> Any:
        return rng.choice([None, None, *values])

    low = maybe(22, 80)
    found = {
        "network": rng.choice(NETWORKS), "direction": rng.choice(["source", "target", "either"]), "kind": maybe("scan", "per-flow"),
        "attack_type": maybe("A"), "sensor_id": maybe("s1"), "domain": maybe("d1"), "port_low": low,
        "port_high": low and low + rng.choice([0, 400]),
    }  # fmt: skip
    if rng.random() < 0.6:
        repeats = rng.choice(["", "day", "week"])
        found |= {
            "sort": "maintenance", "starts_at": (at := NOW + timedelta(hours=rng.uniform(-40, 200))),
            "ends_at": at + timedelta(hours=rng.uniform(0.5, 23)), "repeats": repeats, "timezone": rng.choice(["UTC", "Europe/Zurich"]),
            "repeats_until": at + timedelta(days=rng.uniform(1, 20)) if repeats and rng.random() < 0.4 else None,
            "ended_at": at + timedelta(hours=rng.uniform(-9, 90)) if rng.random() < 0.2 else None,
        }  # fmt: skip
    return found


def test_the_database_decides_as_the_rule_says(where: Settings) -> None:
    rng = random.Random(20260328)
    given = [put_alert(where, **random_alert(rng)) for _ in range(50)]
    entries = [put_entry(where, **random_entry(rng)) for _ in range(70)]
    expected = {(alert["id"], entry["id"]): fits(alert, entry) for alert in given for entry in entries}
    found = decided(where)
    assert {pair: said for pair, said in found.items() if said != expected[pair]} == {}
    assert len(found) == 3500
    assert 100 < sum(found.values()) < 1500


def test_edges_of_a_window_belong_to_it_and_what_goes_over_them_does_not(where: Settings) -> None:
    hour = timedelta(hours=1)
    put_entry(where, sort="maintenance", starts_at=NOW, ends_at=NOW + hour)
    tick = timedelta(microseconds=1)
    spans = [
        (NOW, NOW + hour),
        (NOW, NOW),
        (NOW - tick, NOW),
        (NOW, NOW + hour + tick),
        (NOW + hour, NOW + hour),
        (NOW - hour, NOW + 2 * hour),
    ]
    given = [put_alert(where, first_seen=first, last_seen=last)["id"] for first, last in spans]
    found = decided(where)
    assert [found[key, 1] for key in given] == [True, True, False, False, True, False]


def test_a_window_of_each_sunday_keeps_its_hour_when_clocks_change(where: Settings) -> None:
    """02:00 to 05:00 in Zurich: 01:00 to 04:00 UTC in winter, 00:00 to 03:00 in summer."""
    start = datetime(2026, 3, 22, 1, 0, tzinfo=UTC)
    put_entry(where, sort="maintenance", starts_at=start, ends_at=start + timedelta(hours=3), repeats="week", timezone="Europe/Zurich")
    moments = [(22, 3, 30), (22, 0, 30), (29, 2, 30), (29, 3, 30), (30, 2, 30)]
    given = [put_alert(where, first_seen=(at := datetime(2026, 3, d, h, m, tzinfo=UTC)), last_seen=at)["id"] for d, h, m in moments]
    late = datetime(2026, 4, 5, 0, 30, tzinfo=UTC)
    given.append(put_alert(where, first_seen=late, last_seen=late)["id"])
    found = decided(where)
    assert [found[key, 1] for key in given] == [True, False, True, False, False, True]


def test_details_of_another_system_are_no_fault(where: Settings) -> None:
    """An alert that moved in says of itself what it likes."""
    put_entry(where, network="10.0.0.0/24", port_low=80, port_high=80)
    put_entry(where, network="10.0.0.0/24")
    key = put_alert(where, kind="per-flow", ports=["http; DROP TABLE alerts"])["id"]
    run(where.alerts, 'UPDATE alerts SET details = details || \'{"sources": "none", "ports": ["x"], "distinct_sources": "many"}\'')
    assert decided(where) == {(key, 1): False, (key, 2): True}
