"""The archive against a real database: what leaves, what stays, what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from infra.config import Settings
from infra.errors import ConfigError, StoreError
from jobs.archiving import dataset, ledger, months, overview, removal, restore
from jobs.archiving import run as runs
from jobs.archiving.columns import ArchiveLayout
from jobs.archiving.run import Wish
from jobs.hotstore import maintain
from jobs.sinks import hot, postgres
from jobs.sinks.migrations import migrate
from schemas.archive import BOOK, ArchiveState
from schemas.records import RecordType
from tests.archivedata import EVERYTHING, KINDS, everything, insert, months_ago, plain_rows, row_id
from tests.integration.archivebench import TABLE, ArchiveBench

pytestmark = pytest.mark.integration
OLD, OLDER = months_ago(6), months_ago(7)


def test_whole_months_leave_and_come_back_as_they_were(archive: ArchiveBench) -> None:
    young = plain_rows(3, months_ago(1), prefix="young")
    archive.fill([*plain_rows(40, OLD), *plain_rows(30, OLDER, prefix="older"), *young])
    before = archive.hot()
    done = archive.run()
    assert [(item.month, item.rows, item.deleted, item.state) for item in done] == [
        (months.text(OLDER.date()), 30, 30, "deleted"),
        (months.text(OLD.date()), 40, 40, "deleted"),
    ]
    assert len(archive.hot()) == len(young)
    assert len(archive.ids()) == 70
    assert archive.verify() == []
    assert archive.run() == []  # nothing is old enough any more
    (back,) = archive.restore(OLD)
    assert (back.rows, back.there) == (40, 0)
    assert archive.restore(OLD)[0].there == 40  # again: nothing happens
    archive.restore(OLDER)
    assert archive.hot() == before


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "small": st.integers(-(2**15), 2**15 - 1),
    "whole": st.integers(-(2**31), 2**31 - 1),
    "big": st.integers(-(2**63), 2**63 - 1),
    "label": st.integers(-(2**31), 2**31 - 1) | st.integers(0, 1),
    "single": st.floats(width=32),
    "double": st.floats(),
    "f_big": st.integers(-(2**63), 2**63 - 1) | st.integers(-100, 2**25),
    "f_double": st.floats() | st.floats(width=32),
    "f_single": st.floats(width=32),
    "seen": st.sampled_from(
        ["infinity", "-infinity", "epoch", "0001-01-01", "0044-03-15 BC", "9999-12-31 23:59:59.999999",
        "29999-01-01", "1969-12-31 23:59:59.999999"]
    ) | st.datetimes().map(lambda when: when.isoformat()),
    "other": st.uuids().map(str),
    "address": st.ip_addresses().map(str) | st.sampled_from(["10.0.0.0/8", "fe80::/10"]),
    "words": st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
    | st.sampled_from(["", "\\.", '"', "a,b\r\n", " NULL "]),
    "more": st.sampled_from(["{}", "null", '{"b": 1, "a": [1.50, "é\\n"]}', '"\\\\"', "1e300"]),
}  # fmt: skip


@hypothesis(
    max_examples=8,
    phases=[Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(st.fixed_dictionaries({name: st.none() | of for name, of in VALUES.items()}), min_size=1, max_size=25),
    times=st.lists(st.integers(0, 27 * 86_400_000_000), min_size=25, max_size=25),
)
def test_every_value_of_every_type_comes_back(archive: ArchiveBench, rows: list[dict[str, Any]], times: list[int]) -> None:
    """Into a table of its own, compared by the server's own text of the rows."""
    archive.sql(f"DROP TABLE IF EXISTS {BOOK}, back; DELETE FROM flowlake_schema WHERE component = 'archive'; TRUNCATE {TABLE}")
    for number, row in enumerate(rows):
        row |= {"at": OLD + timedelta(microseconds=times[number]), "id": row_id(number)}
    for path in archive.folder().rglob("*.*"):
        path.unlink()
    archive.fill(rows)
    before = archive.hot()
    (done,) = archive.run()
    assert (done.rows, done.deleted, archive.hot()) == (len(rows), len(rows), [])
    archive.restore(OLD, into="back")
    assert everything(archive.settings.hot, "back") == before


