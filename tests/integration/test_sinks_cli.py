"""``flowlake flows`` and ``flowlake alerts`` against real stores, and against none."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from infra.config import Settings
from infra.console import looks
from infra.process import free_port
from infra.sections import PostgresSettings
from jobs.sinks import alertbook, alerts, ask, evidence, hot, postgres
from jobs.sinks.alertstore import AlertStore
from jobs.sinks.migrations import migrate
from jobs.sinks.parquet import lake_rows
from ops.cli.main import main
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.sinksdata import flow_id, table

pytestmark = pytest.mark.integration
ROWS = [
    {"name": i, "at": i, "attack_type": "DNS_TUNNEL" if i % 3 == 0 else "BENIGN", "src_port": i, "dst_ip": f"10.0.0.{2 + i}"}
    for i in range(9)
]


@pytest.fixture
def stores(postgres_server: PostgresSettings, settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Both stores filled with the same nine records, three of them attacks; the configuration file names them."""
    made = settings(hot=postgres_server, alerts=postgres_server)
    section = {name: getattr(made.hot, name) for name in ("host", "port", "user", "database")}
    conf = home / "conf.yaml"
    conf.write_text(yaml.safe_dump({"hot": section, "alerts": section, "lake": {"path": "lake"}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    monkeypatch.setenv("FLOWLAKE_HOT__PASSWORD", made.hot.password.get_secret_value())
    monkeypatch.setenv("FLOWLAKE_ALERTS__PASSWORD", made.hot.password.get_secret_value())
    rows = table(ROWS)
    write_deltalake(str(home / "lake"), lake_rows(rows, FLOWS), partition_by=["event_date"])
    migrate(hot.component(made, NETWORK_FLOWS))
    migrate(alerts.component(made))
    ask.query(made.hot, "TRUNCATE network_flows, alerts CASCADE")
    connection = postgres.connect(made.hot, "test")
    hot.insert(connection, hot.hot_rows(rows, FLOWS), NETWORK_FLOWS, ("q", 0, 0, "x"))
    ask.query(made.hot, "DELETE FROM hot_batches")
    connection.close()
    AlertStore(made.alerts, FLOWS).apply(alertbook.gather([evidence.partials(evidence.attacks(rows, FLOWS.alerts), FLOWS.alerts, 3600)]))
    return made


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


@pytest.mark.parametrize("store", ["lake", "hot"])
def test_flows(stores: Settings, capsys: pytest.CaptureFixture[str], store: str) -> None:
    code, out, _ = call(capsys, "flows", "--store", store, "--limit", "4", "--json")
    assert code == 0
    assert [r["flow_id"] for r in json.loads(out)] == [flow_id(i) for i in (8, 7, 6, 5)]
    _, out, _ = call(capsys, "flows", "--store", store, "--attacks", "--since", "2026-03-01T12:00:02", "--csv")
    assert [r["flow_id"] for r in csv.DictReader(io.StringIO(out))] == [flow_id(6), flow_id(3)]
    _, out, _ = call(capsys, "flows", "--store", store)
    assert "DNS_TUNNEL" in out
    assert "10.0.0.2" in out


def test_alerts_and_resolve(stores: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "alerts", "--json", "--kind", "DNS_TUNNEL")
    rows = json.loads(out)
    assert [r["details"]["flow_ids"] for r in rows] == [[flow_id(6)], [flow_id(3)], [flow_id(0)]]
    code, out, _ = call(capsys, "alerts", "resolve", rows[0]["id"], "--by", "anna", "--action", "blocked")
    assert code == 0
    assert "anna" in out
    _, out, _ = call(capsys, "alerts", "--open", "--json")
    assert [r["id"] for r in json.loads(out)] == [r["id"] for r in rows[1:]]
    code, _, err = call(capsys, "alerts", "resolve", rows[0]["id"], "--by", "ben")
    assert code == 5
    assert "resolved before, by anna" in err
    # More evidence does not undo what a person did.
    AlertStore(stores.alerts, FLOWS).apply(
        alertbook.gather([evidence.partials(evidence.attacks(table([{**ROWS[6], "lasts": 50}]), FLOWS.alerts), FLOWS.alerts, 3600)])
    )
    (row,) = ask.query(
        stores.alerts, "SELECT resolved_by, action_taken, last_seen - first_seen AS span FROM alerts WHERE id = %s::uuid", [rows[0]["id"]]
    )
    assert (row["resolved_by"], row["action_taken"], row["span"].total_seconds()) == ("anna", "blocked", 50)


@pytest.mark.parametrize("spelled", ["brute-force", "guessing"])
@pytest.mark.parametrize("stored", ["brute-force", "guessing"])
def test_kinds_are_found_by_their_former_names_too(stores: Settings, capsys: pytest.CaptureFixture[str], spelled: str, stored: str) -> None:
    """Scripts keep the old word; a database that the stream of this version has not opened yet holds it."""
    rows = table([{"name": "ssh", "attack_type": "SSH_BRUTE_FORCE"}])
    store = AlertStore(stores.alerts.model_copy(update={"min_flows": 1}), FLOWS)
    store.apply(alertbook.gather([evidence.partials(evidence.attacks(rows, FLOWS.alerts), FLOWS.alerts, 3600)]))
    ask.query(stores.alerts, "UPDATE alerts SET kind = %s WHERE attack_type = 'SSH_BRUTE_FORCE'", [stored])
    code, out, _ = call(capsys, "alerts", "--json", "--kind", spelled)
    assert code == 0
    assert [(row["attack_type"], row["kind"]) for row in json.loads(out)] == [("SSH_BRUTE_FORCE", "brute-force")]
    ask.query(stores.alerts, "DELETE FROM alerts WHERE attack_type = 'SSH_BRUTE_FORCE'")
    code, out, _ = call(capsys, "alerts", "--json", "--kind", spelled)
    assert (code, json.loads(out)) == (0, [])


def test_follow_prints_the_backlog_and_then_what_is_raised(
    stores: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is new is what was raised since, whatever the date of its packets: a replay's alerts are as old as its capture."""
    ask.query(stores.alerts, "UPDATE alerts SET created_at = created_at - interval '1 hour'")
    polls = iter(range(3))

    def sleep(_: float) -> None:
        n = next(polls, None)
        if n is None:
            raise KeyboardInterrupt
        if n == 1:
            old = table([{"name": "replayed", "at": -86_400 * 50, "attack_type": "EXFILTRATION"}])
            AlertStore(stores.alerts, FLOWS).apply(
                alertbook.gather([evidence.partials(evidence.attacks(old, FLOWS.alerts), FLOWS.alerts, 3600)])
            )

    monkeypatch.setattr("ops.cli.alerts.time", SimpleNamespace(sleep=sleep))  # of this module alone: other threads sleep as well
    _, out, _ = call(capsys, "alerts", "--follow", "--limit", "2", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert {r["details"]["flow_ids"][0] for r in told[:2]} == {flow_id(3), flow_id(6)}
    assert [r["details"]["flow_ids"] for r in told[2:]] == [[flow_id("replayed")]]


def test_a_narrow_terminal_gets_a_record_after_the_other(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    rows = [{"start": "2026-03-01 12:00:00.000", "source": "2001:db8::1234:5678", "target": "2001:db8::9abc:def0"}]
    looks.show(rows, list(rows[0]), form="table", title="1 flow")
    assert capsys.readouterr().out.splitlines()[-3:] == [f"{name:<6}  {value}" for name, value in rows[0].items()]
    monkeypatch.setenv("COLUMNS", "100")
    looks.show(rows, list(rows[0]), form="table", title="1 flow")
    assert any("2026-03-01" in line and "def0" in line for line in capsys.readouterr().out.splitlines())


def test_bad_arguments_are_one_line(stores: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["alerts", "resolve", "nonsense", "--by", "x"], "no UUID"),
        (["alerts", "--since", "yesterday"], "yesterday"),
        (["flows", "--json", "--csv"], "--csv"),
        (["alerts", "--kind", "syn_flood"], "capitals"),
        (["alerts", "--kind", "nope"], "no kind of alert"),
    ):
        code, _, err = call(capsys, *arguments)
        assert code == 2
        assert words in err
        assert "Traceback" not in err


def test_absent_stores_are_one_line(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    conf = home / "conf.yaml"
    port = free_port()
    conf.write_text(yaml.safe_dump({"hot": {"port": port}, "alerts": {"port": port}, "lake": {"path": "nothing"}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(conf))
    for arguments, words in ((["flows"], "nothing"), (["flows", "--store", "hot"], str(port)), (["alerts"], str(port))):
        code, out, err = call(capsys, *arguments)
        assert (code, out) == (5, "")
        assert words in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["flows", "--since", "1h", "--attacks"], "match --attacks, --since 1h; without, the newest is of 2026-03-01T12:00:08Z"),
        (["flows", "--store", "hot", "--since", "1h"], "match --since 1h; without, the newest is of 2026-03-01T12:00:08Z"),
        (["alerts", "--kind", "flood", "--open"], "the newest is of 2026-03-01T12:00:06Z; leave out a condition"),
    ],
)
def test_conditions_that_leave_nothing_are_named(
    stores: Settings, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    code, _, err = call(capsys, *arguments)
    assert code == 0
    assert told in err
    assert "look further back" in err


def test_a_lake_folder_without_a_table_says_what_to_do(stores: Settings, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (".", "_delta_log"):
        shutil.rmtree(home / "lake", ignore_errors=True)
        (home / "lake" / folder).mkdir(parents=True)
        code, _, err = call(capsys, "flows")
        assert code == 5
        assert "holds no table yet" in err
        assert "flowlake stream" in err


def test_lists_of_everything_are_empty_not_broken(stores: Settings, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask.query(stores.hot, "TRUNCATE network_flows, alerts CASCADE")
    DeltaTable(str(home / "lake")).delete()
    for arguments in (["alerts"], ["flows", "--store", "hot"], ["flows"], ["alerts", "--open"], ["flows", "--attacks", "--since", "1h"]):
        code, out, err = call(capsys, *arguments, "--json")
        assert (code, out.strip()) == (0, "[]")
        assert re.search(r"^no (flows|alerts) in (lake /|PostgreSQL at ).* yet\n  flowlake status ", err), err
    assert isinstance(evidence.attacks(table([]), FLOWS.alerts), pa.Table)
