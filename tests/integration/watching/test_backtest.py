"""``flowlake models backtest`` on a Delta table, with Spark: what it says is what comes out when each row is looked at alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from infra.config import Settings
from infra.errors import ConfigError, ModelError, StoreError
from jobs.runtime import lake
from jobs.scoring import registry
from jobs.scoring.model import ScoringModel
from jobs.sinks import labels, parquet
from jobs.watching import backtest
from ops.cli import main
from schemas.labels import BENIGN
from schemas.packets import FLOWS
from tests import registries
from tests.champions import crown
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS, fitted, labels_of

pytestmark = pytest.mark.integration

T0 = datetime(2026, 3, 2, tzinfo=UTC)
ROWS, LABELLED, OTHERS = 1200, 400, 37


def told(line: str) -> None:
    assert line


@pytest.fixture
def made(settings: Callable[..., Settings]) -> Settings:
    return settings(log={"level": "error"})


@pytest.fixture
def models(made: Settings) -> tuple[ScoringModel, ScoringModel]:
    """What has scored the lake, and what is to be tried: a single tree."""
    training = registry.Training("a test", {}, {})
    for how in ({}, {"n_estimators": 1, "max_depth": 12, "random_state": 8}):
        registry.register(registries.begin(made), FLOWS, fitted(**how), columns=COLUMNS, threshold=0.5, training=training)
    crown(made, "1")
    return registry.load_version(made, FLOWS, "1"), registry.load_version(made, FLOWS, "2")


@pytest.fixture
def stored(made: Settings, models: tuple[ScoringModel, ScoringModel]) -> pd.DataFrame:
    """Rows of the lake over two days of two sensors, with what the other model says and what their labels say."""
    old, new = models
    records = pa.Table.from_batches([random_records(ROWS, seed=4)])
    kind = records.schema.field("start_time").type
    changed = {
        "start_time": pa.array([T0 + timedelta(minutes=2 * n) for n in range(ROWS)], kind),
        "sensor_id": pa.array(["s1" if n % 3 else "s2" for n in range(ROWS)]),
        "flow_id": pa.array([f"flow-{n}" for n in range(ROWS)]),
        "feature_version": pa.array(["0" if n < OTHERS else "1" for n in range(ROWS)]),
    }
    for name, values in changed.items():
        at = records.column_names.index(name)
        records = records.set_column(at, records.schema.field(at), values.cast(records.schema.field(at).type))
    scored = pa.Table.from_batches([old.score(records)])
    write_deltalake(lake.location(made, FLOWS), parquet.dated(scored, FLOWS), partition_by=[parquet.PARTITION])
    rows = scored.select(["flow_id", "start_time", "sensor_id", "attack_type", "confidence_score"]).to_pandas()
    again = new.score(records)
    rows["now"], rows["score"] = again.column("attack_type").to_pylist(), again.column("confidence_score").to_pylist()
    rows["truth"] = ["" if n >= LABELLED else kind for n, kind in enumerate(labels_of(records.to_batches()[0]).tolist())]
    said = {"record_type": "flows", "source": "test", "labelled_by": "me", "labelled_at": T0, "note": None}
    labels.put(
        made,
        [
            {**said, "record_key": key, "label": int(truth != BENIGN), "attack_type": truth}
            for key, truth in zip(rows["flow_id"], rows["truth"], strict=True)
            if truth
        ],
    )
    return rows[OTHERS:]


def test_the_table_the_page_and_each_row_alone_say_the_same(
    spark: SparkSession, made: Settings, stored: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    before = DeltaTable(lake.location(made, FLOWS)).version()
    assert main.run(["models", "backtest", "2", "--from", "2026-03-02", "--to", "2026-03-05", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["left_out"]) == (len(stored), OTHERS)
    assert (found["labelled"], found["labelled_attacks"]) == ((stored.truth != "").sum(), (~stored.truth.isin(["", BENIGN])).sum())
    assert found["benign_both"] == ((stored.attack_type == BENIGN) & (stored.now == BENIGN)).sum()
    day = stored.start_time.dt.date.astype(str)
    kinds = sorted(({*stored.attack_type, *stored.now, *stored.truth}) - {"", BENIGN})
    assert len(kinds) == 2
    assert {(one["day"], one["sensor"], one["kind"]) for one in found["lines"]} == {
        (d, s, k) for d in set(day) for s in ("s1", "s2") for k in kinds
    }
    for line in found["lines"]:
        rows = stored[(day == line["day"]) & (stored.sensor_id == line["sensor"])]
        kind, then, now, truth = line["kind"], rows.attack_type, rows.now, rows.truth
        attack, benign = ~truth.isin(["", BENIGN]), truth == BENIGN
        assert {name: line[name] for name in line if name not in ("day", "sensor", "kind", "mean_score", "least_score")} == {
            "then": (then == kind).sum(), "now": (now == kind).sum(), "both": ((then == kind) & (now == kind)).sum(),
            "raised": ((now == kind) & (then == BENIGN)).sum(), "missed": ((then == kind) & (now == BENIGN)).sum(),
            "retyped": ((now == kind) & (then != kind) & (then != BENIGN)).sum(),
            "true_then": ((then == kind) & attack).sum(), "true_now": ((now == kind) & attack).sum(),
            "false_then": ((then == kind) & benign).sum(), "false_now": ((now == kind) & benign).sum(),
            "labelled": (truth == kind).sum(), "found_then": ((truth == kind) & (then != BENIGN)).sum(),
            "found_now": ((truth == kind) & (now != BENIGN)).sum(),
        }  # fmt: skip
        assert line["mean_score"] == pytest.approx(rows.score[now == kind].mean())
        assert line["least_score"] == rows.score[now == kind].min()
    assert found["total"]["raised"] > 0
    assert found["total"]["missed"] > 0
    at = stored.set_index("flow_id")
    for one in found["examples"]:
        row = at.loc[one["key"]]
        assert (one["score"], one["score_then"]) == (row.score, row.confidence_score)
        assert (row.now, row.attack_type) == ((one["kind"], BENIGN) if one["change"] == "raised" else (BENIGN, one["kind"]))
    assert DeltaTable(lake.location(made, FLOWS)).version() == before

    assert main.run(["models", "backtest", "2", "--from", "2026-03-02", "--to", "2026-03-05"]) == 0
    said = capsys.readouterr().out
    page = Path(said.rpartition("page: ")[2].strip()).read_text(encoding="utf-8")
    (body,) = re.findall(r"least</th>.*?<tbody>(.*?)</tbody>", page, re.DOTALL)[:1]
    cells = [re.sub(r"<[^>]*>", "|", row).replace("||", "|").strip("|").split("|") for row in body.split("</tr>") if row]
    shown = [
        [line[name] for name in ("day", "sensor", "kind")] + [f"{line[name]:,}" for name in ("then", "now", "both")]
        for line in found["lines"]
    ]
    assert [row[:6] for row in cells] == shown
    assert f"raised now and not then: {found['total']['raised']:,}" in page
    assert f"raised now and not then: {found['total']['raised']:,}" in said
    assert all(f"<code>{one['key']}</code>" in page for one in found["examples"])
    assert "http" not in page


def test_verdicts_are_written_into_a_table_of_their_own_once(
    spark: SparkSession, made: Settings, models: tuple[ScoringModel, ScoringModel], stored: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--from", "2026-03-02", "--to", "2026-03-05", "--write", "tried", "--json"]
    for version in ("2", "2", "champion"):
        assert main.run(["models", "backtest", version, *words]) == 0
        place = json.loads(capsys.readouterr().out)["table"]
    rows = DeltaTable(place).to_pandas().set_index("record_key")
    assert rows.model_version.value_counts().to_dict() == {"2": len(stored), "1": len(stored)}
    mine = rows[rows.model_version == "2"].loc[stored.flow_id]
    assert mine.attack_type.tolist() == stored.now.tolist()
    assert mine.confidence_score.tolist() == stored.score.tolist()
    assert rows[rows.model_version == "1"].loc[stored.flow_id].attack_type.tolist() == stored.attack_type.tolist()
    for name in ("labels", "flows", str(Path(lake.location(made, FLOWS)) / "below"), lake.archive(made)):
        with pytest.raises(ConfigError, match="lies at"):
            main.run(["models", "backtest", "2", "--write", name])
    write_deltalake(lake.beside(made, "other"), pa.table({"a": [1]}))
    with pytest.raises(StoreError, match="holds another table"):
        main.run(["models", "backtest", "2", *words[:4], "--write", "other"])
    assert DeltaTable(lake.beside(made, "other")).to_pandas().a.tolist() == [1]


def test_what_cannot_be_tried_is_said(
    spark: SparkSession, made: Settings, stored: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["models", "backtest", "2", "--from", "2025-03-02", "--to", "2025-03-05"]) == 0
    assert "no rows of flows that a model has scored in 2025-03-02 00:00 to 2025-03-05 00:00 UTC" in capsys.readouterr().out
    assert main.run(["models", "backtest", "2", "--from", "2026-03-02", "--to", "2026-03-02T01:00", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["left_out"], found["lines"]) == (0, 30, []), "two minutes apart, all of them of another feature version"
    with pytest.raises(ModelError, match="no version '9'"):
        main.run(["models", "backtest", "9"])
    with pytest.raises(ConfigError, match="no record type that is scored"):
        main.run(["models", "backtest", "2", "--record", "nonsense"])
    assert not backtest.folder(made).joinpath("flows-9.html").exists()