def test_null_of_every_type_is_null_in_the_archive_too(archive: ArchiveBench) -> None:
    """In the columns and in their companions: no reader may take it for a value, such as the least one of its type."""
    (full,) = plain_rows(1, OLD)
    free = [name for name, (sql, _) in KINDS.items() if "NOT NULL" not in sql]
    rows = [full] + [{**full, "at": OLD + timedelta(minutes=n + 1), "id": row_id(name), name: None} for n, name in enumerate(free)]
    rows.append({"at": OLD + timedelta(hours=1), "id": row_id("nothing")})
    archive.fill(rows)
    before = archive.hot()
    archive.run()
    found = dataset.dataset(archive.settings, EVERYTHING)
    assert found is not None
    archived = {row["id"]: row for row in found.to_table().to_pylist()}
    named = {name: [name, *(other for other in (f"{name}_us", f"{name}_exact") if other in found.schema.names)] for name in free}
    for name, columns in named.items():
        assert [archived[row_id(name)][column] for column in columns] == [None] * len(columns), name
        assert archived[full["id"]][name] is not None
        assert [archived[row_id("nothing")][column] for column in columns] == [None] * len(columns), name
    (manifest,) = (archive.folder() / "_manifests").glob("*.json")
    assert {column["nulls"] for name, column in json.loads(manifest.read_text())["sums"]["columns"].items() if name in free} == {2}
    archive.restore(OLD)
    assert archive.hot() == before


def test_late_rows_go_into_a_further_file_and_replayed_ones_are_not_doubled(archive: ArchiveBench) -> None:
    rows = plain_rows(20, OLD)
    archive.fill(rows)
    archive.run()
    late = plain_rows(5, OLD + timedelta(days=3), prefix="late")
    archive.fill([*rows[:7], *late])
    (done,) = archive.run()
    assert (done.rows, done.deleted, archive.hot()) == (5, 12, [])
    assert archive.ids() == sorted(row["id"] for row in [*rows, *late])
    assert archive.states() == ["deleted", "deleted"]
    assert len(list(archive.folder().glob("year=*/month=*/*.parquet"))) == 2
    assert archive.verify() == []


def test_a_row_that_differs_from_the_archived_one_of_its_key_stays(archive: ArchiveBench) -> None:
    rows = plain_rows(4, OLD)
    archive.fill(rows)
    archive.run()
    archive.fill([rows[0] | {"words": "corrected"}, rows[1]])
    (done,) = archive.run()
    assert (done.rows, done.deleted, done.differing) == (0, 1, 1)
    assert archive.sql(f"SELECT words FROM {TABLE}") == [("corrected",)]
    assert any("1 rows differ" in line for line in archive.said)
    assert len(archive.ids()) == 4


def test_keep_deletes_nothing_and_the_next_run_writes_nothing_again(archive: ArchiveBench) -> None:
    archive.fill(plain_rows(10, OLD))
    (done,) = archive.run(Wish(keep=True))
    assert (done.state, done.rows, done.deleted, len(archive.hot())) == ("verified", 10, 0, 10)
    assert archive.run(Wish(keep=True))[0].rows == 0
    archive.fill(plain_rows(2, OLD, prefix="late"))
    assert archive.run(Wish(keep=True))[0].rows == 2
    (done,) = archive.run()
    assert (done.state, done.rows, done.deleted, archive.hot()) == ("deleted", 0, 12, [])
    assert len(archive.ids()) == 12


def test_a_restored_month_stays_until_its_time_is_over(archive: ArchiveBench) -> None:
    archive.fill(plain_rows(6, OLD))
    archive.run()
    archive.restore(OLD)
    day = OLD.date()
    with postgres.connect(archive.settings.hot, "test") as connection, connection.cursor() as cursor:
        assert ledger.held(cursor, TABLE, day)
        assert not ledger.archived(cursor, TABLE, day)
    (done,) = archive.run(Wish(month=months.of(OLD)))
    assert (done.state, done.deleted, len(archive.hot())) == ("restored", 0, 6)
    assert any("left alone" in line for line in archive.said)
    archive.sql(f"UPDATE {BOOK} SET restored_until = now() - interval '1 second'")
    (done,) = archive.run()
    assert (done.rows, done.deleted, archive.hot(), len(archive.ids())) == (0, 6, [], 6)
    assert archive.states() == ["deleted"]


