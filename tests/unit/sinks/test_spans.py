"""Ends of the addresses of an alert: of however many, whatever is repeated, reordered or cut."""

from __future__ import annotations

import ipaddress
import random
from uuid import uuid4

import pytest

from jobs.sinks import alertbook, evidence, spans, storms
from jobs.sinks.alertbook import Alert
from jobs.suppression.importance import AssetList
from schemas.packets import FLOWS
from tests.sinksdata import table


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        (["10.0.0.9", "9.255.0.1", "10.0.0.10"], ["9.255.0.1", "10.0.0.10"]),
        (["10.0.0.1"], ["10.0.0.1", "10.0.0.1"]),
        (["2001:db8::1", "255.0.0.1"], ["255.0.0.1", "2001:db8::1"]),
        (["::ffff:10.0.0.9", "10.0.0.1"], ["10.0.0.1", "::ffff:10.0.0.9"]),
        (["10.0.0.1", "host"], []),
        ([], []),
    ],
)
def test_ends(addresses: list[str], found: list[str]) -> None:
    assert spans.ends(addresses) == found


def test_where_not_all_is_known_nothing_is() -> None:
    assert spans.known(["10.0.0.1"], 2, []) == []
    assert spans.known(["10.0.0.1"], 2, ["10.0.0.1", "10.0.0.7"]) == ["10.0.0.1", "10.0.0.7"]
    assert spans.joined([], ["10.0.0.1", "10.0.0.7"]) == []


@pytest.mark.parametrize("seed", range(8))
def test_an_alert_knows_its_ends_however_it_was_cut(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.choice([5, 20, 21, 60])
    rows = [
        {"name": i, "attack_type": "SYN_FLOOD", "src_ip": f"10.0.{rng.randint(0, 3)}.{i + 1}", "dst_ip": "10.9.9.9"} for i in range(count)
    ]
    expected = spans.ends(str(row["src_ip"]) for row in rows)
    rng.shuffle(rows)
    alert: Alert | None = None
    while rows:
        size = rng.choice((1, 7, 30))
        batch, rows = rows[:size], rows[size:]
        shares = [batch[: size // 2], batch[size // 2 :]]
        found = [evidence.partials(evidence.attacks(table(share), FLOWS.alerts), FLOWS.alerts, 3600) for share in shares if share]
        (item,) = alertbook.gather(found)
        (again,) = alertbook.gather([alertbook.rows([item])])
        assert again.ends.get("source", []) == item.ends.get("source", [])
        change = alertbook.apply(alert, item)
        alert = change.alert if change else alert
    assert alert is not None
    assert alert.details.get("source_ends", []) == (expected if count > 20 else [])
    assert "target_ends" not in alert.details


def test_a_storm_knows_the_ends_and_the_importance_of_what_it_holds() -> None:
    rows = [{"name": i, "attack_type": "DNS_TUNNEL", "src_ip": f"10.0.{i}.7", "dst_ip": "10.9.9.9"} for i in range(40)]
    assets = AssetList([(ipaddress.ip_network("10.0.33.0/24"), 4)])
    every = evidence.partials(evidence.attacks(table(rows), FLOWS.alerts), FLOWS.alerts, 3600, assets)
    (item,) = alertbook.gather([storms.fold(every, uuid4())])
    assert (item.ends["source"], item.ends["target"], item.importance) == (["10.0.0.7", "10.0.39.7"], [], 4)
