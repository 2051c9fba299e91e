"""Labelled records of the lake: versions, the table of labels, truth tables, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from infra.config import Settings
from infra.errors import ConfigError, FlowlakeError, ModelError
from jobs.sinks import labels
from jobs.training.sources import Sourced, TrainingData, load
from jobs.training.truth import KEY, SPAN
from schemas.features import FEATURE_VERSION
from schemas.packets import FLOWS
from tests.randomrecords import random_records
from tests.toy_source.records import FEATURES, READING

Factory = Callable[..., Settings]
DAY = 86_400_000_000
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def made(settings: Factory, tmp_path: Path) -> Settings:
    return settings(sources={"packages": ["jobs.sources", "tests.toy_source"]}, lake={"path": str(tmp_path / "lake" / "flows")})


def records(n: int, versions: list[str] | None = None, first: int = 0) -> pa.Table:
    """n flows f0, f1, ..., a day apart, each of two seconds, of hosts h0, h1, ..."""
    table = pa.Table.from_batches([random_records(n)])
    start = pa.array([(i % 3) * DAY + i for i in range(first, first + n)], pa.int64())
    columns = {
        "flow_id": pa.array([f"f{i}" for i in range(first, first + n)]),
        "src_ip": pa.array([f"10.0.0.{i}" for i in range(n)]),
        "start_time": start.cast(table.schema.field("start_time").type),
        "end_time": pa.array([v.as_py() + 2_000_000 for v in start], pa.int64()).cast(table.schema.field("end_time").type),
        "feature_version": pa.array(versions or [FEATURE_VERSION] * n),
    }
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table


def lake(settings: Settings, table: pa.Table, **options: Any) -> str:
    write_deltalake(settings.lake.path, table, **options)
    return settings.lake.path


def say(settings: Settings, words: dict[str, str], by: str = "ann", source: str = "analyst", days: int = 0, record: Any = FLOWS) -> None:
    rows = [
        labels.row({"record_key": k, "label": v, "source": source, "labelled_by": by}, record, {}, NOW + timedelta(days=days))
        for k, v in words.items()
    ]
    labels.put(settings, rows)


def truth(tmp_path: Path, table: pa.Table, names: list[str]) -> Path:
    told = table.select([*KEY, *SPAN]).slice(0, len(names)).append_column("label", pa.array(names))
    pq.write_table(told, tmp_path / "truth.parquet")
    return tmp_path / "truth.parquet"


def by_duration(sourced: Sourced, table: pa.Table) -> dict[str, str]:
    """Flow -> label, by the flow's duration."""
    ids = {np.float32(d): key for d, key in zip(table["flow_duration"].to_pylist(), table["flow_id"].to_pylist(), strict=True)}
    at = sourced.flows.columns.index("flow_duration")
    return {ids[x]: y for x, y in zip(sourced.flows.x[:, at], sourced.flows.y.tolist(), strict=True)}


def test_a_truth_table_is_joined_and_what_does_not_fit_is_counted(made: Settings, tmp_path: Path) -> None:
    table = records(6, [FEATURE_VERSION] * 5 + ["0"])
    place = lake(made, table)
    names = ["BENIGN", "SYN_SCAN", "BENIGN", "DNS_TUNNEL"]
    found = load(made, TrainingData(records=(place,), labels=truth(tmp_path, table, names)))
    assert by_duration(found, table) == dict(zip(["f0", "f1", "f2", "f3"], names, strict=True))
    assert "1 rows dropped of another feature-schema version than 1" in found.notes
    assert "1 rows dropped without a label" in found.notes
    assert sorted(found.flows.host.tolist()) == ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert found.flows.age.tolist() == [2.0] * 4
    assert set(found.flows.group.tolist()) == {"1970-01-01", "1970-01-02", "1970-01-03"}


def test_the_table_of_labels_counts_without_being_named(made: Settings, tmp_path: Path) -> None:
    table = records(4)
    lake(made, table)
    say(made, {"f0": "benign", "f1": "SYN_SCAN", "gone1": "benign", "gone2": "benign"})
    found = load(made, TrainingData("lake"))
    assert by_duration(found, table) == {"f0": "BENIGN", "f1": "SYN_SCAN"}
    assert "2 labels of records that the lake does not hold: gone1, gone2" in found.notes
    assert found.version == "flows@0+labels@1"
    assert [(s.label, s.day, s.seen, s.kept, s.weight) for s in found.strata] == [
        ("BENIGN", "1970-01-01", 1, 1, 1.0), ("SYN_SCAN", "1970-01-02", 1, 1, 1.0)
    ]  # fmt: skip
    about = json.loads(found.write(tmp_path).read_text())
    assert (about["data_version"], about["strata"][0]["label"]) == ("flows@0+labels@1", "BENIGN")


