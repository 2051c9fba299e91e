"""``flowlake sql`` as a person or a script uses it: what it reads, writes and refuses, and what it says when a store is away."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from infra.config import ROOT, Settings
from infra.errors import ConfigError, StoreError
from infra.sections import PostgresSettings
from infra.stack.s3 import ObjectStore
from jobs.archiving import place
from jobs.asking.engine import Engine
from jobs.runtime import lake
from jobs.sinks import hot
from jobs.sinks.migrations import migrate
from jobs.sinks.parquet import PARTITION, lake_rows
from ops.cli.db import components
from ops.cli.main import main
from schemas.packets import FLOWS
from tests import cookbookdata
from tests.integration.sinkbench import until
from tests.sinksdata import table
from tests.toy_source.records import READING

pytestmark = pytest.mark.integration

DAYS = 5
DAY_S = 86_400


@pytest.fixture
def days(settings: Callable[..., Settings], home: Path) -> Settings:
    """A lake of five days, a file each; hot store and alerts that nobody answers for."""
    made = settings()
    for day in range(DAYS):
        rows = table([{"name": f"{day}/{n}", "at": day * DAY_S + 60 * n, "dst_port": 440 + n} for n in range(4)])
        write_deltalake(lake.location(made, FLOWS), lake_rows(rows, FLOWS), mode="append", partition_by=[PARTITION])
    return made


def ask(made: Settings, sql: str) -> list[tuple[Any, ...]]:
    with Engine(made) as engine:
        return [tuple(row.values()) for row in engine.ask(sql).read_all().to_pylist()]


def said(made: Settings, sql: str) -> tuple[type[Exception], str]:
    with Engine(made) as engine, pytest.raises((ConfigError, StoreError)) as caught:
        engine.ask(sql).read_all()
    return caught.type, f"{caught.value} | {caught.value.hint}"


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["sql", *words])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


# --- what is read


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("event_date = DATE '2026-03-03'", 4),
        ("start_time BETWEEN TIMESTAMPTZ '2026-03-03 00:00:00+00' AND TIMESTAMPTZ '2026-03-03 23:00:00+00'", 4),
        ("start_time >= TIMESTAMPTZ '2026-03-03 12:01:00+00' AND start_time < TIMESTAMPTZ '2026-03-04' AND dst_port > 441", 2),
    ],
)
def test_files_of_other_days_are_not_opened(days: Settings, condition: str, rows: int) -> None:
    for uri in DeltaTable(lake.location(days, FLOWS)).file_uris():
        if "event_date=2026-03-03" not in uri:
            Path(uri).write_bytes(b"no Parquet")
    assert ask(days, f"SELECT count(*) FROM flows WHERE {condition}") == [(rows,)]
    kind, text = said(days, "SELECT sum(dst_port) FROM flows")
    assert kind is StoreError
    assert "cannot be read" in text


def test_files_of_other_months_are_not_opened(settings: Callable[..., Settings], home: Path) -> None:
    made, data = settings(), cookbookdata.Data()
    cookbookdata.into_archive(data, made)
    newer, older = data.archived_months
    for file in Path(place.of(made, hot.table_of(FLOWS).name).shown).rglob("*.parquet"):
        if f"year={older:%Y}/month={older:%m}" in str(file):
            file.write_bytes(b"no Parquet")
    condition = f"year = {newer.year} AND month = {newer.month}"
    assert ask(made, f"SELECT count(*) FROM archived_flows WHERE {condition}") == [(20,)]
    kind, text = said(made, "SELECT sum(dst_port) FROM archived_flows")
    assert kind is StoreError
    assert text.startswith(f"archive {lake.archive(made)} cannot be read: ")
    assert "check archive.path" in text
    assert "flowlake archive verify" in text
    assert "lake." not in text.rpartition(" | ")[2]


def test_an_archive_that_has_not_begun_is_empty(settings: Callable[..., Settings], home: Path) -> None:
    assert ask(settings(), "SELECT count(*), min(timestamp), max(year) FROM archive.flowlake.archived_flows") == [(0, None, None)]


def test_a_lake_on_s3(s3_server: ObjectStore, settings: Callable[..., Settings]) -> None:
    s3_server.create_bucket("asking")
    made = settings(lake=s3_server.lake("asking"), archive={"path": "s3a://asking/archive"})
    data = cookbookdata.Data()
    cookbookdata.into_lake(data, made)
    cookbookdata.into_archive(data, made)
    assert ask(made, "SELECT count(*) FROM flows JOIN labels ON flow_id = record_key") == [(len(data.labels),)]
    assert ask(made, "SELECT count(*) FROM archived_flows") == [(30,)]
    wrong = settings(lake={**s3_server.lake("asking"), "s3_secret_key": "wrong"})
    kind, text = said(wrong, "SELECT count(*) FROM flows")
    assert kind is StoreError
    assert "asking" in text


def test_every_record_type_has_its_tables(settings: Callable[..., Settings], database: dict[str, Any], home: Path) -> None:
    made = settings(sources={"packages": ["jobs.sources", "tests.toy_source"]}, hot=database, alerts=database)
    migrate(hot.component(made, hot.table_of(READING)))
    with psycopg2.connect(**_target(made)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sensor_readings VALUES (now(), gen_random_uuid(), 'Kessel ü', 95, 7, 1, 0.9, 'SPIKE', '1'), "
            "(now() - interval '2 hours', gen_random_uuid(), 'boiler', 20, 0, 0, 0.1, 'BENIGN', '1')"
        )
    connection.close()
    assert ask(made, "SELECT device FROM sensor_readings WHERE timestamp > now() - interval '1' hour") == [("Kessel ü",)]
    assert ask(made, "SELECT count(*) FROM archived_readings") == [(0,)]
    with Engine(made) as engine:
        names = {table.qualified for table in engine.tables}
    assert {"lake.flowlake.readings", "hot.public.sensor_readings", "archive.flowlake.archived_readings"} < names


def _target(made: Settings) -> dict[str, Any]:
    return {"host": made.hot.host, "port": made.hot.port, "user": made.hot.user, "dbname": made.hot.database}


def test_more_than_fits_into_memory_goes_on_in_a_folder(days: Settings) -> None:
    with Engine(days, "60MB") as engine:
        rows = engine.ask("SELECT x, hash(x) AS h FROM range(3000000) t(x) ORDER BY h")
        assert sum(batch.num_rows for batch in rows) == 3_000_000


def test_an_answer_may_be_left_early(days: Settings) -> None:
    with Engine(days) as engine:
        rows = engine.ask("SELECT * FROM range(100000000000)")
        assert rows.read_next_batch().num_rows > 0
        rows.close()
        assert engine.ask("SELECT 1 AS one").read_all().to_pylist() == [{"one": 1}]


# --- what is refused


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", "reads the tables of the stores and no files"),
        ("SELECT * FROM read_text('/etc/hostname')", "reads the tables of the stores and no files"),
        ("SELECT * FROM glob('/etc/*')", "no files"),
        ("SELECT * FROM '/etc/passwd'", "there is no table"),
        ("SELECT * FROM 'x.parquet'", "no files"),
        ("COPY (SELECT 1) TO '/tmp/stolen.csv'", "COPY is not answered: flowlake sql only reads"),
        ("ATTACH '/tmp/other.db'", "ATTACH is not answered"),
        ("INSTALL httpfs", "is not answered"),
        ("LOAD httpfs", "LOAD is not answered"),
        ("SET memory_limit = '100GB'", "SET is not answered"),
        ("PRAGMA enable_profiling", "is not answered"),
        ("CREATE TABLE x AS SELECT 1", "CREATE is not answered"),
        ("DROP VIEW lake.flowlake.flows", "DROP is not answered"),
        ("DELETE FROM flows", "DELETE is not answered"),
        ("SELECT 1; DROP TABLE flows", "these are 2 statements"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/stolen.csv'", "COPY is not answered"),
        ("EXPLAIN ANALYZE CREATE TABLE lake.flowlake.x AS SELECT 1", "CREATE is not answered"),
        ("explain /* so */ (analyze, format json) INSERT INTO flows VALUES (1)", "INSERT is not answered"),
        ("", "there is no statement"),
        ("-- nothing", "there is no statement"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM flowz", "did you mean: flows"),
        ("SELECT * FROM lake.flowlake.nothing", "there is no table 'nothing'"),
        ("SELECT nocolumn FROM flows", 'Referenced column "nocolumn"'),
        ("SELECT start_tme FROM flows", "start_time"),
        ("SELECT no_function(1)", "no_function"),
        ("SELECT CAST('a' AS int)", "Could not convert"),
    ],
)
def test_refused_in_one_line(days: Settings, sql: str, text: str) -> None:
    kind, told = said(days, sql)
    assert kind is ConfigError
    assert text in told
    assert "\n" not in told
    assert not Path("/tmp/stolen.csv").exists()


def test_what_went_wrong_before_is_not_told_again(settings: Callable[..., Settings], database: dict[str, Any]) -> None:
    made = settings(hot=database, alerts=database)
    connection = psycopg2.connect(host=database["host"], port=database["port"], user=database["user"], dbname=database["database"])
    with closing(connection), connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE wide AS SELECT repeat('x', 20000000) AS text")
    with Engine(made) as engine:
        with pytest.raises(StoreError, match="a value cannot be read"):
            engine.ask("SELECT text FROM hot.public.wide").read_all()
        with pytest.raises(ConfigError, match="no_function"):
            engine.ask("SELECT no_function(1)")


def test_rights_that_are_missing_are_told_with_the_way_out(settings: Callable[..., Settings], database: dict[str, Any]) -> None:
    connection = psycopg2.connect(host=database["host"], port=database["port"], user=database["user"], dbname=database["database"])
    name = f"r{uuid.uuid4().hex[:12]}"
    with closing(connection), connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"CREATE TABLE network_flows AS SELECT 1 AS x; CREATE ROLE {name} LOGIN")
        try:
            with (
                Engine(settings(hot={**database, "user": name}, alerts=database)) as engine,
                pytest.raises(StoreError, match="permission denied for table network_flows") as refused,
            ):
                engine.ask("SELECT x FROM network_flows").read_all()
            assert refused.value.hint == f'let its owner say: GRANT SELECT ON "network_flows" TO "{name}"'
            cursor.execute(refused.value.hint.partition(": ")[2])  # the way out
            with Engine(settings(hot={**database, "user": name}, alerts=database)) as engine:
                assert engine.ask("SELECT x FROM network_flows").read_all().num_rows == 1
        finally:
            cursor.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_names_of_this_program_are_no_tables(days: Settings) -> None:
    secret = [42]  # noqa: F841 - DuckDB would find a frame or a table of that name
    assert "there is no table 'secret'" in said(days, "SELECT * FROM secret")[1]


@pytest.mark.parametrize(
    "sql",
    [
        "WITH network_flows AS (SELECT 1 AS x) SELECT x FROM network_flows",
        "SELECT count(*) AS alerts FROM lake.flows",
        "SELECT 'hot.public.alerts' AS text FROM flows LIMIT 1",
        "DESCRIBE flows",
        "SUMMARIZE flows",
        "FROM flows SELECT count(*)",
        "SELECT count(*) FROM query_table('flows')",
        "PIVOT (SELECT attack_type, dst_port FROM flows) ON dst_port USING count(*)",
        "EXPLAIN SELECT * FROM flows",
        "VALUES (1)",
    ],
)
def test_only_stores_that_are_asked_must_be_there(days: Settings, sql: str) -> None:
    assert ask(days, sql), "hot store and alerts are away all the time"


@pytest.mark.parametrize("name", ["network_flows", "hot.public.alerts", "public.alerts", "hot.hourly_attack_stats"])
def test_a_store_that_is_away_is_told(days: Settings, name: str) -> None:
    kind, told = said(days, f"SELECT count(*) FROM {name}, flows")
    assert kind is StoreError
    assert "PostgreSQL at 127.0.0.1:1" in told
    assert "flowlake up" in told


def test_a_table_that_is_not_there_yet(settings: Callable[..., Settings], database: dict[str, Any], home: Path) -> None:
    made = settings(hot=database, alerts=database)
    for sql, text in (("SELECT * FROM flows", "holds no table yet"), ("SELECT * FROM alerts", "holds no table alerts yet")):
        kind, told = said(made, sql)
        assert kind is StoreError
        assert text in told
        assert "start the stream first" in told


# --- the command


def test_formats_on_standard_output(days: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT start_time, dst_port, [1, 2] AS list, true AS yes, sum(1) AS n FROM flows GROUP BY ALL ORDER BY start_time LIMIT 3"
    code, out, _ = command(capsys, sql, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(rows)) == (0, 3)
    assert rows[1] == {"start_time": "2026-03-01T12:01:00Z", "dst_port": "441", "list": "[1, 2]", "yes": "true", "n": "1"}
    code, out, _ = command(capsys, sql, "--format", "json")
    assert json.loads(out)[1] == {"start_time": "2026-03-01T12:01:00Z", "dst_port": 441, "list": [1, 2], "yes": True, "n": 1}
    code, out, _ = command(capsys, sql)
    assert "3 rows" in out
    assert "2026-03-01 12:01:00.000" in out
    code, out, _ = command(capsys, "SELECT * FROM flows", "--limit", "2")
    assert "the first 2 rows; --limit 0 shows all" in out
    code, out, _ = command(capsys, "SELECT 'NaN'::double AS n, 1 AS x, 2 AS x WHERE true", "--format", "json")
    assert json.loads(out) == [{"n": None, "x": 1, "x_1": 2}]
    code, out, _ = command(capsys, "SELECT 1 AS x WHERE false", "--format", "csv")
    assert out == "x\n"
    for form in ("csv", "json", "table"):
        code, out, _ = command(capsys, "SELECT TIMESTAMPTZ '20000-01-01 00:00:00+00' AS far, INTERVAL '1 day' AS span", "--format", form)
        assert code == 0
        assert "20000-01-01" in out
        assert "1 days" in out


ODD_VALUES = """
SELECT map {'k': 1} AS m, map {7: ['é']} AS n, [1.0 / 0, 1.5] AS l, {'d': 'infinity'::date} AS s, '-infinity'::timestamptz AS t,
    INTERVAL '2 months 1 day' AS i, timestamp '2026-03-01 12:00:00.5' AS local, timestamp_ns '2026-03-01 12:00' AS ns,
    timestamptz '2026-03-01 12:00+00' AS moment
