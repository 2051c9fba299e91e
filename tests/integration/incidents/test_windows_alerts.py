"""Alerts of windows, which have no target: one story with the flow alerts of their source, and the way from them to the windows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from infra.config import Settings
from jobs.incidents import people
from jobs.sinks import alertbook, evidence
from jobs.sinks.alertstore import AlertStore
from ops.cli.main import main
from ops.dash import drill
from ops.dash.pool import Pools
from schemas.packets import FLOWS
from schemas.windowrecords import WINDOWS
from tests.integration.incidents.test_grouping import FLOOD, INTRUSION, give, told
from tests.integration.sinkbench import run
from tests.windowsdata import table
from tests.windowstores import fill, lead

pytestmark = pytest.mark.integration

#: By size: of the scanner what scans fast and what guesses, of the host that was broken into what calls home; what is of nobody else.
SEEN: dict[int, list[dict[str, Any]]] = {
    5: [{"src_ip": "6.6.6.6", "at": at, "attack_type": "SYN_SCAN", "flows_started": 40.0, "complete": 1} for at in (0, 5)],
    30: [{"src_ip": "6.6.6.6", "at": at, "attack_type": "SYN_SCAN", "flows_started": 90.0} for at in (0, 30)],
    180: [
        *({"src_ip": "6.6.6.6", "at": at, "attack_type": "SSH_BRUTE_FORCE", "failed_ratio": 0.9} for at in (540, 720)),
        *({"src_ip": "10.0.0.5", "at": at, "attack_type": "BOTNET_BEACON", "beats": 9.0} for at in (1260, 1440, 1620)),
        {"src_ip": "10.7.7.7", "at": 0, "attack_type": "SYN_SCAN"},
        {"src_ip": "10.0.0.5", "at": 1080},
        {"src_ip": "198.18.0.0", "src_prefix": 16, "at": 900},
        {"src_ip": "2001:db8:1:2::", "src_prefix": 64, "ip_version": 6, "at": 900},
    ],
}


def give_windows(where: Settings, sizes: tuple[int, ...] = (5, 30, 180)) -> None:
    for size in sizes:
        record = WINDOWS[size]
        rules = record.alerts
        assert rules is not None
        found = evidence.partials(evidence.attacks(table(size, SEEN[size]), rules), rules, 3600)
        AlertStore(where.alerts, record, others=people.labels_of(where)).apply(alertbook.gather([found]))


@pytest.fixture
def made(tables: dict[str, Any], settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Alerts of flows and of windows; the windows in the hot store and in the lake."""
    where = settings(hot=tables, alerts={**tables, "min_flows": 1}, lake={"path": str(home / "lake" / "flows")})
    lead(where, home, monkeypatch)
    fill(where, home, {size: table(size, SEEN[size]) for size in WINDOWS})
    give(AlertStore(where.alerts, FLOWS, others=people.labels_of(where)), INTRUSION + FLOOD)
    give_windows(where)
    return where


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return found


def one_alert(where: Settings, kind: str, source: str) -> str:
    question = "SELECT id::text FROM alerts WHERE record_type LIKE 'windows_%%' AND attack_type = %s AND host(src_ip) = %s"
    ((found,),) = run(where.alerts, question, kind, source)
    return str(found)


def test_they_join_the_story_of_their_source_in_any_order(made: Settings) -> None:
    stories = {tuple(row[3]): row[0] for row in told(made).values()}
    assert stories == {
        ("BOTNET_BEACON", "EXFILTRATION", "SSH_BRUTE_FORCE", "SYN_SCAN"): "SYN scan, then SSH brute force, then exfiltration, then botnet "
        "beacon: 6.6.6.6, 10.0.0.5 -> about 29 hosts",
        ("SYN_FLOOD",): "SYN flood: 300 hosts -> 10.0.2.1",
        ("SYN_SCAN",): "SYN scan: 10.7.7.7",
    }
    before = told(made)
    for name in ("alerts", "incidents"):
        run(made.alerts, f"DELETE FROM {name}")
    give_windows(made, (180, 5, 30))
    give(AlertStore(made.alerts, FLOWS, others=people.labels_of(made)), FLOOD + INTRUSION)
    assert told(made) == before