def test_a_person_goes_before_the_truth_table_and_that_before_a_rule(made: Settings, tmp_path: Path) -> None:
    table = records(4)
    lake(made, table)
    say(made, {"f0": "DNS_TUNNEL"})
    say(made, {"f0": "benign"}, by="bob", source="bob", days=1)
    say(made, {"f1": "DNS_TUNNEL"})
    say(made, {"f2": "DNS_TUNNEL"}, by="", source="rule:night", days=9)
    found = load(made, TrainingData("lake", labels=truth(tmp_path, table, ["SYN_SCAN", "BENIGN", "BENIGN", "SYN_SCAN"])))
    assert by_duration(found, table) == {"f0": "BENIGN", "f1": "DNS_TUNNEL", "f2": "BENIGN", "f3": "SYN_SCAN"}
    assert any(n.startswith("1 record of which two say different things") and "f0: bob says BENIGN, ann says" in n for n in found.notes)
    assert any(n.startswith("3 records of which the truth table and the table labels say different things") for n in found.notes)


def test_a_version_is_read_as_it_was_and_recorded(made: Settings) -> None:
    table = records(6)
    place = lake(made, table.slice(0, 3))
    say(made, {"f0": "benign", "f1": "SYN_SCAN"})
    write_deltalake(place, table.slice(3), mode="append")
    say(made, {"f3": "benign", "f4": "SYN_SCAN"})
    newest = load(made, TrainingData("lake"))
    assert (newest.version, len(newest.flows)) == ("flows@1+labels@2", 4)
    old = load(made, TrainingData("lake", as_of="0"))
    assert (old.version, len(old.flows)) == ("flows@0+labels@2", 2)
    before = load(made, TrainingData("lake", as_of="flows@0+labels@1"))
    assert (before.version, by_duration(before, table)) == ("flows@0+labels@1", {"f0": "BENIGN", "f1": "SYN_SCAN"})
    assert "2 labels of records that the lake does not hold" not in " ".join(before.notes)
    now = load(made, TrainingData("lake", as_of=datetime.now(UTC).isoformat()))
    assert np.array_equal(now.flows.x, newest.flows.x), "the same data, in the same order"


@pytest.mark.parametrize(
    ("as_of", "told", "hint"),
    [
        ("7", "no version 7", "there are 0 to 0"),
        ("1999-01-01", "no version as old as 1999-01-01", "there are 0 to 0"),
        ("99999999999999999999", "no version 99999999999999999999", "there are 0 to 0"),
    ],
)
def test_a_version_that_is_not_there(made: Settings, as_of: str, told: str, hint: str) -> None:
    lake(made, records(2))
    say(made, {"f0": "benign", "f1": "SYN_SCAN"})
    with pytest.raises(ModelError, match=told) as e:
        load(made, TrainingData("lake", as_of=as_of))
    assert hint in e.value.hint
    assert "\n" not in str(e.value)


def test_a_version_of_the_labels_that_is_not_there(made: Settings) -> None:
    lake(made, records(4))
    with pytest.raises(ModelError, match="table labels: no version 3") as e:
        load(made, TrainingData("lake", as_of="flows@0+labels@3"))
    assert "no such table" in e.value.hint
    say(made, {"f0": "benign", "f1": "SYN_SCAN"})
    with pytest.raises(ModelError, match="table labels: no version 3") as e:
        load(made, TrainingData("lake", as_of="flows@0+labels@3"))
    assert "there are 0 to 1" in e.value.hint


def test_what_is_no_version(made: Settings) -> None:
    for as_of in ("newest", "-1", "readings@3", "1.5", "0001-01-01T00:00+14:00", "9999-12-31T23:00-14:00"):
        with pytest.raises(ConfigError, match="is no version"):
            load(made, TrainingData("lake", as_of=as_of))


def test_a_version_that_vacuum_has_removed(made: Settings) -> None:
    place = lake(made, records(3))
    say(made, {"f0": "benign", "f1": "SYN_SCAN"})
    lake(made, records(3), mode="overwrite")
    DeltaTable(place).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len(load(made, TrainingData("lake")).flows) == 2
    with pytest.raises(ModelError, match="files of version 0 are gone: VACUUM has removed them") as e:
        load(made, TrainingData("lake", as_of="0"))
    assert "the newest is " in e.value.hint
    assert "lake.history_days" in e.value.hint