"""


def test_odd_values_are_written_as_they_are(days: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")  # moves no time
    time.tzset()
    try:
        shown = {form: command(capsys, ODD_VALUES, "--format", form)[1] for form in ("json", "csv", "table")}
    finally:
        monkeypatch.undo()
        time.tzset()
    assert json.loads(shown["json"], parse_constant=pytest.fail) == [
        {
            "m": {"k": 1}, "n": {"7": ["é"]}, "l": [None, 1.5], "s": {"d": "infinity"}, "t": "-infinity", "i": "2 months 1 days 0 seconds",
            "local": "2026-03-01T12:00:00.500000", "ns": "2026-03-01T12:00:00", "moment": "2026-03-01T12:00:00Z",
        }
    ]  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(shown["csv"]))
    assert (row["n"], row["l"], row["local"], row["moment"]) == (
        '{"7": ["é"]}', "[null, 1.5]", "2026-03-01T12:00:00.500000", "2026-03-01T12:00:00Z",
    )  # fmt: skip
    assert "2026-03-01 12:00:00.500" in shown["table"]
    assert "2026-03-01 12:00:00.000" in shown["table"]


def test_what_parquet_cannot_hold_is_told(days: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, told = command(capsys, "SELECT union_value(a := 1) AS u", "--output", str(tmp_path / "u.parquet"))
    assert (code, "CAST(column AS VARCHAR)" in told) == (ConfigError.exit_code, True)
    assert not (tmp_path / "u.parquet").exists()


def test_a_file_is_written_whole_or_not_at_all(days: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answer.parquet"
    code, _, told = command(capsys, "SELECT * FROM flows ORDER BY start_time", "--output", str(file))
    assert (code, "20 rows" in told) == (0, True)
    written = pq.read_table(file)
    assert written.num_rows == 20
    assert written["start_time"][0].as_py() == datetime(2026, 3, 1, 12, tzinfo=UTC)
    before = file.read_bytes()
    failing = "SELECT CASE WHEN x < 900000 THEN x ELSE CAST('a' AS int) END AS y FROM range(1000000) t(x)"
    code, _, told = command(capsys, failing, "--output", str(file))
    assert code == ConfigError.exit_code
    assert file.read_bytes() == before
    assert [path for path in tmp_path.iterdir() if path.is_file()] == [file]
    for name, text in (("answer.txt", "--format csv"), ("no/folder.csv", "a folder that is there"), ("a.csv", "")):
        code, _, told = command(capsys, "SELECT 1 AS x", "--output", str(tmp_path / name))
        assert text in told
    assert (tmp_path / "a.csv").read_text() == "x\n1\n"
    assert "add --output FILE.parquet" in command(capsys, "SELECT 1", "--format", "parquet")[2]


def test_the_statement_from_a_file_or_standard_input(
    days: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "question.sql"
    file.write_text("-- how many\nSELECT count(*) AS n\nFROM flows;\n", encoding="utf-8-sig")
    assert command(capsys, "--file", str(file), "--format", "csv")[1] == "n\n20\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 7 AS n"))
    assert command(capsys, "--format", "csv")[1] == "n\n7\n"
    assert "No such file" in command(capsys, "--file", str(tmp_path / "nothing.sql"))[2]
    assert "exclude each other" in command(capsys, "SELECT 1", "--file", str(file))[2]
    assert "no size" in command(capsys, "SELECT 1", "--memory", "much")[2]


def test_tables_are_listed_without_any_store(days: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "--tables")
    assert code == 0
    for name in ("lake.flowlake.flows", "hot.public.network_flows", "hot.public.hourly_attack_stats", "hot.public.alerts",
                 "archive.flowlake.archived_flows", "lake.flowlake.labels", "lake.flowlake.quarantine",
                 "lake.flowlake.model_drift"):  # fmt: skip
        assert name in out
    listed = json.loads(command(capsys, "SHOW TABLES", "--format", "json")[1])
    columns = {table["table"]: table["columns"] for table in listed}
    assert columns["hot.public.network_flows"]["src_ip"] == "inet"


def test_columns_are_listed_as_the_stores_have_them(
    days: Settings, settings: Callable[..., Settings], database: dict[str, Any], home: Path
) -> None:
    """Each of them: also what people fill in a table of alerts, also of a side table that is not made yet."""
    made = settings(hot=database, alerts=database)
    for component in components(made):
        migrate(component)
    with Engine(made) as engine:
        for listed in engine.tables:
            question = f"SELECT * FROM {listed.qualified} LIMIT 0"
            if listed.database == "lake" and (listed.name.startswith("windows_") or listed.name == "exported_flows"):
                with pytest.raises(StoreError, match="holds no table yet"):
                    engine.ask(question)
                continue
            there = engine.ask(question).read_all().column_names
            assert sorted(there) == sorted(name for name, _ in listed.columns), listed.qualified


def test_the_plan_shows_what_is_left_to_a_store(days: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "SELECT src_ip FROM flows WHERE dst_port = 441", "--explain")
    assert code == 0
    assert "dst_port" in out
    assert "src_ip" in out
    assert "explains already" in command(capsys, "EXPLAIN SELECT 1", "--explain")[2]


@pytest.mark.parametrize(("columns", "shown"), [("200", "━━"), ("40", "a name that is long   1")])
def test_at_a_terminal(days: Settings, columns: str, shown: str) -> None:
    """A table where it fits, else a record after the other; a long question says how far it is, and takes that away again."""
    sql = 'SELECT count(*) AS x, 1 AS "a name that is long", 2 AS "another that is long" FROM range(50000000) t(x) WHERE hash(x) % 7 = 3'
    waiting = (
        "import ops.cli.sql as s; s._PATIENCE_S = 0.01; s._EVERY_S = 0.01; from ops.cli.main import main; import sys; main(sys.argv[1:])"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, int(columns)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen([sys.executable, "-c", waiting, "sql", sql], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # so Linux says that the other end is closed
        while part := os.read(ours, 65536):
            said += part
    os.close(ours)
    assert process.wait(60) == 0
    before, _, after = said.decode().rpartition("\x1b[K")
    assert "reading ..." in before
    assert "1 row" in after
    assert shown in after


def test_a_reader_that_goes_away_ends_it(days: Settings) -> None:
    command = f"{sys.executable} -m ops.cli.main sql --format csv 'SELECT * FROM range(100000000000)' | head -2"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("range\n0\n", "", 141)


@pytest.mark.parametrize("sql", ["SELECT count(*) FROM range(1000000000000) t(x) WHERE x % 7 = 3", "SELECT count(*) FROM hot.public.slow"])
def test_ctrl_c_ends_a_question(sql: str, home: Path, database: dict[str, Any]) -> None:
    place = PostgresSettings(**database)
    target = {"host": place.host, "port": place.port, "user": place.user, "dbname": place.database}
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "FLOWLAKE_HOT__PORT": str(place.port), "FLOWLAKE_HOT__DATABASE": place.database,
    }  # fmt: skip
    running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'"
    with closing(psycopg2.connect(**target)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("CREATE VIEW slow AS SELECT n, pg_sleep(0.01)::text FROM generate_series(1, 1000000) n")
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli.main", "sql", sql],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

        def at_work() -> bool:
            if "slow" not in sql:
                return psutil.Process(process.pid).cpu_times().user > 6  # starting takes two or three
            cursor.execute(running)
            return bool(cursor.fetchone() != (0,))

        try:
            until(at_work, 100)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()  # one that does not end by Ctrl-C would run on for hours
        assert (process.returncode, told) == (130, "interrupted\n")
        cursor.execute(running)
        assert cursor.fetchone() == (0,)


def test_now_is_utc(days: Settings) -> None:
    ((now, shown),) = ask(days, "SELECT now() AS now, strftime(now(), '%H') AS hour")
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=5)
    assert shown == f"{now.astimezone(UTC):%H}"
