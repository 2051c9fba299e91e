"""Training records from the lake's Delta table and a truth table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from infra.errors import FlowlakeError, ModelError
from jobs.training.lake import load_lake
from jobs.training.truth import KEY, SPAN
from ops.bench.scoring import random_records
from schemas.features import FEATURE_VERSION


def lake(tmp_path: Path, version: list[str]) -> tuple[Path, pa.Table]:
    records = pa.Table.from_batches([random_records(len(version))])
    records = records.set_column(records.schema.get_field_index("feature_version"), "feature_version", pa.array(version))
    for name in SPAN:  # start before end
        at = records.schema.get_field_index(name)
        records = records.set_column(at, name, pa.array(range(len(version)), pa.int64()).cast(records.schema.field(name).type))
    write_deltalake(str(tmp_path / "flows"), records)
    return tmp_path / "flows", records


def test_labels_are_joined_and_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    path, records = lake(tmp_path, [FEATURE_VERSION] * 5 + ["0"])
    truth = records.select([*KEY, *SPAN]).slice(0, 4).append_column("label", pa.array(["BENIGN", "SYN_SCAN", "BENIGN", "DNS_TUNNEL"]))
    pq.write_table(truth, tmp_path / "truth.parquet")
    loaded = load_lake(path, tmp_path / "truth.parquet")
    assert sorted(loaded.flows.y.tolist()) == ["BENIGN", "BENIGN", "DNS_TUNNEL", "SYN_SCAN"]
    assert any("1 rows dropped of another feature-schema version" in n for n in loaded.notes)
    assert any("1 rows dropped without a label" in n for n in loaded.notes)
    duration = dict(zip(records.column("flow_duration").to_pylist(), ["BENIGN", "SYN_SCAN", "BENIGN", "DNS_TUNNEL"], strict=False))
    at = loaded.flows.columns.index("flow_duration")
    assert {int(x): y for x, y in zip(loaded.flows.x[:, at], loaded.flows.y, strict=True)} == duration


def test_labels_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="carry no labels") as e:
        load_lake(lake(tmp_path, [FEATURE_VERSION])[0], None)
    assert "--labels" in e.value.hint


def test_a_folder_that_is_no_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": ["BENIGN"]}), tmp_path / "truth.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FlowlakeError, match="empty") as e:
        load_lake(tmp_path / "empty", tmp_path / "truth.parquet")
    assert "\n" not in str(e.value)


def test_truth_that_cannot_be_read(tmp_path: Path) -> None:
    path, _ = lake(tmp_path, [FEATURE_VERSION])
    for truth in (tmp_path / "absent.parquet", path):
        with pytest.raises(ModelError, match="truth table") as e:
            load_lake(path, truth)
        assert "\n" not in str(e.value)
