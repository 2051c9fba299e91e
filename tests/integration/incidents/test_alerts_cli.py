"""``flowlake alerts`` and ``flowlake flows --alert`` on a real PostgreSQL and a real lake: the page, ids, two at once, where flows are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from deltalake import write_deltalake

from infra import config
from infra.config import Settings
from infra.errors import StoreError
from infra.sections import PostgresSettings
from jobs.incidents import page, people
from jobs.sinks import alerts, ask, hot, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import migrate
from jobs.sinks.parquet import lake_rows
from ops.cli.main import main
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.integration.hotstore import empty_database
from tests.integration.incidents.test_grouping import BOTNET, FLOOD, INTRUSION, give
from tests.integration.sinkbench import run
from tests.sinksdata import flow_id, table

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def filled(postgres_server: PostgresSettings) -> Iterator[tuple[dict[str, Any], str]]:
    """A server, and a database on it with alerts of three stories; the flows of two are in the hot store."""
    server = postgres_server.model_dump(include={"host", "port", "user", "password"})
    with empty_database(server) as name:
        made = config.build(hot={**server, "database": name}, alerts={**server, "database": name, "min_flows": 1})
        migrate(hot.component(made, NETWORK_FLOWS))
        migrate(alerts.component(made))
        connection = postgres.connect(made.hot, "test")
        hot.insert(connection, hot.hot_rows(table(INTRUSION + FLOOD), FLOWS), NETWORK_FLOWS, ("q", 0, 0, "x"))
        connection.close()
        give(AlertStore(made.alerts, FLOWS), INTRUSION + BOTNET + FLOOD)
        postgres.kept(made.alerts, "flowlake-alerts").close()
        yield server, name


@pytest.fixture
def desk(
    filled: tuple[dict[str, Any], str], settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The same in a database of this test alone; the configuration file names it."""
    server, template = filled
    with empty_database(server, template) as name:
        section = {"host": server["host"], "port": server["port"], "user": server["user"], "database": name}
        (home / "conf.yaml").write_text(yaml.safe_dump({"hot": section, "alerts": section, "lake": {"path": "lake"}}))
        monkeypatch.setenv("FLOWLAKE_CONF", str(home / "conf.yaml"))
        for one_of_two in ("HOT", "ALERTS"):
            monkeypatch.setenv(f"FLOWLAKE_{one_of_two}__PASSWORD", server["password"].get_secret_value())
        yield settings(hot={**server, "database": name}, alerts={**server, "database": name}, lake={"path": str(home / "lake")})


@pytest.fixture
def lake(home: Path) -> Path:
    """A lake with the flows of all stories."""
    write_deltalake(str(home / "lake"), lake_rows(table(INTRUSION + BOTNET + FLOOD), FLOWS), partition_by=["event_date"])
    return home / "lake"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def one(made: Settings, attack: str) -> str:
    return str(ask.query(made.alerts, "SELECT min(id::text) AS id FROM alerts WHERE attack_type = %s", [attack])[0]["id"])


