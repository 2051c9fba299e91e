"""Trino over the stores of flowlake: what is registered, who may do what, and the questions of the cookbook with their known answers."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg2
import pytest

from infra.config import ROOT
from infra.errors import StoreError
from jobs.engines import athena, trino
from jobs.engines.tables import archives
from jobs.sinks import postgres
from tests import cookbook, cookbookdata
from tests.enginesdata import Engines
from tests.enginesdata.readings import COUNT

pytestmark = [pytest.mark.integration, pytest.mark.trino, pytest.mark.timeout(600)]


#: Athena speaks Trino's dialect: what is shown for it alone must run here as well.
BLOCKS = [block for block in cookbook.blocks() if {"trino", "athena"} & set(block.engines)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_question_of_the_cookbook(engines: Engines, block: cookbook.Recipe) -> None:
    cookbook.check(block, asked(engines, block), engines.data)


def asked(engines: Engines, block: cookbook.Recipe) -> list[list[object]]:
    """A name without a catalog is looked up where the block's are."""
    catalog, schema = block.home
    return trino.Trino(engines.settings.trino, catalog, schema).rows(block.sql.strip().rstrip(";"))


def test_every_table_that_is_there_is_registered(engines: Engines) -> None:
    states = {table.table: table.state for table in engines.registered}
    assert {table for table, state in states.items() if state == "made"} == {
        "lake.flowlake.flows",
        "lake.flowlake.readings",
        "lake.flowlake.labels",
        "archive.flowlake.archived_flows",
        "archive.flowlake.archived_readings",
    }
    assert {table for table, state in states.items() if state != "made"} >= {"lake.flowlake.quarantine", "lake.flowlake.model_drift"}
    assert set(states.values()) == {"made", "nothing there yet"}
    assert {table.state for table in trino.register(engines.settings, lambda table: None)} == {"current", "nothing there yet"}


def test_records_of_another_source_are_there_alike(engines: Engines) -> None:
    assert engines.rows("SELECT count(*), sum(predicted_label), max(device) FROM lake.flowlake.readings") == [[COUNT, 2, "Kessel ü"]]
    by_month = "SELECT year, month, count(*), min(timestamp) FROM archive.flowlake.archived_readings GROUP BY 1, 2 ORDER BY 1, 2"
    (february, march) = engines.rows(by_month)
    assert february[:3] == [2024, 2, 2]
    assert march[:3] == [2024, 3, COUNT - 2]
    assert february[3].isoformat() == "2024-02-28T23:59:59.999000"  # milliseconds, UTC; the companion has the rest
    assert engines.rows("SELECT max(timestamp_us) % 1000 FROM archive.flowlake.archived_readings") == [[999]]


def test_the_references_question_to_the_archive(engines: Engines) -> None:
    records = {record.name: record for record, _ in archives(engines.settings)}
    sql = athena.attacks_by_month(records["readings"], "archived_readings").replace("flowlake.", "archive.flowlake.")
    assert engines.rows(sql) == [[2024, 2, 2, 1], [2024, 3, COUNT - 2, 1]]


def test_months_are_found_by_projection_as_athena_finds_them(engines: Engines) -> None:
    """The projection of Athena's statement, in Trino's words: the template and the digits lead to the folders, and skip the others."""
    ((_, table),) = [found for found in archives(engines.settings) if found[1].name == "archived_readings"]
    statement = athena.statements(engines.settings)[f"create_{table.name}"]
    name = "archive.flowlake.projected"
    trino.Trino(engines.settings.trino).rows(projected(name, statement))
    try:
        assert engines.rows(f"SELECT count(*), sum(predicted_label) FROM {name} WHERE year = 2024 AND month = 3") == [[COUNT - 2, 1]]
        paths = engines.rows(f'SELECT DISTINCT "$path" FROM {name} WHERE year = 2024')
        folders = sorted(path.removeprefix(table.place).rpartition("/")[0] for (path,) in paths)
        assert folders == ["/year=2024/month=02", "/year=2024/month=03"]
        assert engines.rows(f"SELECT count(*) FROM {name} WHERE year = 2023") == [[0]]
    finally:
        trino.Trino(engines.settings.trino).rows(f"DROP TABLE {name}")


def test_everybody_reads_and_nobody_writes(engines: Engines) -> None:
    writes = (
        "INSERT INTO lake.flowlake.labels (record_key) VALUES ('x')",
        "DELETE FROM lake.flowlake.flows",
        "DELETE FROM hot.public.network_flows",
        "INSERT INTO archive.flowlake.archived_flows (src_ip, year, month) VALUES ('x', 2024, 1)",
        "DELETE FROM archive.flowlake.archived_flows WHERE src_ip = 'x'",
        "SELECT * FROM TABLE(hot.system.query(query => 'SELECT 1 AS one'))",  # whatever its role may do there
    )
    for user in ("analyst", engines.settings.trino.user):
        for statement in writes:
            with pytest.raises(StoreError):
                engines.rows(statement, user)
    with pytest.raises(StoreError, match="Access Denied"):
        engines.rows("CREATE TABLE lake.flowlake.mine AS SELECT 1 AS one")
    for statement in ("DROP TABLE archive.flowlake.archived_flows", "CALL lake.system.unregister_table('flowlake', 'flows')"):
        with pytest.raises(StoreError, match="Access Denied") as refused:
            engines.rows(statement)
        assert "rules.json" in refused.value.hint
    assert engines.rows("SELECT count(*) FROM lake.flowlake.flows") == [[engines.data.flows.num_rows]]


