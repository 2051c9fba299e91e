"""``flowlake db`` against real databases, and the stream of a user who may not change tables."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import StoreError
from infra.process import free_port
from infra.sections import PostgresSettings
from jobs.sinks import alerts, hot, postgres
from jobs.sinks.migrations import migrate
from ops.cli.main import main
from schemas.network_flows import NETWORK_FLOWS
from tests.integration.released import MIGRATIONS, Database, create
from tests.integration.sinkbench import Bench, drain
from tests.sinksdata import START

pytestmark = pytest.mark.integration
OPERATE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "operate.md"
NEWEST, HOT_NEWEST = max(MIGRATIONS["alerts"]), max(MIGRATIONS["hot"])
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tables(postgres_server: PostgresSettings, home: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """An empty database, which the configuration in force names."""
    made = create(postgres_server)
    section = {name: getattr(made.settings, name) for name in ("host", "port", "user", "database")}
    (home / "conf.yaml").write_text(yaml.safe_dump({"hot": section, "alerts": section}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(home / "conf.yaml"))
    for name in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{name}__PASSWORD", made.settings.password.get_secret_value())
    return made


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["db", *arguments])
        out = capsys.readouterr()
        return int(end.value.code or 0), out.out, out.err

    return run


def documented_grants(role: str, database: str) -> str:
    """The SQL of the page on operating, for a role and a database of the test."""
    (sql,) = [s for s in re.findall(r"^```sql\n(.*?)^```", OPERATE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL) if "ROLE" in s]
    return sql.replace("flowlake_stream", role).replace("DATABASE flowlake ", f"DATABASE {database} ")


@pytest.fixture
def role(postgres_server: PostgresSettings) -> Iterator[str]:
    name = f"r{uuid.uuid4().hex[:12]}"
    yield name
    Database(postgres_server).run(f"DROP ROLE IF EXISTS {name}")


def test_from_nothing_to_current(tables: Database, call: Call) -> None:
    code, out, _ = call("status")
    assert code == 1
    assert out.count("no tables yet") == 6
    code, script, _ = call("migrate", "--dry-run")
    assert code == 0
    assert tables.state() == set()
    code, out, _ = call("migrate")
    assert code == 0
    assert f"alerts: to version {NEWEST} of {NEWEST}\n" in out
    assert f"alerts: current, version {NEWEST}" in out
    made = tables.state()
    code, out, _ = call("status")
    assert (code, out.count("current")) == (0, 6)
    assert "nothing to do" in call("migrate", "--dry-run")[1]
    # what a dry run prints is a script
    tables.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    tables.run(script)
    assert tables.state() == made
    assert call("status")[0] == 0


def test_what_is_missing_is_named_and_put_back(tables: Database, call: Call) -> None:
    call("migrate")
    tables.run("DROP TABLE alert_outbox; DROP INDEX network_flows_attackers; ALTER TABLE alerts ALTER COLUMN details DROP NOT NULL")
    code, out, _ = call("status", "--json")
    assert code == 1
    found = {item["component"]: (item["version"], item["newest"], item["missing"], item["current"]) for item in json.loads(out)}
    assert (
        found.pop("archive")[2:]
        == found.pop("windows")[2:]
        == found.pop("flow_exports")[2:]
        == found.pop("interface_counters")[2:]
        == ([], True)
    )
    assert found == {
        "hot": (HOT_NEWEST, HOT_NEWEST, ["index network_flows_attackers of network_flows"], False),
        "alerts": (NEWEST, NEWEST, ["NOT NULL of column details of alerts", "table alert_outbox"], False),
    }
    assert "index network_flows_attackers of network_flows" in call("status")[1]
    code, out, _ = call("migrate")
    assert code == 0
    assert "alerts: putting back table alert_outbox" in out
    assert call("status")[0] == 0


def section(title: str) -> str:
    """A section of the page on operating."""
    return re.split(r"^## ", OPERATE.read_text(encoding="utf-8").split(f"## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_commands_and_queries_of_the_page_on_the_hot_stores_life(tables: Database, call: Call) -> None:
    call("migrate")
    life = section("Life of the hot store")
    commands = [line for block in re.findall(r"^```bash\n(.*?)^```", life, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 3
    for line in commands:
        code, out, err = call(*line.removeprefix("flowlake db ").split())
        assert (code, "network_flows" in out) == (0, True), err
    for query in re.findall(r"^```sql\n(.*?)^```", life, re.MULTILINE | re.DOTALL):
        tables.run(query)
    assert call("status")[0] == 1  # the last takes time_bucket away
    assert "function time_bucket" in call("status")[1]
    assert call("migrate")[0] == 0
    assert call("status")[0] == 0


def test_maintaining(tables: Database, call: Call) -> None:
    code, out, _ = call("maintain")
    assert (code, "there is no table network_flows" in out, "\n  flowlake db migrate\n" in out) == (5, True, True)
    call("migrate")
    tables.run(
        "INSERT INTO network_flows SELECT now() - interval '5 days', gen_random_uuid(), '10.0.0.1', '10.0.0.2', 1, 2, 6, "
        + ", ".join(["0"] * 20)
        + ", 1, 0.5, 'm', 'SYN_SCAN', 'c', NULL, 'SF', 's' FROM generate_series(1, 7)"
    )
    code, out, _ = call("maintain", "--dry-run")
    assert (code, "7 rows would be moved out of the default partition" in out) == (0, True)
    code, out, _ = call("maintain", "--json", "--table", "network_flows")
    (done,) = json.loads(out)["tables"]
    assert (code, done["moved"], done["problems"]) == (0, 7, [])
    assert re.fullmatch(r"network_flows_p\d{8}", done["made"][0])
    code, out, _ = call("maintain")
    assert (code, "network_flows: nothing to do\n" in out) == (0, True)
    tables.run("DROP TABLE window_features, flow_exports, interface_counters")  # of a source that is switched off: nobody misses it
    assert call("maintain")[:2] == (0, "network_flows: nothing to do\n")
    code, _, err = call("maintain", "--table", "flows")
    assert (code, "there is no such hot table" in err, "hot tables: network_flows" in err) == (2, True, True)
    tables.run("UPDATE network_flows SET timestamp = '0001-01-01 12:00:00.5+00' WHERE ctid IN (SELECT ctid FROM network_flows LIMIT 2)")
    told = "2 rows older than rows live (of 0001-01-01 12:00:00.5+00 to 0001-01-01 12:00:00.5+00) {}deleted from network_flows_default\n"
    assert told.format("would be ") in call("maintain", "--dry-run")[1]
    assert told.format("") in call("maintain")[1]
    assert "nothing to do" in call("maintain")[1]
    with closing(postgres.connect(tables.settings, "test")) as other:
        other.cursor().execute("SELECT pg_advisory_lock(%s)", (postgres.LOCK_MAINTAIN,))
        code, out, _ = call("maintain")
        assert (code, out) == (0, "another process is maintaining the hot tables; nothing was done\n")
        assert json.loads(call("maintain", "--json")[1])["busy"]


def test_what_a_person_must_see_to(tables: Database, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call("migrate")
    tables.run("UPDATE flowlake_schema SET version = 77 WHERE component = 'alerts'; DROP INDEX network_flows_attackers")
    code, out, _ = call("status", "--json")
    assert code == 5
    found = {item["component"]: item for item in json.loads(out)}
    assert f"version 77, this program knows {NEWEST}" in found["alerts"]["problem"]
    assert found["hot"]["missing"]  # the other is still shown
    code, _, err = call("migrate")
    assert (code, "version 77" in err) == (5, True)
    monkeypatch.setenv("FLOWLAKE_ALERTS__PORT", str(free_port()))
    code, out, _ = call("status", "--json")
    assert code == 5
    found = {item["component"]: (item["version"], bool(item["problem"])) for item in json.loads(out)}
    assert (found["hot"], found["alerts"]) == ((HOT_NEWEST, False), (None, True))
    assert "start it: flowlake up" in call("status")[1]


def test_a_user_who_may_not_change_tables(tables: Database, call: Call, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call("migrate")
    tables.run(documented_grants(role, tables.settings.database))
    current = tables.state()
    for name in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{name}__USER", role)
    assert call("status")[0] == 0
    code, out, _ = call("migrate")
    assert code == 0
    assert f"alerts: current, version {NEWEST}" in out
    tables.run("DROP TABLE alert_candidates; UPDATE flowlake_schema SET version = 1 WHERE component = 'alerts'")
    assert call("status")[0] == 1
    code, _, err = call("migrate")
    assert code == 5
    assert "version 2 of 'alerts' failed at statement 1" in err
    assert "have the owner of the tables run: flowlake db migrate" in err
    tables.run(f"UPDATE flowlake_schema SET version = {NEWEST} WHERE component = 'alerts'; DROP INDEX alerts_src")
    code, _, err = call("migrate")
    assert code == 5
    assert "lacks index alerts_src" in err
    assert "have the owner of the tables run" in err
    for name in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{name}__USER", tables.settings.user)
    assert call("migrate")[0] == 0
    assert tables.state() == current
    tables.run(f"DROP OWNED BY {role}")


@pytest.mark.parametrize(
    ("revoke", "hint"),
    [
        ("REVOKE SELECT ON flowlake_schema FROM {role}", "GRANT SELECT ON flowlake_schema TO"),
        ("REVOKE TEMPORARY ON DATABASE {database} FROM {role}, PUBLIC", "GRANT TEMPORARY ON DATABASE"),
        ("REVOKE USAGE ON SCHEMA public FROM {role}, PUBLIC", "GRANT USAGE ON SCHEMA public TO"),
    ],
)
def test_a_right_that_is_missing_is_named(tables: Database, role: str, revoke: str, hint: str) -> None:
    tables.migrate("alerts")
    tables.run(documented_grants(role, tables.settings.database))
    tables.run(revoke.format(role=role, database=tables.settings.database))
    limited = Database(tables.settings.model_copy(update={"user": role}))
    for each in (limited.migrate, limited.status, limited.script):
        with pytest.raises(StoreError) as refused:
            each("alerts")
        assert hint in refused.value.hint
    tables.run(f"DROP OWNED BY {role}")


def test_the_stream_starts_and_writes_without_the_right_to_change_tables(spark: Any, bench: Bench, role: str) -> None:
    for component in (hot.component(bench.settings, NETWORK_FLOWS), alerts.component(bench.settings)):
        migrate(component)
    owner = Database(bench.settings.hot)
    owner.run(documented_grants(role, bench.settings.hot.database))
    sections = {name: getattr(bench.settings, name).model_copy(update={"user": role}) for name in ("hot", "alerts")}
    limited = bench.settings.model_copy(update=sections)
    for _ in range(2):  # what comes again goes through a temporary table
        bench.rows([{"name": i, "attack_type": "DNS_TUNNEL", "dst_ip": f"10.0.0.{i + 2}"} for i in range(3)])
        drain(START["hot"], spark, limited)
        drain(START["alerts"], spark, limited)
    assert bench.sql("SELECT count(*) FROM network_flows") == [(3,)]
    assert bench.sql("SELECT count(*) FROM alerts") == [(3,)]
    assert bench.sql("SELECT DISTINCT tableowner = %s FROM pg_tables WHERE schemaname = 'public'", role) == [(False,)]
    owner.run(f"DROP OWNED BY {role}")
