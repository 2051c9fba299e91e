"""``flowlake incidents`` and ``flowlake audit`` on a real PostgreSQL: what people do, two at once, hostile text, wrong ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from infra.config import Settings
from jobs.incidents import people
from jobs.sinks import ask, hot, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.parquet import lake_rows
from ops.cli.main import main
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.integration.incidents.test_grouping import BOTNET, FLOOD, INTRUSION, attack, give
from tests.integration.sinkbench import run
from tests.sinksdata import flow_id, table

pytestmark = pytest.mark.integration


@pytest.fixture
def made(tables: dict[str, Any], settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Three incidents, their flows in the hot store and in the lake; the configuration file names them."""
    where = settings(hot=tables, alerts={**tables, "min_flows": 1}, lake={"path": str(home / "lake")})
    conf = home / "conf.yaml"
    section = {name: getattr(where.hot, name) for name in ("host", "port", "user", "database")}
    conf.write_text(yaml.safe_dump({"hot": section, "alerts": section, "lake": {"path": "lake"}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    for name in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{name}__PASSWORD", where.hot.password.get_secret_value())
    rows = table(INTRUSION + BOTNET)
    write_deltalake(str(home / "lake"), lake_rows(rows, FLOWS), partition_by=["event_date"])
    connection = postgres.connect(where.hot, "test")
    hot.insert(connection, hot.hot_rows(rows, FLOWS), NETWORK_FLOWS, ("q", 0, 0, "x"))
    connection.close()
    give(AlertStore(where.alerts, FLOWS), INTRUSION + BOTNET + FLOOD)
    return where


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    code, out, err = call(capsys, "incidents", "list", "--json", *arguments)
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out)
    return found


def named(capsys: pytest.CaptureFixture[str], beginning: str) -> dict[str, Any]:
    (found,) = [row for row in listed(capsys) if row["title"].startswith(beginning)]
    return found


def test_from_the_list_to_the_close(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["priority"] for row in listed(capsys, "--open")] == ["CRITICAL"] * 3
    _, out, _ = call(capsys, "incidents", "list")
    assert "3 incidents, the most urgent first" in out
    assert "1 of 3 incidents, the most urgent first" in call(capsys, "incidents", "list", "--limit", "1")[1]
    assert "1 incident, the most urgent first" in call(capsys, "incidents", "list", "--limit", "1", "--since", "2026-03-01T12:19:30")[1]
    story = named(capsys, "SYN scan")
    short = story["id"][:8]
    _, out, _ = call(capsys, "incidents", "show", short)
    for command in ("alerts show", "flows --incident", "incidents pcap", "incidents assign", "incidents note", "incidents resolve",
                    "incidents false-positive"):  # fmt: skip
        assert f"\n  flowlake {command} " in out.partition("\nnext\n")[1] + out.partition("\nnext\n")[2]
    code, out, _ = call(capsys, "incidents", "assign", short, "--to", "anna", "--by", "ben")
    assert (code, "INVESTIGATING, assigned to anna" in out) == (0, True)
    assert call(capsys, "incidents", "note", short, "the password was\nguessed", "--by", "anna")[::2] == (0, "")
    code, out, _ = call(capsys, "incidents", "resolve", short, "--by", "anna", "--why", "account locked")
    assert (code, "RESOLVED" in out) == (0, True)
    _, out, _ = call(capsys, "incidents", "show", short)
    for words in ("SYN scan, then SSH brute force", "T1110.001", "anna: account locked", "ben: assigned to anna", "closed by anna",
                  "status INVESTIGATING -> RESOLVED", f"flowlake incidents reopen {short}"):  # fmt: skip
        assert words in out
    assert run(made.alerts, "SELECT count(*), min(resolved_by) FROM alerts WHERE resolved_at IS NOT NULL") == [(3, "anna")]
    assert len(listed(capsys, "--open")) == 2
    assert [row["id"] for row in listed(capsys, "--status", "resolved")] == [story["id"]]
    assert call(capsys, "audit", "verify")[0] == 0


def test_the_second_to_close_is_told_of_the_first(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    key = named(capsys, "SYN flood")["id"]
    call(capsys, "incidents", "resolve", key, "--by", "anna")
    code, _, err = call(capsys, "incidents", "false-positive", key, "--by", "ben")
    assert (code, "was closed before: resolved, by anna" in err, "flowlake incidents reopen" in err) == (5, True, True)
    assert run(made.alerts, "SELECT status, closed_by FROM incidents WHERE id = %s", (key,)) == [("RESOLVED", "anna")]
    assert call(capsys, "incidents", "reopen", key, "--by", "ben")[0] == 0
    code, _, err = call(capsys, "incidents", "reopen", key, "--by", "ben")
    assert (code, "is investigating: it was not closed" in err) == (5, True)


def test_a_closed_incident_is_given_to_nobody(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    key = named(capsys, "SYN flood")["id"]
    call(capsys, "incidents", "resolve", key, "--by", "anna")
    for to in ("ben", ""):
        code, out, err = call(capsys, "incidents", "assign", key, "--to", to)
        assert (code, out, "was closed before: resolved, by anna" in err, "flowlake incidents reopen" in err) == (5, "", True, True)
    assert run(made.alerts, "SELECT status, assigned_to FROM incidents WHERE id = %s", (key,)) == [("RESOLVED", None)]
    assert call(capsys, "incidents", "reopen", key)[0] == 0
    assert call(capsys, "incidents", "assign", key, "--to", "ben")[0] == 0


def test_a_false_alarm_is_a_label_to_train_with(made: Settings, capsys: pytest.CaptureFixture[str], home: Path) -> None:
    key = named(capsys, "Botnet")["id"]
    code, out, _ = call(capsys, "incidents", "false-positive", key, "--by", "anna", "--why", "our monitoring")
    assert (code, "labelled benign: 30 flows" in out) == (0, True)
    labels = DeltaTable(str(home / "labels")).to_pyarrow_table().to_pylist()
    assert {row["record_key"] for row in labels} == {flow_id(row["name"]) for row in BOTNET}
    assert {(row["label"], row["labelled_by"], row["source"], row["note"]) for row in labels} == {
        (0, "anna", "incidents", "our monitoring")
    }
    code, _, err = call(capsys, "incidents", "reopen", key)
    assert (code, "its flows stay labelled benign" in err) == (0, True)


def test_a_confirmed_incident_is_a_label_to_train_with_and_a_resolved_one_is_none(
    made: Settings, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    key = named(capsys, "Botnet")["id"]
    assert call(capsys, "incidents", "resolve", named(capsys, "SYN flood")["id"], "--by", "ben")[0] == 0
    assert not (home / "labels").exists(), "closing says nothing of what it was"
    code, _, err = call(capsys, "incidents", "resolve", key, "--confirmed", "--attack-type", "not a name!")
    assert (code, "--attack-type" in err) == (2, True)
    assert call(capsys, "incidents", "resolve", key, "--attack-type", "DNS_TUNNEL")[0] == 2
    code, out, _ = call(capsys, "incidents", "resolve", key, "--confirmed", "--by", "anna", "--why", "found the tool")
    assert (code, "labelled as an attack: 30 flows" in out) == (0, True)
    rows = DeltaTable(str(home / "labels")).to_pyarrow_table().to_pylist()
    assert {row["record_key"] for row in rows} == {flow_id(row["name"]) for row in BOTNET}
    assert {(row["label"], row["attack_type"], row["labelled_by"], row["source"], row["note"]) for row in rows} == {
        (1, "BOTNET_BEACON", "anna", "incidents", "found the tool")
    }


def test_labels_that_cannot_be_kept_leave_the_incident_open(made: Settings, capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / "labels").write_text("in the way")
    key = named(capsys, "Botnet")["id"]
    code, _, err = call(capsys, "incidents", "false-positive", key, "--by", "anna")
    assert (code, "labels" in err) == (5, True)
    assert run(made.alerts, "SELECT status FROM incidents WHERE id = %s", (key,)) == [("OPEN",)]


def test_merged_and_split_by_hand(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    story, flood = named(capsys, "SYN scan")["id"], named(capsys, "SYN flood")["id"]
    assert call(capsys, "incidents", "merge", story, flood, "--by", "anna")[::2] == (0, "")
    assert len(listed(capsys)) == 2
    _, out, _ = call(capsys, "incidents", "show", flood[:10], "--json")  # the former id leads to it
    found = json.loads(out)
    assert (found["id"], len(found["alerts"]), found["metadata"]["attack_types"][-1]) == (story, 4, "EXFILTRATION")
    give(AlertStore(made.alerts, FLOWS), [attack("SYN_FLOOD", "1.1.1.1", "10.0.2.1", 16)])  # more of it: it stays where it was put
    assert len(listed(capsys)) == 2
    (alert,) = [row["id"] for row in found["alerts"] if row["attack_type"] == "SYN_FLOOD"]
    code, out, _ = call(capsys, "incidents", "split", alert, "--by", "anna")
    assert (code, "SYN flood" in out) == (0, True)
    assert len(listed(capsys)) == 3
    code, _, err = call(capsys, "incidents", "split", alert, "--by", "anna")
    assert (code, "nothing would be left of incident" in err) == (2, True)
    code, _, err = call(capsys, "incidents", "merge", story, story[:8], "--by", "anna")
    assert (code, "there is nothing to merge" in err) == (2, True)


def test_what_is_done_with_stays_so_when_it_is_split_off(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    story = named(capsys, "SYN scan")["id"]
    alerts = json.loads(call(capsys, "incidents", "show", story, "--json")[1])["alerts"]
    assert call(capsys, "incidents", "resolve", story, "--by", "anna")[0] == 0
    assert call(capsys, "incidents", "split", alerts[0]["id"], "--by", "ben")[0] == 0
    found = run(made.alerts, "SELECT status, closed_by, closed_at IS NOT NULL FROM incidents WHERE metadata ? 'split_from'")
    assert found == [("RESOLVED", "anna", True)]


def test_an_id_of_the_other_sort_is_recognised(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    story = named(capsys, "SYN scan")["id"]
    alert = json.loads(call(capsys, "incidents", "show", story, "--json")[1])["alerts"][0]["id"]
    code, _, err = call(capsys, "incidents", "show", alert)
    assert (code, f"{alert} is an alert: flowlake alerts show {alert[:8]}" in err) == (2, True)
    code, _, err = call(capsys, "alerts", "show", story)
    assert (code, f"{story} is an incident: flowlake incidents show {story[:8]}" in err) == (2, True)


def test_an_open_incident_is_not_merged_into_a_closed_one(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    story, flood = named(capsys, "SYN scan")["id"], named(capsys, "SYN flood")["id"]
    assert call(capsys, "incidents", "resolve", story, "--by", "anna")[0] == 0
    code, _, err = call(capsys, "incidents", "merge", story, flood, "--by", "anna")
    assert (code, f"{story} is closed, and {flood} is not" in err, f"incidents reopen {story[:8]}" in err) == (2, True, True)
    assert len(listed(capsys, "--open")) == 2
    assert call(capsys, "incidents", "merge", flood, story, "--by", "anna")[0] == 0
    assert flood in [row["id"] for row in listed(capsys, "--open")]
    assert len(listed(capsys)) == 2


def test_who_acts_on_what_another_merges_meanwhile_is_told(
    made: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    story, flood = named(capsys, "SYN scan")["id"], named(capsys, "SYN flood")["id"]
    find = people.find

    def slow(cursor: Any, given: str) -> dict[str, Any]:
        found = find(cursor, given)
        monkeypatch.setattr(people, "find", find)
        with people.acting(made.alerts, "ben") as other:
            people.merge(other, [story, flood], people.labels_of(made))
        return found

    monkeypatch.setattr(people, "find", slow)
    code, _, err = call(capsys, "incidents", "assign", flood, "--to", "anna")
    assert (code, f"incident {flood} was merged into {story} meanwhile" in err) == (5, True)


def test_an_analyst_sees_an_incident_without_its_notes(
    made: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = named(capsys, "Botnet")["id"]
    assert call(capsys, "incidents", "note", key, "secret")[0] == 0
    made_login = (
        "DO $$ BEGIN CREATE ROLE test_reader LOGIN PASSWORD 'x' IN ROLE flowlake_analyst; EXCEPTION WHEN duplicate_object THEN END $$"
    )
    run(made.alerts, made_login)
    monkeypatch.setenv("FLOWLAKE_ALERTS__USER", "test_reader")
    monkeypatch.setenv("FLOWLAKE_ALERTS__PASSWORD", "x")
    code, out, err = call(capsys, "incidents", "show", key)
    assert (code, "Botnet" in out, "secret" in out) == (0, True, False)
    assert "its notes and its history: not for test_reader to read" in err
    code, out, _ = call(capsys, "incidents", "show", key, "--json")
    shown = json.loads(out)
    assert (code, shown["notes"], shown["history"], len(shown["alerts"])) == (0, None, None, 5)


def test_who_has_no_name_in_the_system_goes_by_a_number(
    made: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    key = named(capsys, "Botnet")["id"]
    assert call(capsys, "incidents", "note", key, "x")[0] == 0
    assert run(made.alerts, "SELECT author FROM incident_notes") == [("uid 54321",)]


def test_moments_are_those_of_utc_whatever_the_client_is_told(
    made: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    assert ask.query(made.alerts, "SHOW TimeZone") == [{"TimeZone": "UTC"}]


def test_a_title_of_ones_own_stays(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    key = named(capsys, "Botnet")["id"]
    assert call(capsys, "incidents", "edit", key, "--title", "Test of March", "--priority", "low", "--by", "anna")[0] == 0
    give(AlertStore(made.alerts, FLOWS), [attack("BOTNET_BEACON", "10.0.1.9", "9.9.9.9", 20)])
    found = named(capsys, "Test of March")
    assert (found["id"], found["priority"], found["metadata"]["alerts"]) == (key, "LOW", 6)
    code, _, err = call(capsys, "incidents", "edit", key, "--priority", "urgent", "--by", "anna")
    assert (code, "LOW, MEDIUM, HIGH, CRITICAL" in err) == (2, True)


@pytest.mark.parametrize(
    "words",
    ["'; DROP TABLE incidents; --", "<script>alert(1)</script>", "\x1b[2J\x1b]0;owned\x07", '=HYPERLINK("http://x")', "a\x00b", "\u202e"],
)
def test_hostile_text_is_text(made: Settings, capsys: pytest.CaptureFixture[str], words: str) -> None:
    key = named(capsys, "Botnet")["id"]
    assert call(capsys, "incidents", "note", key, f"x{words}", "--by", f"anna{words}")[::2] == (0, "")
    code, out, _ = call(capsys, "incidents", "show", key)
    assert code == 0
    assert not {c for c in out if c != "\n" and not c.isprintable()}
    assert len(listed(capsys)) == 3
    assert call(capsys, "audit", "list", "--json")[0] == 0
    assert call(capsys, "audit", "verify")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "zzzz"), "is no UUID, nor the beginning of one"),
        (("show", "ffff0000"), "there is no incident ffff0000"),
        (("note", "{id}", " ", "--by", "anna"), "the note"),
        (("note", "{id}", "x", "--by", "a" * 101), "1 to 100 characters"),
        (("assign", "{id}", "--to", "x" * 101), "--to"),
        (("split", "77"), "is no UUID"),
        (("split", "77777777-7777-5777-8777-777777777777"), "there is no alert 77777777"),
        (("list", "--status", "done"), "one of: OPEN"),
        (("edit", "{id}", "--by", "anna"), "say --title, --priority, or both"),
    ],
)
def test_what_is_none_is_named(made: Settings, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    key = named(capsys, "Botnet")["id"]
    code, _, err = call(capsys, "incidents", *(one.format(id=key) for one in arguments))
    assert (code, said in err) == (2, True), err


def test_faults_of_the_audit_are_told_with_their_rows(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "audit", "verify", "--json")
    head = json.loads(out)["head"]
    assert "write the head down elsewhere: flowlake audit verify --noted HEAD" in call(capsys, "audit", "verify")[1]
    assert f"up to row {head.partition(':')[0]} it is the one from then" in call(capsys, "audit", "verify", "--noted", head)[1]
    there = json.loads(call(capsys, "audit", "list", "--limit", "1000", "--json")[1])
    assert f"3 of {len(there)} rows of the audit" in call(capsys, "audit", "list", "--limit", "3")[1]
    ask.query(made.alerts, "ALTER TABLE user_actions DISABLE TRIGGER flowlake_keep")
    ask.query(made.alerts, "UPDATE user_actions SET user_id = 'nobody' WHERE id = 2")
    code, out, _ = call(capsys, "audit", "verify", "--noted", head)
    assert code == 10
    assert "row 2: its content was changed" in out
    assert "1 fault;" in out
    assert "is not there" not in call(capsys, "audit", "verify", "--noted", f"00{head}")[1]
    for given in ("7", f"\u00b2:{'0' * 64}"):
        code, _, err = call(capsys, "audit", "verify", "--noted", given)
        assert (code, "is no head" in err) == (2, True)


EMPTY = [
    (
        ("incidents", "list", "--status", "RESOLVED", "--assigned", "eve"),
        "no incidents match --status RESOLVED, --assigned eve; without, there are 3",
    ),
    (("audit", "list", "--user", "nobody"), "no rows of the audit match --user nobody; without, there are "),
    (("alerts", "list", "--kind", "SYN_SCAN", "--since", "1m"), "match --kind SYN_SCAN, --since 1m; without, there are "),
    (("alerts", "list", "--kind", "SYN_SCAN", "--since", "1m"), "the newest is of 2026-03-01T"),
    (("blocks", "list"), "no blocks yet\n  flowlake block ADDRESS"),
    (("blocks", "history", "192.0.2.1"), "no blocks yet"),
    (("whitelist", "list"), "no whitelist entries yet\n  flowlake whitelist add"),
    (("maintenance", "list"), "no maintenance windows yet\n  flowlake maintenance add"),
]


def test_an_empty_list_says_why_and_what_to_do(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in EMPTY:
        code, out, err = call(capsys, *words, "--json")
        assert (code, json.loads(out), said in err) == (0, [], True), err
    assert call(capsys, "whitelist", "add", "192.0.2.9", "--why", "x", "--by", "anna")[0] == 0
    number = json.loads(call(capsys, "whitelist", "list", "--json")[1])[0]["id"]
    assert call(capsys, "whitelist", "remove", str(number))[0] == 0
    assert "without, there is 1\n  flowlake whitelist list --all" in call(capsys, "whitelist", "list")[2]


def test_names_that_turn_or_hide_text_reach_no_terminal(made: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "adm\u202enimda\u2066\u200b\u061c\u2028x"
    run(made.alerts, f"UPDATE alerts SET resolved_by = '{hostile}', resolved_at = now(), attack_type = 'SYN{hostile}'")
    run(made.alerts, f"UPDATE incidents SET title = '{hostile}', assigned_to = '{hostile}', description = '{hostile}'")
    ((alert, incident),) = run(made.alerts, "SELECT id::text, incident_id::text FROM alerts LIMIT 1")
    run(made.alerts, f"INSERT INTO incident_notes (incident_id, author, note) VALUES ('{incident}', '{hostile}', '{hostile}')")
    for words in (("alerts", "list"), ("alerts", "show", alert), ("incidents", "list"), ("incidents", "show", incident), ("audit", "list")):
        code, out, err = call(capsys, *words)
        assert (code, "\\u202e" in out) == (0, True), words
        assert not set("\u202e\u2066\u200b\u061c\u2028") & set(out + err), words