def test_a_table_that_moved_is_found_in_its_new_place(engines: Engines) -> None:
    from tests.enginesdata import readings

    lake = engines.settings.lake.model_copy(update={"tables": {"readings": "s3a://engines/elsewhere/readings"}})
    archive = engines.settings.archive.model_copy(update={"path": "s3a://engines/elsewhere/archive"})
    moved = engines.settings.model_copy(update={"lake": lake, "archive": archive})
    readings.into_lake(moved)
    try:
        found = {table.table: table for table in trino.register(moved, lambda table: None)}
        assert found["lake.flowlake.readings"] == trino.Registered("lake.flowlake.readings", "s3://engines/elsewhere/readings", "moved")
        assert engines.rows('SELECT count(*), count(DISTINCT "$path") > 0 FROM lake.flowlake.readings') == [[COUNT, True]]
        assert found["archive.flowlake.archived_readings"].state == "nothing there yet"
    finally:
        states = {table.table: table.state for table in trino.register(engines.settings, lambda table: None)}
    assert states["lake.flowlake.readings"] == "moved"
    assert states["archive.flowlake.archived_readings"] in ("made", "current")


@pytest.mark.parametrize(
    ("sql", "hint"),
    [("SELECT * FROM lake.flowlake.nothing", "register"), ("SELEC 1", "dialect"), ("SELECT * FROM elsewhere.a.b", "flowlake trino config")],
)
def test_what_the_server_refuses_is_one_line_with_the_way_out(engines: Engines, sql: str, hint: str) -> None:
    with pytest.raises(StoreError) as refused:
        engines.rows(sql)
    assert str(refused.value).startswith(f"Trino at {engines.settings.trino.url}: line 1:")
    assert hint in refused.value.hint


def test_a_server_that_is_away_is_named(engines: Engines) -> None:
    nobody = engines.settings.trino.model_copy(update={"url": "http://127.0.0.1:1"})
    with pytest.raises(StoreError, match=r"Trino at http://127\.0\.0\.1:1 does not answer"):
        trino.Trino(nobody).rows("SELECT 1")


PAGE = (ROOT / "docs" / "how-to" / "ask-with-trino-and-athena.md").read_text(encoding="utf-8")


def shown(engine: str) -> list[str]:
    """Questions of the page about Trino and Athena."""
    found = re.findall(rf"^ *<!-- run: {engine} -->\n *```sql\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found


def test_questions_of_the_page(engines: Engines) -> None:
    joined, months = (engines.rows(sql) for sql in shown("trino"))
    # Bytes: a probe and, where it is refused, an answer, of 40 each.
    assert joined == [
        ["SYN_SCAN", cookbookdata.SCANNER, 60, 60, 1, 60 * 80],
        ["SYN_SCAN", cookbookdata.SWEEPER, 40, 40, 40, 40 * 40],
    ]
    assert [sum(column) for column in list(zip(*months, strict=True))[1:]] == [
        engines.data.flows.num_rows + 30,
        sum(row["predicted_label"] for row in engines.data.rows) + 7,
    ]
    newer = engines.data.archived_months[0]
    for sql in shown("athena"):
        found = trino.Trino(engines.settings.trino, "archive", "flowlake").rows(sql.replace("2024", str(newer.year)).strip().rstrip(";"))
        assert [newer.year, newer.month, 20, 5] in found


def test_addresses_are_asked_for_as_networks(engines: Engines) -> None:
    inside = "SELECT count(*) FROM {} WHERE contains('10.0.0.0/8', CAST(src_ip AS ipaddress))"
    expected = [[sum(row["src_ip"].startswith("10.") for row in engines.data.rows)]]
    assert engines.rows(inside.format("lake.flowlake.flows")) == expected
    assert engines.rows(inside.format("hot.public.network_flows")) == expected


def test_a_role_that_may_only_read_is_enough_in_postgresql(engines: Engines) -> None:
    (sql,) = [text for text in re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "CREATE ROLE" in text]
    connection = postgres.connect(engines.settings.hot, "test")
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(sql)  # never committed
        cursor.execute("SET ROLE trino")
        cursor.execute("SELECT count(*) FROM network_flows")
        assert cursor.fetchone() == (engines.data.flows.num_rows,)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM network_flows")


def projected(name: str, statement: str) -> str:
    """Athena's ``CREATE EXTERNAL TABLE`` with projection as Trino's ``CREATE TABLE``, whatever is in its properties."""
    said = dict(re.findall(r"'([a-z.]+)' = '([^']+)'", statement))
    kinds = {"int": "integer", "string": "varchar", "float": "real", "timestamp": "timestamp(3)", "double": "double", "bigint": "bigint"}
    columns = [f'"{column}" {kinds[kind]}' for column, kind in re.findall(r"^  `(\w+)` (\w+)", statement, re.MULTILINE)]
    for column in ("year", "month"):
        low, high = said[f"projection.{column}.range"].split(",")
        columns.append(
            f"{column} integer WITH (partition_projection_type = '{said[f'projection.{column}.type'].upper()}',"
            f" partition_projection_range = ARRAY['{low}', '{high}'],"
            f" partition_projection_digits = {said[f'projection.{column}.digits']})"
        )
    (place,) = re.findall(r"LOCATION '([^']+)'", statement)
    template = said["storage.location.template"]
    return (
        f"CREATE TABLE {name} ({', '.join(columns)}) WITH (format = 'PARQUET', partitioned_by = ARRAY['year', 'month'],"
        f" external_location = '{place}', partition_projection_enabled = true, partition_projection_location_template = '{template}')"
    )
