"""Assets make alerts about what matters more severe: the list, its commands, and what the stream makes of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from infra.config import Settings
from infra.networks import network
from jobs.incidents import people
from jobs.sinks import alertbook, evidence
from jobs.sinks.alertstore import AlertStore
from jobs.suppression import assets
from jobs.suppression.assets import Asset, CurrentAssets
from jobs.suppression.importance import AssetList
from schemas.packets import FLOWS
from tests.integration.incidents.test_grouping import INTRUSION, attack
from tests.integration.incidents.test_incidents_cli import call
from tests.integration.sinkbench import Rows, run
from tests.integration.suppression.test_whitelist_cli import made, told
from tests.sinksdata import table as flows

__all__ = ["made"]
pytestmark = pytest.mark.integration


def give(store: AlertStore, rows: Rows, known: AssetList) -> None:
    found = evidence.partials(evidence.attacks(flows(rows), FLOWS.alerts, assets=True), FLOWS.alerts, 3600, known)
    store.apply(alertbook.gather([found]))


def put(where: Settings, *given: tuple[str, str, int]) -> None:
    with people.acting(where.alerts, "anna") as cursor:
        assets.store(cursor, [Asset(network(net), name, importance) for net, name, importance in given], "anna")


def severities(where: Settings) -> dict[str, tuple[int, Any]]:
    return {kind: (severity, importance) for kind, severity, importance in
            run(where.alerts, "SELECT attack_type, severity, (details ->> 'importance')::int FROM alerts")}  # fmt: skip


def test_what_matters_makes_alerts_severe_and_incidents_urgent_and_is_named(made: Settings) -> None:
    put(made, ("10.0.0.0/24", "office", 1), ("10.0.0.5", "pay-roll", 4))
    store = AlertStore(made.alerts, FLOWS)
    scan = [attack("SYN_SCAN", "6.6.6.6", f"10.0.0.{i}", 0, i) for i in range(6, 30)]
    current = CurrentAssets(made.alerts)
    give(store, scan, current.read())
    assert severities(made) == {"SYN_SCAN": (1, 1)}
    assert run(made.alerts, "SELECT priority, title FROM incidents") == [("LOW", "SYN scan: 6.6.6.6 -> 24 hosts")]
    give(store, [attack("SYN_SCAN", "6.6.6.6", "10.0.0.5", 1), attack("EXFILTRATION", "10.0.0.5", "6.6.6.6", 1)], current.read())
    # Of what a host does that was broken into, that host is at stake.
    assert severities(made) == {"SYN_SCAN": (4, 4), "EXFILTRATION": (5, 4)}
    ((title,),) = run(made.alerts, "SELECT title FROM incidents")
    assert title == "SYN scan, then exfiltration: 6.6.6.6, 10.0.0.5 (pay-roll) -> 25 hosts"


@pytest.mark.parametrize("seed", range(2))
def test_severity_does_not_depend_on_cuts(made: Settings, seed: int) -> None:
    """One host of many matters, and no sample of them need hold it."""
    known = AssetList([(network("10.0.9.9"), 4), (network("10.0.0.0/16"), 1)])  # type: ignore[list-item]
    rows = INTRUSION + [attack("SYN_SCAN", "6.6.6.6", f"10.0.9.{i}", 0, i) for i in range(40)]
    sql = "SELECT id, severity, confidence, flow_count, details ->> 'importance' FROM alerts ORDER BY id"
    give(AlertStore(made.alerts, FLOWS), rows, known)
    whole = run(made.alerts, sql)
    run(made.alerts, "DELETE FROM alerts")
    run(made.alerts, "DELETE FROM incidents")
    rng = random.Random(seed)
    rng.shuffle(rows)
    store = AlertStore(made.alerts, FLOWS)
    while rows:
        size = rng.choice((1, 5, 40))
        give(store, rows[:size], known)
        rows = rows[size:]
    assert run(made.alerts, sql) == whole


def test_the_stream_sees_every_change_of_the_list(made: Settings) -> None:
    current = CurrentAssets(made.alerts)
    assert len(current.read()) == 0
    put(made, ("10.0.0.5", "a", 4))
    first = current.read()
    assert (len(first), first.importance("10.0.0.5")) == (1, 4)
    assert current.read() is first
    run(made.alerts, "UPDATE assets SET importance = 1")  # by whatever way
    assert current.read().importance("10.0.0.5") == 1
    with people.acting(made.alerts, "anna") as cursor:
        assets.remove(cursor, network("10.0.0.5"), "anna")
    assert len(current.read()) == 0


def test_commands(made: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "assets.csv"
    path.write_bytes(
        b"\xef\xbb\xbfaddress;name;importance;rack\r\n10.0.0.0/24;office;LOW;7\r\n10.0.0.5;pay-roll;4;8\r\n2001:db8::/48;lab;2;\r\n"
    )
    code, out, err = call(capsys, "assets", "import", str(path), "--by", "anna")
    assert (code, out, err) == (0, "3 new, 0 changed, 0 as before, 0 removed\n", "not read: rack\n")
    assert (
        call(capsys, "assets", "set", "10.0.0.5", "--name", "pay-roll", "--importance", "high")[1]
        == "10.0.0.5/32  pay-roll  HIGH  changed\n"
    )
    assert [row["name"] for row in told(capsys, "assets", "show", "::ffff:10.0.0.5")] == ["pay-roll", "office"]
    assert call(capsys, "assets", "show", "11.0.0.1")[0] == 2
    assert call(capsys, "assets", "remove", "2001:db8::/48", "--by", "ben")[0] == 0
    code, _, err = call(capsys, "assets", "remove", "2001:db8::/48")
    assert (code, "2001:db8::/48 is no asset" in err) == (2, True)
    assert [row["network"] for row in told(capsys, "assets", "list")] == ["10.0.0.0/24", "10.0.0.5/32"]
    assert {row["removed_by"] for row in told(capsys, "assets", "list", "--all")} == {None, "ben"}
    path.write_text("address,name\n10.0.0.0/24,office\n10.1.0.1,new\n")
    code, out, _ = call(capsys, "assets", "import", str(path), "--replace", "--json")
    assert json.loads(out) == {"new": 1, "changed": 1, "same": 0, "removed": 1}
    acts = run(made.alerts, "SELECT user_id, action, count(*) FROM user_actions WHERE starts_with(target, 'asset:') GROUP BY 1, 2")
    assert {("anna", "asset.insert", 3), ("ben", "asset.update", 1)} <= set(acts)


def test_a_bad_row_leaves_the_list_as_it_was(made: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "assets.csv"
    path.write_text("address,name,importance\n10.0.0.1,a,1\n10.0.0.5/24,b,1\n10.0.0.2,c,9\n")
    code, out, err = call(capsys, "assets", "import", str(path))
    assert (code, out) == (9, "")
    assert err.splitlines()[:2] == [
        "line 3: address '10.0.0.5/24': bits of a host are set (the network is 10.0.0.0/24; the one host is 10.0.0.5)",
        "line 4: importance '9' (1 to 4, or one of: LOW, MEDIUM, HIGH, CRITICAL)",
    ]
    assert "2 rows are not right; nothing was imported" in err
    assert run(made.alerts, "SELECT count(*) FROM assets") == [(0,)]