def test_a_month_is_restored_into_a_database_that_has_no_table_yet(archive: ArchiveBench) -> None:
    """Another one, or a new one: the archive is all that is left."""
    archive.fill(plain_rows(6, OLD))
    archive.run()
    archive.sql(f"DROP TABLE {TABLE} CASCADE; DROP TABLE flowlake_schema, {BOOK} CASCADE")
    archive.restore(OLD)
    assert len(archive.hot()) == 6


@pytest.mark.parametrize(
    ("into", "made", "told"),
    [
        ("other", "CREATE TABLE other (x int)", "its column at is missing"),
        (
            "typed",
            f"CREATE TABLE typed (LIKE {TABLE} INCLUDING ALL); ALTER TABLE typed ALTER whole TYPE text",
            "whole is text, expected integer",
        ),
        ("keyless", f"CREATE TABLE keyless (LIKE {TABLE})", "no primary key of at, id"),
        ("more", f"CREATE TABLE more (LIKE {TABLE} INCLUDING ALL); ALTER TABLE more ADD z int NOT NULL", "its column z wants a value"),
        ("seen", f"CREATE VIEW seen AS SELECT * FROM {TABLE}", "it is no table"),
        ("archive_months", "SELECT 1", "no table like everything"),
        ("archive_stage", "SELECT 1", "is no name of a table"),
        ("pg_class", "SELECT 1", "is no name of a table"),
    ],
)
def test_a_table_of_another_shape_is_not_restored_into(archive: ArchiveBench, into: str, made: str, told: str) -> None:
    archive.fill(plain_rows(3, OLD))
    archive.run()
    archive.sql(made)
    with pytest.raises(ConfigError, match=told):
        archive.restore(OLD, into)


def test_names_that_are_words_of_sql_or_the_hot_table_itself(archive: ArchiveBench) -> None:
    archive.fill(plain_rows(3, OLD))
    archive.run()
    assert [archive.restore(OLD, "select")[0].rows for _ in range(2)] == [3, 0]
    (done,) = archive.restore(OLD, TABLE)
    assert (done.rows, bool(done.until), archive.states()) == (3, True, ["restored"])


def test_retention_may_drop_what_is_archived_and_nothing_else(archive: ArchiveBench) -> None:
    day = OLD.date()

    def archived() -> bool:
        with postgres.connect(archive.settings.hot, "test") as connection, connection.cursor() as cursor:
            return ledger.archived(cursor, TABLE, day)

    assert archived()  # a day without rows, without a book
    archive.fill(plain_rows(10, OLD))
    assert not archived()
    archive.run(Wish(keep=True))
    assert archived()
    archive.fill(plain_rows(1, OLD + timedelta(hours=20), prefix="late"))
    assert not archived()
    archive.run(Wish(keep=True))
    assert archived()
    archive.sql(f"UPDATE {TABLE} SET words = 'other' WHERE id = %s", row_id("r3"))
    assert not archived()


def test_months_that_are_chosen_and_months_that_may_not_be(archive: ArchiveBench) -> None:
    archive.fill([*plain_rows(2, OLD), *plain_rows(2, OLDER, prefix="older"), *plain_rows(2, months_ago(0), prefix="now")])
    old, older = months.of(OLD), months.of(OLDER)
    planned = runs.plan(archive.settings, [EVERYTHING], Wish(), archive.said.append)
    assert [(item.month, item.rows, item.state) for item in planned] == [(months.text(older), 2, ""), (months.text(old), 2, "")]
    assert archive.sql("SELECT to_regclass(%s)", BOOK) == [(None,)]  # a plan changes nothing
    assert [item.month for item in archive.run(Wish(before=old))] == [months.text(older)]
    assert [item.month for item in archive.run(Wish(month=old))] == [months.text(old)]
    for month in (months.of(datetime.now(UTC)), months.of(months_ago(1)), months.of(datetime(9999, 12, 1, tzinfo=UTC))):
        with pytest.raises(StoreError, match="cannot be archived yet"):
            archive.run(Wish(month=month))
    archive.settings = archive.settings.model_copy(update={"archive": archive.settings.archive.model_copy(update={"after_days": 1})})
    archive.run()
    assert len(archive.hot()) == 2  # the current month never leaves


