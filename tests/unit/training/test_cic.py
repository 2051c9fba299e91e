"""Labelled records from files: CICFlowMeter's names, flowlake's own, and what is wrong with them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra import config
from infra.errors import ModelError
from jobs.training.cic import WRONG_IN_CIC
from jobs.training.fit import CANDIDATES, Choices
from jobs.training.sources import Sourced, TrainingData, load
from schemas.features import FEATURES

LABELS = ["BENIGN", "DoS Hulk", "SSH-Patator", "Heartbleed", "DoS Hulk - Attempted", "BENIGN"]


def cic_table(n: int = 6) -> pa.Table:
    rng = np.random.default_rng(0)
    columns: dict[str, object] = {f.cic: rng.integers(0, 9, n).astype(np.float64 if f.kind == "float" else np.int64) for f in FEATURES}
    columns["Timestamp"] = [f"2017-07-0{3 + i % 2} 12:00:00.123" for i in range(n)]
    columns["Label"] = LABELS[:n]
    return pa.table(columns)


def load_records(file: Path) -> Sourced:
    return load(config.build(), TrainingData("parquet", (str(file),)))


def write(tmp_path: Path, table: pa.Table) -> Path:
    pq.write_table(table, tmp_path / "records.parquet")
    return tmp_path / "records.parquet"


def test_names_labels_and_days(tmp_path: Path) -> None:
    loaded = load_records(write(tmp_path, cic_table()))
    flows = loaded.flows
    assert sorted(zip(flows.y.tolist(), flows.group.tolist(), strict=True)) == [
        ("BENIGN", "2017-07-03"), ("BENIGN", "2017-07-03"), ("BENIGN", "2017-07-04"), ("DoS Hulk", "2017-07-04"),
        ("Heartbleed", "2017-07-04"), ("SSH-Patator", "2017-07-03"),
    ]  # fmt: skip
    assert not set(flows.columns) & set(WRONG_IN_CIC)
    assert set(flows.columns) <= set(CANDIDATES)
    at = flows.columns.index("fwd_init_win_bytes")
    assert sorted(flows.x[:, at].tolist()) == sorted(cic_table().column("FWD Init Win Bytes").to_pylist())
    notes = " ".join(loaded.notes)
    assert "1 rows labelled '.. - Attempted' taken as BENIGN" in notes
    assert "Subflow Fwd Bytes" in notes


def test_a_file_of_our_own_meter_has_no_wrong_columns(tmp_path: Path) -> None:
    table = cic_table()
    labels = ["NeedManualLabel", *table.column("Label").to_pylist()[1:]]
    table = table.set_column(table.schema.get_field_index("Label"), "Label", pa.array(labels))
    ours = {name: np.zeros(table.num_rows) for name in ("bwd_act_data_pkts", "bwd_seg_size_min")}
    for name, values in {**ours, "feature_version": ["1"] * table.num_rows}.items():
        table = table.append_column(name, pa.array(values)) if name not in table.schema.names else table
    loaded = load_records(write(tmp_path, table))
    assert set(WRONG_IN_CIC) - {"subflow_fwd_packets", "subflow_bwd_packets"} <= set(loaded.flows.columns)
    assert len(loaded.flows) == len(load_records(write(tmp_path, cic_table())).flows) - 1
    assert "NeedManualLabel" not in loaded.flows.y
    assert not any("known to be wrong" in note for note in loaded.notes)


def test_own_names_with_times(tmp_path: Path) -> None:
    table = pa.table({n: np.arange(3) for n in CANDIDATES})
    times = [datetime(2026, 1, day, 23, 59, tzinfo=UTC) for day in (1, 2, 2)]
    table = table.append_column("start_time", pa.array(times, pa.timestamp("us", "UTC")))
    table = table.append_column("closed", pa.array([True, False, True])).append_column("label", pa.array(["BENIGN", "SYN_SCAN", "BENIGN"]))
    flows = load_records(write(tmp_path, table)).flows
    assert flows.columns == CANDIDATES
    assert sorted(zip(flows.x[:, 0].tolist(), flows.group.tolist(), flows.closed.tolist(), strict=True)) == [
        (0, "2026-01-01", True), (1, "2026-01-02", False), (2, "2026-01-02", True)
    ]  # fmt: skip


def test_nan_infinity_and_missing_labels_are_dropped_and_counted(tmp_path: Path) -> None:
    table = cic_table()
    at = table.schema.get_field_index("Flow Bytes/s")
    table = table.set_column(at, "Flow Bytes/s", pa.array([np.nan, np.inf, 1.0, 1.0, None, 1.0]))
    labels = pa.array(["BENIGN", "BENIGN", "", "Botnet", "BENIGN", "BENIGN"])
    table = table.set_column(table.schema.get_field_index("Label"), "Label", labels)
    loaded = load_records(write(tmp_path, table))
    assert sorted(loaded.flows.y.tolist()) == ["BENIGN", "Botnet"]
    assert "3 rows with NaN or infinity in Flow Bytes/s" in loaded.notes
    assert "3 rows dropped with NaN or infinity in a feature" in loaded.notes
    assert "1 rows dropped without a label" in loaded.notes


def test_missing_label_column(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no Label column"):
        load_records(write(tmp_path, cic_table().drop_columns(["Label"])))


def test_missing_features_are_named_but_not_those_that_are_left_out_anyway(tmp_path: Path) -> None:
    load_records(write(tmp_path, cic_table().drop_columns(["Subflow Fwd Bytes", "Average Packet Size"])))
    with pytest.raises(ModelError, match="missing columns Flow Duration, SYN Flag Count"):
        load_records(write(tmp_path, cic_table().drop_columns(["Flow Duration", "SYN Flag Count"])))


def test_no_usable_row(tmp_path: Path) -> None:
    table = cic_table()
    table = table.set_column(table.schema.get_field_index("Label"), "Label", pa.nulls(6, pa.string()))
    with pytest.raises(ModelError, match="no usable row") as e:
        load_records(write(tmp_path, table))
    assert "6 rows dropped without a label" in e.value.hint


def test_text_in_a_feature(tmp_path: Path) -> None:
    table = cic_table()
    table = table.set_column(table.schema.get_field_index("Flow Duration"), "Flow Duration", pa.array(["a"] * 6))
    with pytest.raises(ModelError, match="column Flow Duration is string"):
        load_records(write(tmp_path, table))


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", None])
def test_unreadable_files(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "bad.parquet"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.parquet") as e:
        load_records(file)
    assert "\n" not in str(e.value)


def test_unreadable_times_mean_no_split_by_day(tmp_path: Path) -> None:
    table = cic_table()
    table = table.set_column(table.schema.get_field_index("Timestamp"), "Timestamp", pa.array(["03/07/2017 08:55"] * 6))
    loaded = load_records(write(tmp_path, table))
    assert set(loaded.flows.group) == {""}
    assert any("no split by day" in n for n in loaded.notes)


@pytest.mark.slow  # many fits
@pytest.mark.skipif("FLOWLAKE_DATA" not in os.environ, reason="FLOWLAKE_DATA is not set")
def test_the_corrected_sample_trains_and_both_splits_are_reported() -> None:
    from infra import config
    from jobs.training.train import train

    sample = Path(os.environ["FLOWLAKE_DATA"]) / "cicids2017_corrected_sample.parquet"
    # the family that auto chooses; each way of holding out beside the first costs a training a fold
    choices = Choices(family="blend")
    report = train(config.build(), wanted=TrainingData(records=(str(sample),)), choices=choices, ways=("day",), register=False)
    assert report.data_version.startswith("sha256:")
    random = report.quality["random"]
    assert random.recall > 0.995
    assert random.false_positive_rate <= 0.003  # of 1,000 benign records, 1 is the goal
    assert random.f1 > 0.998
    assert random.macro_f1 > 0.93, "over all sixteen labels, one of which has three records"
    assert len(report.classes) == 16, "a classifier tells variants of an attack apart"
    assert report.model.attack_types["DoS Hulk"] == "HTTP_FLOOD"
    assert report.quality["by_day"].records == 43_419
    assert report.quality["by_day"].recall < report.quality["random"].recall  # the honest number
    assert not set(report.model.columns) & set(WRONG_IN_CIC)
