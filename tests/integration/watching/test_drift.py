"""``flowlake drift`` on a Delta table, with Spark: quiet days, a change that is found in its first hour, what is kept of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession
from sklearn.ensemble import RandomForestClassifier

from infra import config
from infra.config import Settings
from infra.errors import ConfigError, StoreError
from jobs.runtime import lake
from jobs.scoring import registry
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from jobs.sinks import parquet
from jobs.training.labelled import LabelledFlows
from jobs.watching import baseline, drift, hourly, reference, stored, tables
from jobs.watching.span import EventSpan, between
from ops.cli import main
from schemas.labels import BENIGN
from schemas.packets import FLOWS
from tests import registries, watchingdata
from tests.champions import crown
from tests.watchingdata import T0

pytestmark = pytest.mark.integration

COLUMNS = (
    "flow_duration", "total_fwd_packets", "total_backward_packets", "flow_iat_mean", "bwd_iat_mean", "bwd_packet_length_mean",
    "fwd_packet_length_mean", "flow_packets_per_sec",
)  # fmt: skip
WEEK = EventSpan(T0, T0 + timedelta(days=7))
#: The lake ends here; then come the hours that tests add.
END_HOUR = 192
NOW = T0 + timedelta(hours=END_HOUR + 2)


def told(line: str) -> None:
    assert line


def add(settings: Settings, model: ScoringModel, rows: pa.Table) -> None:
    scored = pa.Table.from_batches([model.score(rows)])
    write_deltalake(lake.location(settings, FLOWS), parquet.dated(scored, FLOWS), mode="append", partition_by=[parquet.PARTITION])


def registered(settings: Settings, *, profile: bool) -> ScoringModel:
    """A champion of a few columns; what has no reply is an attack."""
    rows = pa.concat_tables([*watchingdata.captures("day"), *watchingdata.captures("night")])
    group = np.repeat([f"{n:02}" for n in range(12)], [t.num_rows for n in ("day", "night") for t in watchingdata.captures(n)])
    x = feature_matrix(rows, COLUMNS)
    y = np.where(x[:, 2] == 0, "SYN_SCAN", BENIGN)
    forest = RandomForestClassifier(5, max_depth=6, random_state=1).fit(x[::5], y[::5])
    model = ScoringModel.from_estimator(forest, FLOWS, columns=COLUMNS, threshold=0.5, feature_version="1", version="new")
    folder = settings.path("made")
    folder.mkdir()
    files = [reference.write_profile(folder, model, LabelledFlows(x, COLUMNS, y, group, np.ones(len(y), bool)))] if profile else []
    training = registry.Training("a test", {}, {}, files)
    crown(settings, registry.register(registries.begin(settings), FLOWS, forest, columns=COLUMNS, threshold=0.5, training=training))
    return registry.load_champion(settings, FLOWS)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, ScoringModel]]:
    """Eight quiet days of two sensors, scored by a model without a profile."""
    home = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWLAKE_HOME", str(home))
        settings = config.build(log={"level": "error"})
        model = registered(settings, profile=False)
        rng = np.random.default_rng(5)
        add(settings, model, watchingdata.table(rng, range(END_HOUR), scale=0.6))
        yield settings, model


def test_a_model_without_a_profile_takes_its_first_week_and_finds_what_changes_within_the_hour(
    spark: SparkSession, origin: tuple[Settings, ScoringModel], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, model = origin
    monkeypatch.setattr(drift, "utc_now", lambda: NOW)
    early = drift.run(spark, settings, FLOWS, EventSpan(T0, T0 + timedelta(days=2)), who="me", now=T0 + timedelta(days=2), say=told)
    assert [(one.hours, one.note[:17]) for one in early] == [([], "no reference yet:")]
    assert tables.drift(settings, "flows", T0.date(), NOW.date()) == []

    day = ["--from", (WEEK.until).isoformat(), "--to", NOW.isoformat()]
    assert main.run(["drift", *day, "--json"]) == 0
    (quiet,) = json.loads(capsys.readouterr().out)
    assert (quiet["reference"], quiet["hours"], quiet["alarms"]) == ("served", 24, [])
    (week,) = tables.references(settings, "flows")
    assert (week["first"], week["until"], week["sensor_id"]) == (WEEK.first, WEEK.until, "s1")

    rng = np.random.default_rng(6)
    add(settings, model, watchingdata.table(rng, range(END_HOUR, END_HOUR + 1), shift="one way"))
    assert main.run(["drift", *day]) == 10
    said = capsys.readouterr()
    assert "flows, model 1 on s1: " in said.out
    assert "1 alarm" in said.out
    assert f"{T0 + timedelta(hours=END_HOUR):%Y-%m-%d %H:00}" in said.out
    rows = tables.drift(settings, "flows", T0.date(), NOW.date())
    assert {row["hour"] for row in rows if row["state"] == "alarm"} == {T0 + timedelta(hours=END_HOUR)}
    assert len({(row["hour"], row["measure"]) for row in rows}) == len(rows), "a second run replaces the rows of the first"
    page = Path(drift.folder(settings) / "index.html").read_text(encoding="utf-8")
    assert page.count("class=alarm") == sum(row["state"] == "alarm" for row in rows) > 0
    assert "http://www.w3.org" not in page.replace('xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace(
        'xmlns="http://www.w3.org/2000/svg"', ""
    )
    metrics = (drift.folder(settings) / "drift.prom").read_text(encoding="utf-8")
    assert 'flowlake_model_drift_alarm{model_version="1",record="flows",sensor="s1"} 1.0' in metrics


def test_what_spark_counts_is_what_the_rows_hold(spark: SparkSession, origin: tuple[Settings, ScoringModel]) -> None:
    settings, _ = origin
    table = stored.ScoredTable(spark, settings, FLOWS)
    some = EventSpan(T0, T0 + timedelta(hours=30))
    edges = {"feature:flow_duration": np.array([10.0, 1e5]), "alerts": np.array([0.5]), "novelty": np.array([0.5])}
    ((key, hours),) = hourly.count(table, some, {("1", "s1"): edges, ("9", "s1"): edges}).items()
    rows = lake.dataset(lake.location(settings, FLOWS)).to_table(columns=["start_time", "flow_duration", "predicted_label"])
    at = rows["start_time"].cast(pa.int64()).to_numpy() // 3_600_000_000 - int(T0.timestamp()) // 3600
    assert key == ("1", "s1")
    assert [one.hour for one in hours] == [int(T0.timestamp()) // 3600 + n for n in range(30)]
    for number, one in enumerate(hours):
        durations = rows["flow_duration"].to_numpy()[at == number]
        expected = [(durations <= 10).sum(), ((durations > 10) & (durations <= 1e5)).sum(), (durations > 1e5).sum()]
        assert one.counts["feature:flow_duration"].tolist() == expected
        assert one.rows == len(durations)
        assert one.counts["alerts"][1] == rows["predicted_label"].to_numpy()[at == number].sum()
        assert one.counts["novelty"].tolist() == [0, 0], "no detector, no value"


def test_a_named_week_is_the_reference_from_then_on(
    spark: SparkSession, origin: tuple[Settings, ScoringModel], capsys: pytest.CaptureFixture[str]
) -> None:
    settings, _ = origin
    assert main.run(["drift", "--baseline", "2026-03-03", "2026-03-06", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert (made["hours"], made["model_version"]) == (72, "1")
    found = baseline.known(settings, FLOWS, [("1", "s1"), ("1", "other"), ("77", "s1")], told)
    assert list(found) == [("1", "s1")]
    assert found["1", "s1"].source == reference.SERVED
    for span, why in ((("2026-03-03", "2026-03-03T12:00"), "shorter than a day"), (("2025-03-03", "2025-03-06"), "no scored rows")):
        with pytest.raises(ConfigError, match=why):
            main.run(["drift", "--baseline", *span])


def test_a_model_is_compared_with_the_profile_of_its_training(
    spark: SparkSession, home: Path, settings: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    made = settings(log={"level": "error"})
    model = registered(made, profile=True)
    rng = np.random.default_rng(8)
    add(made, model, watchingdata.table(rng, range(8, 32), "s1"))
    add(made, model, watchingdata.table(rng, range(31, 32), "s2", shift="new", share=0.8))
    found = drift.run(spark, made, FLOWS, EventSpan(T0, T0 + timedelta(hours=32)), who="me", now=NOW, say=told)
    assert [(one.sensor_id, one.reference, len(one.hours), len(one.alarms)) for one in found] == [
        ("s1", "training", 24, 0),
        ("s2", "training", 1, 1),
    ]


def test_what_is_not_there_is_said(spark: SparkSession, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StoreError, match="there is no table of flows yet"):
        main.run(["drift"])
    with pytest.raises(ConfigError, match="no record type that is scored"):
        main.run(["drift", "--record", "nonsense"])
    span = between(None, None, WEEK)
    assert span == WEEK
    for first, until, why in (
        ("2026-03-05", "2026-03-04", "is not before"),
        ("1066-01-01", None, "not between"),
        ("soon", None, "is no time"),
    ):
        with pytest.raises(ConfigError, match=why):
            between(first, until, WEEK)