def test_times_out_of_any_bounds(archive: ArchiveBench) -> None:
    archive.not_on_timescale("takes no infinite times")
    times = [
        "-infinity",
        "infinity",
        "0044-03-15 BC",
        "0001-01-01 00:00:00.000001+00",
        "0001-12-31 23:59:59.999999+00",
        "9999-12-31 23:59:59+00",
    ]
    archive.fill([{"at": at, "id": row_id(at)} for at in times])
    done = archive.run()
    assert [(item.month, item.rows) for item in done] == [("0001-01", 1), ("0001-12", 1)]
    assert archive.sql(f"SELECT at::text FROM {TABLE} ORDER BY at") == [
        ("-infinity",), ("0044-03-15 00:00:00+00 BC",), ("9999-12-31 23:59:59+00",), ("infinity",)
    ]  # fmt: skip
    assert any("2 rows of times before year 1" in line for line in archive.said)
    archive.restore(datetime(1, 1, 1, tzinfo=UTC))
    assert archive.sql(f"SELECT at = '0001-01-01 00:00:00.000001+00' FROM {TABLE} WHERE id = %s", row_id(times[3])) == [(True,)]


def test_files_are_sorted_cut_and_described(archive: ArchiveBench) -> None:
    import pyarrow.parquet as pq

    archive.fill(plain_rows(2500, OLD))
    (done,) = archive.run()
    files = sorted(archive.folder().glob("year=*/month=*/*.parquet"))
    assert (done.files, len(files)) == (3, 3)
    folder = f"year={OLD.year:04}/month={OLD.month:02}"
    assert {str(path.parent.relative_to(archive.folder())) for path in files} == {folder}
    opened = [pq.ParquetFile(path) for path in files]
    assert [file.metadata.num_rows for file in opened] == [1000, 1000, 500]
    layout = ArchiveLayout.of(EVERYTHING)
    for file in opened:
        assert file.schema_arrow.equals(layout.schema)
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        assert file.metadata.row_group(0).column(0).statistics.has_min_max
        times = file.read(columns=["at_us"])["at_us"]
        assert times.to_pylist() == sorted(times.to_pylist())
    (manifest,) = (archive.folder() / "_manifests").glob("*.json")
    told = json.loads(manifest.read_text())
    assert (told["state"], told["rows"], told["month"], len(told["files"])) == ("deleted", 2500, months.text(OLD.date()), 3)
    assert told["files"][0]["path"] == str(files[0].relative_to(archive.folder()))
    assert told["sums"]["columns"]["whole"]["max"] == 2499
    assert not (archive.folder() / "_staging").exists()
    found = dataset.dataset(archive.settings, EVERYTHING)
    assert found is not None
    assert found.count_rows(filter=(pc.field("year") == OLD.year) & (pc.field("month") == OLD.month)) == 2500
    assert found.count_rows(filter=pc.field("year") == 1) == 0


def test_a_run_that_came_to_nothing_is_forgotten(archive: ArchiveBench) -> None:
    """Killed while it wrote, and the rows have gone meanwhile."""
    archive.run()  # makes the book
    with postgres.connect(archive.settings.hot, "test") as connection, connection.cursor() as cursor:
        ledger.write(cursor, ledger.BookEntry(TABLE, months.of(OLD), "broken", ArchiveState.WRITING, ""))
    (done,) = archive.run(Wish(keep=True))
    assert (done.state, done.rows, archive.states()) == ("", 0, [])


def test_queries_written_for_the_reference_find_what_they_ask_for(archive: ArchiveBench) -> None:
    """Its table for Athena: columns by name, the label as an integer, the partitions from the folders."""
    import duckdb

    archive.fill(plain_rows(9, OLD))
    archive.run()
    files = f"'{archive.folder()}/year=*/month=*/*.parquet', hive_types = {{'year': INTEGER, 'month': INTEGER}}"
    found = duckdb.sql(
        f'SELECT year, month, count(*), sum(label::INTEGER), max("at") FROM read_parquet({files}) '
        f"WHERE year = {OLD.year} GROUP BY year, month"
    ).fetchall()
    assert [row[:4] for row in found] == [(OLD.year, OLD.month, 9, 4)]
    assert found[0][4].astimezone(UTC) == OLD + timedelta(minutes=56)


