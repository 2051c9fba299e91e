"""The bench of novelty, on records of which the answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from infra import config
from infra.errors import ConfigError
from jobs.training.labelled import LabelledFlows, concat
from ops.bench.novelty import ALONE, BOTH, compare, crossed, run, tables
from ops.bench.rivals import RIVALS
from schemas.features import ALL_FEATURES

COLUMNS = ("flow_duration", "total_fwd_packets", "fwd_seg_size_min")


def records(day: str, label: str, n: int, middle: float, seed: int) -> LabelledFlows:
    rng = np.random.default_rng(seed)
    x = np.column_stack([middle * np.exp(rng.normal(size=n)), middle * rng.random(n), np.full(n, 20)]).astype(np.float32)
    return LabelledFlows(x, COLUMNS, np.full(n, label), np.full(n, f"2017-07-0{day}"), np.ones(n, bool))


def days() -> LabelledFlows:
    usual = [records(day, "BENIGN", 200, 100, seed) for seed, day in enumerate("345")]
    scans = [records(day, "SYN_SCAN", 20, 1e6, seed) for seed, day in enumerate("345", 9)]
    return concat([*usual, *scans, records("5", "UDP_FLOOD", 40, 1e7, 12)])


#: Of each sort one or two; boosted trees take long.
QUICK = ("tails", "PCA reconstruction", "Mahalanobis distance", "nearest benign record", "forest of 20 columns", "member near TCP")


@pytest.mark.parametrize("name", QUICK)
def test_each_finds_what_is_far_from_all_benign_records(name: str) -> None:
    flows = days()
    flagged = crossed(flows, RIVALS[name], 0.02, seed=1)
    assert flagged.shape == (700,)
    assert flagged[~flows.attack].mean() < 0.06
    assert flagged[flows.attack].mean() > 0.9


def test_no_record_of_the_day_is_fitted_to() -> None:
    seen: list[frozenset[str]] = []

    def rival(flows: LabelledFlows, seed: int):
        seen.append(frozenset(flows.group.tolist()))
        return lambda x: x[:, 0].astype(float)

    crossed(days(), rival, 0.02, seed=1)
    three = ["2017-07-03", "2017-07-04", "2017-07-05"]
    assert seen == [*(frozenset({day}) for day in reversed(three)), *(frozenset(three) - {day} for day in three)]


def test_rows_and_their_table() -> None:
    lines: list[str] = []
    rows = compare(days(), ["tails"], 0.02, [1, 2], lines.append)
    assert lines == ["tails, seed 1", "tails, seed 2"]
    assert [row["seed"] for row in rows] == [1, 2]
    assert set(rows[0]["kinds"]) == {"SYN_SCAN", "UDP_FLOOD"}
    low, high = rows[0]["fpr_95"]
    assert low <= rows[0]["fpr"] <= high
    table, kinds = tables({"rows": rows})
    assert table.row_count == 2
    assert list(kinds.columns[0].cells) == ["SYN_SCAN", "UDP_FLOOD"]
    assert [str(column.header) for column in kinds.columns] == ["found of", "tails, 1", "tails, 2"]


def written(folder: Path, flows: LabelledFlows) -> Path:
    cic = {feature.name: feature.cic for feature in ALL_FEATURES}
    rng = np.random.default_rng(3)
    table = {feature.cic: rng.integers(0, 3, len(flows)).astype(float) for feature in ALL_FEATURES}
    table |= {cic[name]: flows.x[:, at].astype(float) for at, name in enumerate(flows.columns)}
    stamps = [f"{day} 10:00:00" for day in flows.group.tolist()]
    pq.write_table(pa.table({**table, "Timestamp": stamps, "Label": flows.y.tolist()}), folder / "records.parquet")
    return folder / "records.parquet"


@pytest.mark.slow
def test_the_command_compares_what_is_trained_with_a_detector(tmp_path: Path) -> None:
    from ops.cli.bench import app

    file = written(tmp_path, days())
    told = ["--only", f"tails,{ALONE},{BOTH}", "--max-fpr", "0.02", "--json", str(tmp_path / "out.json")]
    done = CliRunner().invoke(app, ["novelty", "--records", str(file), *told], standalone_mode=False)
    result = json.loads((tmp_path / "out.json").read_text())
    assert done.return_value == (0 if result["met"] else 1), done.output
    assert [row["way"] for row in result["rows"]] == ["tails", ALONE, BOTH]
    assert result["records"] == 700
    assert result["rows"][2]["recall"] >= result["rows"][1]["recall"]


def test_other_names_and_too_few_days_are_refused(tmp_path: Path) -> None:
    settings = config.load()
    with pytest.raises(ConfigError, match="magic"):
        run(settings, records=["none.parquet"], names=["magic"])
    flows = days()
    file = written(tmp_path, flows.where(flows.group != "2017-07-05"))
    with pytest.raises(ConfigError, match="of 2 days"):
        run(settings, records=[str(file)], say=lambda line: None)
