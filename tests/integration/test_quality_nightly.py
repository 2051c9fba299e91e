"""The nightly run on real tables - a Delta table, PostgreSQL, Parquet of the archive: what is planted is found, clean data raises none."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from infra.config import Settings
from infra.errors import ConfigError, StoreError
from jobs.quality import daytables, nightly, rates
from jobs.quality import table as quarantine
from jobs.runtime import lake
from jobs.sinks import hot, parquet, postgres
from jobs.sinks.migrations import migrate
from ops.cli import main
from schemas.packets import FLOWS
from schemas.records import RecordType
from tests.qualitydata import FAULTS, NIGHTLY, readings
from tests.sinksdata import T0, flow_id, table
from tests.toy_source.records import READING

pytestmark = pytest.mark.integration

DAY = T0.date()
NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
#: Found at another place than in the rows of the day, or not to be held by the hot store at all.
ELSEWHERE = {"time(start_time)"}


def days(first: int, last: int, per_day: int = 48, attacks: int = 10, **columns: Any) -> pa.Table:
    """Flows spread over whole days, every so many of them an attack."""
    rows = []
    for day in range(first, last):
        for n in range(per_day):
            kind = {"attack_type": "SYN_SCAN"} if n % attacks == 0 else {}
            at = day * 86_400 - 43_200 + n * 86_400 // per_day
            rows.append({"name": f"{day}/{n}", "at": at, "src_ip": f"10.0.0.{n % 7}", "flow_duration": 1000 + n, **kind, **columns})
    return table(rows)


def into_lake(settings: Settings, rows: pa.Table, record: RecordType = FLOWS) -> None:
    write_deltalake(lake.location(settings, record), parquet.dated(rows, record), mode="append", partition_by=[parquet.PARTITION])


def into_hot(settings: Settings, rows: pa.Table, record: RecordType = FLOWS) -> None:
    assert record.hot is not None
    migrate(hot.component(settings, record.hot))
    with closing(postgres.connect(settings.hot, "tests")) as connection:
        hot.insert(connection, hot.hot_rows(rows, record), record.hot, ("tests", rows.num_rows, 0, str(rows.num_rows)))


def into_archive(settings: Settings, rows: pa.Table) -> None:
    assert FLOWS.hot is not None
    stored = hot.hot_rows(rows, FLOWS)
    for i, field in enumerate(stored.schema):
        if pa.types.is_timestamp(field.type):
            stored = stored.set_column(i, field.name, stored[field.name].cast(pa.timestamp("ms", tz="UTC"), safe=False))
        elif pa.types.is_floating(field.type):
            stored = stored.set_column(i, field.name, stored[field.name].cast(pa.float32(), safe=False))
    folder = Path(str(settings.path(settings.archive.path))) / FLOWS.hot.name / "year=2026" / "month=03"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(stored, folder / f"{rows.num_rows}.parquet", compression="zstd")


def run(settings: Settings, stage: str, record: RecordType = FLOWS, day: date = DAY) -> nightly.SuiteRun:
    found = daytables.open_table(settings, record, stage)
    assert found is not None
    assert found.exists()
    return nightly.run(settings, record, stage, found, day, now=NOW, say=lambda _: None)


def failed(done: nightly.SuiteRun) -> dict[str, int]:
    return {one.rule: one.unexpected for one in done.failed}


def kept(settings: Settings, stage: str) -> list[dict[str, Any]]:
    rows = quarantine.side(settings).dataset().to_table(filter=pc.field("stage") == stage)
    return list(rows.to_pylist())


@pytest.fixture
def made(settings: Callable[..., Settings], database: dict[str, Any]) -> Settings:
    return settings(hot=database, quality={"piece_rows": 1000})


@pytest.fixture
def planted() -> dict[str, dict[str, Any]]:
    """Rows with one fault each, on the day itself."""
    return {rule: fault for rule, fault in {**FAULTS, **NIGHTLY}.items() if rule not in ELSEWHERE}


def test_clean_days_raise_none_in_any_store(made: Settings) -> None:
    rows = days(-4, 1)
    into_lake(made, rows)
    into_hot(made, rows)
    into_archive(made, rows)
    for stage in daytables.STAGES:
        done = run(made, stage)
        assert failed(done) == {}
        assert (done.rows, done.note, done.copied) == (48, "", 0)
        assert {"rate(rows of the day)", "rate(share of attacks)", "rate(distinct src_ip)", "unique(flow_id)"} < {
            x.rule for x in done.found
        }
    assert not quarantine.side(made).exists()


def test_every_planted_fault_is_found_in_the_lake_and_copied_once(made: Settings, planted: dict[str, dict[str, Any]]) -> None:
    into_lake(made, pa.concat_tables([days(0, 1, 1100), table([{"name": rule, **fault} for rule, fault in planted.items()])]))
    into_lake(made, table([{"name": "twice"}, {"name": "twice"}]))
    into_lake(made, table([{"name": "stray", **FAULTS["time(start_time)"]}]))
    done = run(made, "lake")
    assert failed(done) == {**dict.fromkeys(planted, 1), "unique(flow_id)": 1, "strays(start_time)": 1}
    assert done.note.startswith("too little history: rows on 0 of the 7 days before")
    assert done.rows == 1100 + len(planted) + 2, "more than one piece"
    rows = kept(made, "lake")
    expected = {flow_id(rule): rule for rule in planted} | {flow_id("twice"): "unique(flow_id)", flow_id("stray"): "time(start_time)"}
    assert {row["record_id"]: row["rule"] for row in rows} == expected
    assert run(made, "lake").copied == len(rows) == len(expected) + 1
    assert kept(made, "lake") == rows, "the same rows are not copied again"
    stored = lake.dataset(lake.location(made, FLOWS)).to_table(columns=["flow_id"])
    assert stored.num_rows == 1100 + len(planted) + 3, "the store's rows stay"


def test_planted_faults_are_found_in_the_hot_store_and_the_archive(made: Settings, planted: dict[str, dict[str, Any]]) -> None:
    assert FLOWS.hot is not None
    columns = set(FLOWS.hot.sources)
    refused = {
        "range(confidence_score)",
        "one-of(predicted_label)",
        "address(src_ip)",
        "address(dst_ip)",
        "nul(sensor_id)",
    }  # by PostgreSQL
    for stage, into, without in (("hot", into_hot, refused), ("archive", into_archive, set[str]())):
        there = {rule: fault for rule, fault in planted.items() if set(fault) <= columns and rule not in without}
        into(made, pa.concat_tables([days(0, 1, 20), table([{"name": rule, **fault} for rule, fault in there.items()])]))
        done = run(made, stage)
        # the other side of an order is not in these tables
        expected = {rule for rule in there if "start_time" not in rule and "end_time" not in rule}
        assert set(failed(done)) == expected
        assert {row["rule"] for row in kept(made, stage)} == expected
        assert {"range(src_port)", "range(flow_duration)", "together(predicted_label, attack_type)"} <= expected


def test_columns_that_are_missing_or_of_another_type(made: Settings) -> None:
    rows = days(0, 1)
    wrong = rows.drop_columns(["dst_port"])
    wrong = wrong.set_column(wrong.schema.get_field_index("src_port"), "src_port", wrong["src_port"].cast(pa.int64()))
    nulls = pa.array([None] * wrong.num_rows, pa.string())
    into_lake(made, wrong.set_column(wrong.schema.get_field_index("sensor_id"), "sensor_id", nulls))
    assert failed(run(made, "lake")) == {"column(dst_port)": 1, "type(src_port)": 1, "null(sensor_id)": 48}
    into_hot(made, rows)
    with closing(psycopg2.connect(**postgres_arguments(made))) as connection, connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE network_flows DROP COLUMN tcp_state, ALTER COLUMN src_port TYPE bigint")
        cursor.execute("ALTER TABLE network_flows ALTER COLUMN sensor_id DROP NOT NULL")
        cursor.execute("UPDATE network_flows SET sensor_id = NULL WHERE flow_id = %s", [flow_id("0/1")])
    assert failed(run(made, "hot")) == {"column(tcp_state)": 1, "type(src_port)": 1, "null(sensor_id)": 1}


def postgres_arguments(settings: Settings) -> dict[str, Any]:
    section = settings.hot
    password = section.password.get_secret_value() or None
    return {"host": section.host, "port": section.port, "dbname": section.database, "user": section.user, "password": password}


@pytest.mark.parametrize(
    ("today", "odd"),
    [
        ({"per_day": 12}, "rate(rows of the day)"),
        ({"per_day": 200}, "rate(rows of the day)"),
        ({"attacks": 2}, "rate(share of attacks)"),
        ({"end_reason": None}, "rate(share of nulls in end_reason)"),
        ({"src_ip": "10.9.9.9"}, "rate(distinct src_ip)"),
        ({"flow_duration": 90_000}, "rate(mean of flow_duration)"),
    ],
)
def test_rates_that_jump_are_found(made: Settings, today: dict[str, Any], odd: str) -> None:
    into_lake(made, pa.concat_tables([days(-4, 0), days(0, 1, **today)]))
    found = daytables.open_table(made, FLOWS, "lake")
    assert found is not None
    assert found.exists()
    measured = rates.measure(found, FLOWS, DAY, made.quality, NOW)
    assert odd in {f"rate({rate.name})" for rate in measured.rates if rate.odd}


def test_a_day_without_rows_is_a_fault_where_there_were_some(made: Settings) -> None:
    into_hot(made, days(-4, 0))
    done = run(made, "hot")
    assert done.rows == 0
    assert {"rate(rows of the day)", "rate(rows at 13:00)"} < set(failed(done))
    assert all(rule.startswith("rate(rows") for rule in failed(done))


def test_of_a_day_that_is_not_over_its_past_hours_are_compared(made: Settings) -> None:
    """At one in the morning two rows of 48 are no drop."""
    into_lake(made, pa.concat_tables([days(-4, 1), days(1, 2).slice(0, 2)]))
    done = run(made, "lake", day=NOW.date())
    assert failed(done) == {}
    assert {one.rule for one in done.found if one.rule.startswith("rate(rows")} == {"rate(rows of the day)", "rate(rows at 00:00)"}


def test_every_record_type_has_its_suites(settings: Callable[..., Settings], database: dict[str, Any]) -> None:
    own = settings(hot=database, sources={"packages": ["jobs.sources", "tests.toy_source"]})
    rows = readings([{}, {"zscore": float("inf")}, {"gap_s": float("nan")}])
    into_lake(own, rows, READING)
    into_hot(own, rows, READING)
    assert failed(run(own, "lake", READING)) == {"range(zscore)": 1, "range(gap_s)": 1}
    assert failed(run(own, "hot", READING)) == {"range(zscore)": 1}


@pytest.fixture
def conf(made: Settings, tmp_path: Path) -> Path:
    import yaml

    file = tmp_path / "conf.yaml"
    section = made.hot.model_dump(include={"host", "port", "database", "user"})
    file.write_text(yaml.safe_dump({"hot": section, "alerts": section}))
    return file


def flowlake(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.main(list(words))
    return int(end.value.code or 0)


def test_the_command_its_exit_codes_and_its_pages(made: Settings, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--conf-file", str(conf), "--day", str(DAY), "--stage", "lake")
    assert flowlake("quality", "run", *options) == StoreError.exit_code
    assert flowlake("quality", "docs", "--conf-file", str(conf)) == StoreError.exit_code
    into_lake(made, days(0, 1, 5))
    assert flowlake("quality", "run", *options) == 0
    assert "flows.lake 2026-03-01: 5 rows" in capsys.readouterr().out
    into_lake(made, table([{"name": "<b>odd</b>", "src_port": -1, "src_ip": "<script>"}]))
    assert flowlake("quality", "run", *options, "--json") == 10
    (told,) = json.loads(capsys.readouterr().out)
    assert [one["rule"] for one in told["failed"]] == ["address(src_ip)", "range(src_port)"]
    assert flowlake("quality", "docs", "--conf-file", str(conf)) == 0
    first = Path(capsys.readouterr().out.strip())
    pages = [first, *first.parent.rglob("*.html")]
    assert len(pages) > 4
    for page in [*pages, *first.parent.rglob("*.css")]:
        text = page.read_text()
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text
        assert 'src="//' not in text
        assert "<script>'" not in text
    index = first.read_text()
    assert "range(src_port)" in index
    for link in pc.unique(pa.array([part.split('"')[0] for part in index.split('<a href="')[1:]])).to_pylist():
        assert (first.parent / link).is_file()
    assert flowlake("quarantine", "list", "--conf-file", str(conf), "--stage", "lake", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["reason"] == "address(src_ip): '<script>', expected an IPv4 or IPv6 address; range(src_port): -1, expected 0 to 65535"


@pytest.mark.parametrize("words", [["--stage", "nowhere"], ["--record", "nothing"], ["--day", "yesterday"]])
def test_wrong_options_are_one_line(words: list[str], conf: Path) -> None:
    assert flowlake("quality", "run", "--conf-file", str(conf), *words) == ConfigError.exit_code