def test_a_table_whose_history_is_gone(made: Settings) -> None:
    place = lake(made, records(3))
    say(made, {"f0": "benign", "f1": "SYN_SCAN"})
    for _ in range(2):
        lake(made, records(3), mode="overwrite")
    DeltaTable(place).create_checkpoint()
    for version in (0, 1):
        (Path(place) / "_delta_log" / f"{version:020}.json").unlink()
    assert load(made, TrainingData("lake")).version == "flows@2+labels@1"
    with pytest.raises(ModelError, match="no version 0") as e:
        load(made, TrainingData("lake", as_of="0"))
    assert "there are 2 to 2" in e.value.hint


def test_labels_are_needed(made: Settings) -> None:
    lake(made, records(1))
    with pytest.raises(ModelError, match="carry no labels") as e:
        load(made, TrainingData("lake"))
    assert "--labels" in e.value.hint


@pytest.mark.parametrize(("word", "lacking"), [("benign", "there is no attack among them"), ("SYN_SCAN", "no row is labelled BENIGN")])
def test_one_class_only(made: Settings, word: str, lacking: str) -> None:
    lake(made, records(2))
    say(made, {"f0": word, "f1": word})
    with pytest.raises(ModelError, match=f"one class only: 2 rows of .*; {lacking}"):
        load(made, TrainingData("lake"))


def test_a_column_that_is_missing_or_of_another_type(made: Settings) -> None:
    lake(made, records(2).drop_columns(["flow_duration", "syn_flag_count"]))
    say(made, {"f0": "benign", "f1": "SYN_SCAN"})
    with pytest.raises(ModelError, match="missing columns flow_duration, syn_flag_count"):
        load(made, TrainingData("lake"))
    table = records(2)
    at = table.schema.get_field_index("flow_duration")
    write_deltalake(made.lake.path, table.set_column(at, "flow_duration", pa.array(["1", "2"])), mode="overwrite", schema_mode="overwrite")
    with pytest.raises(ModelError, match="column flow_duration is string, not a number"):
        load(made, TrainingData("lake"))


def test_nan_and_infinity_in_the_lake_are_left_out_and_counted(made: Settings) -> None:
    table = records(4)
    for name, wrong in (("flow_bytes_per_sec", float("nan")), ("flow_packets_per_sec", float("inf"))):
        at = table.schema.get_field_index(name)
        values = table[name].to_pylist()
        values[{"flow_bytes_per_sec": 0, "flow_packets_per_sec": 2}[name]] = wrong
        table = table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    lake(made, table)
    say(made, {"f0": "benign", "f1": "SYN_SCAN", "f2": "SYN_SCAN", "f3": "benign"})
    found = load(made, TrainingData("lake"))
    assert by_duration(found, table) == {"f1": "SYN_SCAN", "f3": "BENIGN"}
    assert "2 rows dropped with NaN or infinity in a feature" in found.notes


def test_a_folder_that_is_no_table(made: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FlowlakeError, match="empty") as e:
        load(made, TrainingData(records=(str(tmp_path / "empty"),)))
    assert "\n" not in str(e.value)


def test_truth_that_cannot_be_read(made: Settings, tmp_path: Path) -> None:
    place = lake(made, records(1))
    for file in (tmp_path / "absent.parquet", Path(place) / "_delta_log" / f"{0:020}.json"):
        with pytest.raises(ModelError, match="truth table") as e:
            load(made, TrainingData("lake", labels=file))
        assert "\n" not in str(e.value)


def test_records_of_another_source_are_trained_alike(made: Settings) -> None:
    rng = np.random.default_rng(1)
    columns = {name: rng.random(6) for name in FEATURES}
    columns["repeats"] = np.arange(6)
    times = pa.array([i * DAY for i in range(6)], pa.int64()).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"reading_id": [f"r{i}" for i in range(6)], "reading_time": times, **columns})
    write_deltalake(str(Path(made.lake.path).parent / "readings"), table)
    say(made, {"r0": "benign", "r1": "SPIKE", "r2": "benign"}, record=READING)
    found = load(made, TrainingData("lake", record=READING))
    assert (found.version, sorted(found.flows.y.tolist()), found.flows.columns) == (
        "readings@0+labels@1", ["BENIGN", "BENIGN", "SPIKE"], FEATURES
    )  # fmt: skip
    with pytest.raises(ConfigError, match="joined by addresses"):
        load(made, TrainingData("lake", record=READING, labels=Path("truth.parquet")))