def test_a_list_by_name_is_the_list_without(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    bare = call(capsys, "alerts", "--kind", "flood", "--json")
    assert call(capsys, "alerts", "list", "--kind", "flood", "--json") == bare
    assert [row["attack_type"] for row in json.loads(bare[1])] == ["SYN_FLOOD"]
    assert "9 alerts, newest first" in call(capsys, "alerts", "list")[1]
    assert "4 of 9 alerts, newest first" in call(capsys, "alerts", "list", "--limit", "4")[1]
    assert "1 alert, newest first" in call(capsys, "alerts", "list", "--limit", "1", "--kind", "flood")[1]
    assert call(capsys, "alerts", "list", "--kind", "nonsense")[0] == 2


@pytest.mark.parametrize("columns", [80, 120])
def test_at_a_terminal_each_alert_is_a_line(
    desk: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    key = named_incident(desk, "SYN scan")
    for arguments, alerts_ in ((("alerts", "list"), 9), (("incidents", "show", key[:8]), 3)):
        code, out, _ = call(capsys, *arguments)
        rows = [line for line in out.splitlines() if line.startswith("\u2502")]
        assert (code, len(rows)) == (0, alerts_)
        assert max(map(len, rows)) <= columns
        assert [line for line in rows if "SYN_SCAN" in line and "6.6.6.6 -> 29 hosts" in line]


def test_following_by_name_prints_a_line_an_alert(
    desk: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ops.cli.alerts.time", SimpleNamespace(sleep=sleep))  # of this module alone: other threads sleep as well
    code, out, _ = call(capsys, "alerts", "follow", "--kind", "scan")
    assert (code, out.count("\n"), "SYN_SCAN" in out) == (130, 1, True)


def test_the_page_tells_the_story_and_its_changes(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    scan = one(desk, "SYN_SCAN")
    code, out, err = call(capsys, "alerts", "show", scan[:8])
    assert (code, err) == (0, "")
    for words in (
        "SYN_SCAN: half-open TCP port scan", f"alert {scan}", "6.6.6.6 -> 29 targets (10.0.0.1", "29 flows, scan", "state       open",
        "SYN scan, then SSH brute force", "T1046 Network Service Discovery  https://attack.mitre.org/techniques/T1046/",
        "which ports answered", "why: not known", f"flowlake flows --alert {scan[:8]}",
    ):  # fmt: skip
        assert words in out
    assert call(capsys, "alerts", "resolve", scan[:8], "--by", "anna", "--action", "told the owner")[0] == 0
    _, out, _ = call(capsys, "alerts", "show", scan)
    assert "resolved by anna" in out
    assert ": told the owner" in out
    assert "anna: action taken: told the owner, resolved by anna" in out
    _, out, _ = call(capsys, "alerts", "show", scan[:8], "--json")
    found = json.loads(out)
    assert (found["id"], found["incident"]["status"], found["technique"]["id"]) == (scan, "OPEN", "T1046")
    assert [row["user_id"] for row in found["history"]][-1] == "anna"
    assert found["details"]["distinct_targets"] == 29


def test_the_last_open_alert_says_that_its_incident_is_open_still(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    _, flood, _ = call(capsys, "alerts", "resolve", one(desk, "SYN_FLOOD"), "--by", "anna")
    key = ask.query(desk.alerts, "SELECT incident_id::text AS id FROM alerts WHERE attack_type = 'SYN_FLOOD'")[0]["id"]
    assert f"the last open alert of incident {key[:8]}, which is still OPEN: SYN flood: 300 hosts -> 10.0.2.1" in flood
    assert f"to close it: flowlake incidents resolve {key[:8]} --why" in flood
    _, scan, _ = call(capsys, "alerts", "resolve", one(desk, "SYN_SCAN"), "--by", "anna")
    assert "last open alert" not in scan  # its incident has others
    assert call(capsys, "incidents", "resolve", named_incident(desk, "Botnet"), "--by", "anna")[0] == 0
    ask.query(desk.alerts, "UPDATE alerts SET resolved_at = NULL WHERE id = %s::uuid", [one(desk, "BOTNET_BEACON")])
    assert "last open alert" not in call(capsys, "alerts", "resolve", one(desk, "BOTNET_BEACON"), "--by", "anna")[1]


def named_incident(made: Settings, beginning: str) -> str:
    return str(ask.query(made.alerts, "SELECT id::text FROM incidents WHERE starts_with(title, %s)", [beginning])[0]["id"])


def test_what_somebody_wrote_past_the_commands_steers_no_terminal(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202ax"
    scan = one(desk, "SYN_SCAN")
    ask.query(desk.alerts, "UPDATE incidents SET title = %s, description = %s, assigned_to = %s", [evil, evil, evil])
    ask.query(desk.alerts, "UPDATE alerts SET action_taken = %s, sensor_id = %s, details = details || %s::jsonb",
              [evil, evil, json.dumps({"targets": [evil], "why": {"missing": evil}})])  # fmt: skip
    ask.query(desk.alerts, "INSERT INTO incident_notes (incident_id, author, note) SELECT incident_id, %s, %s FROM alerts "
              "WHERE id = %s::uuid",
              [evil, evil, scan])  # fmt: skip
    key = ask.query(desk.alerts, "SELECT incident_id::text AS id FROM alerts WHERE id = %s::uuid", [scan])[0]["id"]
    for arguments in (
        ("alerts", "show", scan),
        ("incidents", "show", key),
        ("incidents", "assign", key, "--to", "anna"),
        ("alerts", "list"),
    ):
        code, out, _ = call(capsys, *arguments)
        assert code == 0
        assert "\x1b" not in out
        assert "\x07" not in out


def test_who_may_not_read_the_audit_sees_the_rest(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with people.acting(desk.alerts, "ben") as cursor:
        cursor.execute("SET LOCAL ROLE flowlake_analyst")
        found = page.read(cursor, one(desk, "SYN_SCAN"), people.labels_of(desk))
        alike = people.alerts_of(cursor, people.find(cursor, found["incident"]["id"])["id"])
    assert (found["history"], found["incident"]["status"]) == (None, "OPEN")
    assert found["id"] in {row["id"] for row in alike}


def test_an_explanation_is_shown(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    why = {"flow_id": "f", "base": 0.02, "score": 0.97, "features": [{"feature": "syn", "value": 3, "contribution": 0.5, "usual": [0, 1]}]}
    key = one(desk, "EXFILTRATION")
    ask.query(desk.alerts, "UPDATE alerts SET details = details || %s::jsonb WHERE id = %s::uuid", [json.dumps({"why": why}), key])
    assert "+0.500  syn 3, usually 0 to 1" in call(capsys, "alerts", "show", key)[1]


def test_beginnings_that_several_share_name_them(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for child in ("alert_state", "alert_flows"):
        ask.query(desk.alerts, f"DELETE FROM {child}")
    for n, key in enumerate(["SYN_SCAN", "SYN_FLOOD"]):
        twin = f"abcd000{n}-0000-5000-8000-000000000000"
        ask.query(desk.alerts, "UPDATE alerts SET id = %s WHERE attack_type = %s", [twin, key])
    for arguments in (("alerts", "show"), ("alerts", "resolve"), ("flows", "--alert"), ("incidents", "split")):
        code, _, err = call(capsys, *arguments, "ABCD")
        assert code == 2
        assert "several alerts begin with abcd: abcd0000-0000-5000-8000-000000000000 (SYN_SCAN 6.6.6.6 -> many); abcd0001" in err
    assert call(capsys, "alerts", "show", "abcd0000")[0] == 0
    code, _, err = call(capsys, "alerts", "show", "abc")
    assert (code, "nor the beginning of one" in err) == (2, True)
    ask.query(desk.alerts, "UPDATE incidents SET id = ('abcd000' || n || '-0000-5000-8000-000000000000')::uuid FROM (SELECT id AS was, "
        "row_number() OVER (ORDER BY id) AS n FROM incidents) numbered WHERE id = was")  # fmt: skip
    code, _, err = call(capsys, "incidents", "show", "abcd")
    assert (code, "several incidents begin with abcd: abcd0001" in err, "SYN flood" in err) == (2, True, True)


def test_of_two_at_once_one_resolves_and_the_other_is_told(desk: Settings) -> None:
    key = one(desk, "SYN_SCAN")
    gate = threading.Barrier(2)
    told: dict[str, str] = {}

    def act(who: str) -> None:
        with people.acting(desk.alerts, who) as cursor:
            cursor.execute("SELECT 1")
            gate.wait(30)
            told[who] = str(page.resolve(cursor, key[:8], who)["resolved_by"])

    def person(who: str) -> None:
        try:
            act(who)
        except StoreError as e:
            told[who] = str(e)

    both = [threading.Thread(target=person, args=(who,)) for who in ("anna", "ben")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    (winner,) = [who for who, said in told.items() if said == who]
    (loser,) = told.keys() - {winner}
    assert f"was resolved before, by {winner} at 20" in told[loser]
    assert run(desk.alerts, "SELECT user_id FROM user_actions WHERE target = %s AND details ? 'resolved_by'", f"alert:{key}") == [(winner,)]


def test_flows_of_an_alert_are_in_the_hot_store(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    scan = one(desk, "SYN_SCAN")
    code, out, err = call(capsys, "flows", "--alert", scan[:8], "--limit", "1000", "--json")
    assert (code, err) == (0, "")
    names = [row["name"] for row in INTRUSION if row["attack_type"] == "SYN_SCAN"]
    assert [row["flow_id"] for row in json.loads(out)] == [flow_id(name) for name in names]
    _, out, err = call(capsys, "flows", "--alert", one(desk, "SYN_FLOOD"), "--limit", "7")
    assert "the first 7 of 300 flows behind alert" in out
    assert "in the order of time (hot)" in out
    assert "293 flows more are not shown; --limit 300 shows all" in err


def test_flows_that_have_left_the_hot_store_come_from_the_lake(desk: Settings, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beacon = one(desk, "BOTNET_BEACON")
    code, out, err = call(capsys, "flows", "--alert", beacon, "--csv")
    assert (code, out.count("BOTNET_BEACON"), "from the lake: the hot store holds 0 of 6" in err) == (0, 6, True)
    ask.query(desk.hot, "DELETE FROM network_flows WHERE src_port >= 0 AND dst_ip > '10.0.0.20'")
    _, out, err = call(capsys, "flows", "--alert", one(desk, "SYN_SCAN"), "--limit", "1000", "--json")
    assert (len(json.loads(out)), "from the lake: the hot store holds 20 of 29" in err) == (29, True)
    _, out, err = call(capsys, "flows", "--alert", one(desk, "SYN_SCAN"), "--store", "hot", "--limit", "1000", "--json")
    assert (len(json.loads(out)), err) == (20, "")
    ask.query(desk.hot, "DROP TABLE network_flows CASCADE")
    _, out, err = call(capsys, "flows", "--alert", beacon, "--json")
    assert (len(json.loads(out)), "the hot store cannot be asked" in err) == (6, True)


def test_flows_of_an_incident_are_those_of_all_its_alerts(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    key = ask.query(desk.alerts, "SELECT id::text FROM incidents WHERE title LIKE 'SYN scan%%'")[0]["id"]
    _, out, err = call(capsys, "flows", "--incident", key[:8], "--limit", "1000", "--json")
    assert err == ""
    assert [row["flow_id"] for row in json.loads(out)] == [flow_id(row["name"]) for row in INTRUSION]
    _, out, _ = call(capsys, "flows", "--incident", key, "--since", "2026-03-01T12:20", "--json")
    assert {row["attack_type"] for row in json.loads(out)} == {"EXFILTRATION"}
    code, _, err = call(capsys, "flows", "--incident", key, "--alert", key)
    assert (code, "exclude each other" in err) == (2, True)


def test_flows_that_nobody_has_any_more_are_said_to_be_gone(desk: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    key = one(desk, "BOTNET_BEACON")
    code, out, err = call(capsys, "flows", "--alert", key, "--json")
    assert (code, json.loads(out)) == (0, [])
    assert "the lake cannot be asked" in err
    assert f"no flows behind alert {key} are stored" in err