def test_an_alert_leads_to_windows_of_all_sizes(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    scan = one_alert(made, "SYN_SCAN", "6.6.6.6")
    _, out, _ = call(capsys, "alerts", "show", scan)
    assert f"flowlake windows show --alert {scan[:8]}" in out
    assert "flowlake flows" not in out
    assert re.search(r"^who +6\.6\.6\.6$", out, re.MULTILINE), out
    assert "4 windows, scan" in out
    for store in ("hot", "lake"):
        rows = listed(capsys, "windows", "show", "--alert", scan[:8])
        found = sorted((row["window_size"], row["source"], row["flows_started"]) for row in rows)
        assert found == [(5, "6.6.6.6", 40)] * 2 + [(30, "6.6.6.6", 90)] * 2, store
        assert [row["window_start"] for row in rows] == sorted(row["window_start"] for row in rows)
        run(made.hot, "DELETE FROM window_features")
    assert "from the lake: the hot store holds 0 of 4" in call(capsys, "windows", "show", "--alert", scan[:8])[2]
    code, _, err = call(capsys, "flows", "--alert", scan)
    assert (code, "it is about records of type windows_" in err, "flowlake alerts show" in err) == (2, True, True)


def test_the_page_of_an_alert_shows_its_windows(made: Settings) -> None:
    pools = Pools(made.hot, made.alerts, 10)
    try:
        story = drill.alert(made, pools, one_alert(made, "SYN_SCAN", "6.6.6.6"))
    finally:
        pools.close()
    assert (story.flows.error, len(story.flows.rows)) == ("", 4)
    assert [column.name for column in story.panel.columns][:5] == ["time", "window_size", "src_ip", "complete", "flows_started"]
    assert {row[1] for row in story.flows.rows} == {5, 30}


def test_an_incident_has_the_windows_of_its_alerts(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (story,) = [row for row in listed(capsys, "incidents", "list") if "SSH" in row["title"]]
    _, out, _ = call(capsys, "incidents", "show", story["id"][:8])
    assert f"flowlake windows show --incident {story['id'][:8]}" in out
    assert f"flowlake flows --incident {story['id'][:8]}" in out
    rows = listed(capsys, "windows", "show", "--incident", story["id"])
    assert len(rows) == 9
    assert {row["source"] for row in rows} == {"6.6.6.6", "10.0.0.5"}
    code, _, err = call(capsys, "flows", "--incident", story["id"])
    assert (code, "3 alerts are about other records than flows, and left out" in err) == (0, True)
    code, out, _ = call(capsys, "alerts", "list")
    assert (code, "10.7.7.7" in out, "many hosts" in out) == (0, True, False)


def test_one_window_is_enough_whatever_flows_need(tables: dict[str, Any], settings: Callable[..., Settings]) -> None:
    where = settings(hot=tables, alerts={**tables, "min_flows": 100})
    for size, record in WINDOWS.items():
        rules = record.alerts
        assert rules is not None
        seen = table(size, [{"src_ip": f"192.0.2.{size}", "attack_type": "SYN_SCAN"}])
        found = alertbook.gather([evidence.partials(evidence.attacks(seen, rules), rules, 3600)])
        assert len(AlertStore(where.alerts, record).apply(found).raised) == 1, size


def test_a_false_alarm_labels_its_windows(made: Settings, capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (story,) = [row for row in listed(capsys, "incidents", "list") if "10.7.7.7" in row["title"]]
    assert call(capsys, "incidents", "false-positive", story["id"], "--by", "anna", "--why", "our scanner")[0] == 0
    (label,) = DeltaTable(str(home / "lake" / "labels")).to_pyarrow_table().to_pylist()
    window = table(180, SEEN[180][5:6]).to_pylist()[0]["window_id"]
    assert (label["record_type"], label["record_key"], label["label"]) == ("windows_180", window, 0)


def test_an_entry_by_source_silences_them_and_one_by_target_does_not(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("alerts", "incidents"):
        run(made.alerts, f"DELETE FROM {name}")
    assert call(capsys, "whitelist", "add", "10.7.7.0/24", "--direction", "target", "--why", "hosts of ours", "--by", "anna")[0] == 0
    give_windows(made)
    assert run(made.alerts, "SELECT count(*) FROM alerts WHERE suppressed_by IS NOT NULL") == [(0,)]
    for name in ("alerts", "incidents"):
        run(made.alerts, f"DELETE FROM {name}")
    assert call(capsys, "whitelist", "add", "10.7.7.0/24", "--direction", "source", "--why", "our scanner", "--by", "anna")[0] == 0
    give_windows(made)
    assert run(made.alerts, "SELECT host(src_ip) FROM alerts WHERE suppressed_by IS NOT NULL") == [("10.7.7.7",)]


def test_windows_of_the_hot_store_are_chosen(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "windows", "show")
    assert [row["window_start"] for row in rows] == sorted((row["window_start"] for row in rows), reverse=True)
    assert len(rows) == 13
    for address, source in (("198.18.7.7", "198.18.0.0/16"), ("2001:db8:1:2::9", "2001:db8:1:2::/64")):
        assert [row["source"] for row in listed(capsys, "windows", "show", "--source", address)] == [source]
    assert listed(capsys, "windows", "show", "--source", "198.19.7.7") == []
    assert len(listed(capsys, "windows", "show", "--source", "10.0.0.5")) == 4
    assert len(listed(capsys, "windows", "show", "--source", "10.0.0.0/8", "--size", "180", "--attacks")) == 4
    assert [row["beats"] for row in listed(capsys, "windows", "show", "--since", "2026-03-01T12:27", "--limit", "1")] == [9]
    code, out, err = call(capsys, "windows", "show", "--source", "192.0.2.1", "--size", "5")
    assert (code, "no windows in table window_features match --source 192.0.2.1, --size 5" in err) == (0, True)
    assert "2026-03-01T12:27:00Z" in err
    _, out, _ = call(capsys, "windows", "show", "--size", "30", "--csv")
    assert out.splitlines()[0].startswith("window_start,window_size,source,domain,complete")
    for words, said in (
        (["--source", "nobody"], "is no address, and no network"),
        (["--size", "7"], "no part '7'"),
        (["--json", "--csv"], "exclude each other"),
        (["--alert", "1", "--incident", "2"], "exclude each other"),
        (["--alert", "1", "--size", "5"], "do not go with"),
    ):
        code, _, err = call(capsys, "windows", "show", *words)
        assert (code, said in err) == (2, True), words