def test_a_database_older_than_the_archive_learns_from_the_manifests(archive: ArchiveBench) -> None:
    rows = plain_rows(8, OLD)
    archive.fill(rows)
    archive.run()
    archive.sql(f"DROP TABLE {BOOK}; DELETE FROM flowlake_schema WHERE component = 'archive'")
    archive.fill(rows)  # as they come back from a backup
    assert [item.state for item in overview.listed(archive.settings, [EVERYTHING])] == ["deleted"]
    (done,) = archive.run()
    assert (done.rows, done.deleted, len(archive.ids())) == (0, 8, 8)
    assert archive.states() == ["deleted"]


def test_two_record_types_have_archives_of_their_own(
    archive: ArchiveBench, database: dict[str, Any], settings: Callable[..., Settings]
) -> None:
    made = settings(sources={"packages": ["jobs.sources", "tests.toy_source"]}, hot=archive.settings.hot, archive=archive.settings.archive)
    (reading,) = [record for record in made.catalogue.records if record.name == "readings"]
    migrate(hot.component(made, hot.table_of(reading)))
    row = {"reading_id": row_id("x"), "device": "boiler", "value": 0.1, "zscore": 1, "predicted_label": 0, "confidence_score": 0.5}
    insert(made.hot, reading, [row | {"timestamp": OLD, "attack_type": "BENIGN", "model_version": "1"}])
    before = everything(made.hot, "sensor_readings")
    archive.fill(plain_rows(2, OLD))
    both: list[RecordType] = [EVERYTHING, reading]
    assert [(item.table, item.rows) for item in runs.run(made, both, Wish(), archive.said.append)] == [(TABLE, 2), ("sensor_readings", 1)]
    found = dataset.dataset(made, reading)
    assert found is not None
    (archived,) = found.to_table().to_pylist()
    assert (archived["value_exact"], archived["device"], archived["year"]) == (0.1, "boiler", OLD.year)
    (back,) = restore.restore(made, [reading], months.of(OLD), "", archive.said.append)
    assert (back.table, back.rows) == ("sensor_readings", 1)
    assert everything(made.hot, "sensor_readings") == before
    assert replace(back, until="").into == "sensor_readings"


def pieces(archive: ArchiveBench) -> int:
    """Partitions or chunks of the old month."""
    with closing(postgres.connect(archive.settings.hot, "test")) as connection:
        return len(list(removal.pieces(connection, ArchiveLayout.of(EVERYTHING), months.of(OLD))))


def test_days_that_are_archived_as_a_whole_are_dropped_as_a_whole(archive: ArchiveBench) -> None:
    archive.make_days(OLD, 4)
    rows = plain_rows(40, OLD, timedelta(hours=2))  # three days and a bit
    archive.fill(rows)
    assert pieces(archive) == 4
    archive.run(Wish(keep=True))
    late = plain_rows(1, OLD + timedelta(days=1, minutes=1), prefix="late")
    archive.fill(late)
    before = archive.hot()
    (done,) = archive.run()
    assert (done.rows, done.deleted, archive.hot()) == (1, 41, [])
    assert done.dropped >= 3
    assert pieces(archive) <= 1
    archive.restore(OLD)
    assert archive.hot() == before
    assert pieces(archive) == 4


def test_maintenance_leaves_a_restored_month_and_takes_it_afterwards(archive: ArchiveBench) -> None:
    archive.make_days(OLD, 2)
    archive.fill(plain_rows(20, OLD, timedelta(hours=2)))
    archive.run()
    archive.restore(OLD)
    table = hot.table_of(EVERYTHING)
    for keep in (True, False):
        loose = archive.settings.hot.model_copy(update={"keep_until_archived": keep})
        maintain.maintain(loose, [table], archive.said.append)
        assert len(archive.hot()) == 20
    archive.sql(f"UPDATE {BOOK} SET restored_until = now() - interval '1 second'")
    maintain.maintain(archive.settings.hot, [table], archive.said.append)
    assert archive.hot() == []
    assert archive.run() == []


def test_a_partition_that_somebody_uses_is_emptied_row_by_row(archive: ArchiveBench) -> None:
    archive.not_on_timescale("compresses chunks by itself, and whoever reads waits for its job, which waits for the reader of this test")
    archive.make_days(OLD, 1)
    archive.fill(plain_rows(5, OLD))
    other = postgres.connect(archive.settings.hot, "test")
    with closing(other), other.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {TABLE}")  # a reader's lock on it, until its transaction ends
        (done,) = archive.run()
        assert (done.deleted, done.dropped) == (5, 0)
    assert archive.hot() == []
