"""What a column of labels says, of any type; columns that are there twice; rows without a name."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import ModelError
from jobs.training import labelwords
from tests.unit.training.test_cic import cic_table
from tests.unit.training.test_sources import read


def labelled(tmp_path: Path, labels: pa.Array, **more: pa.Array) -> Path:
    table = cic_table()
    table = table.set_column(table.schema.get_field_index("Label"), "Label", labels)
    for name, values in more.items():
        table = table.append_column(name, values)
    pq.write_table(table, tmp_path / "records.parquet")
    return tmp_path / "records.parquet"


@pytest.mark.parametrize(
    "said",
    [
        pa.array([0, 1, 0, 1]),
        pa.array([0.0, 1.0, 0.0, 1.0]),
        pa.array(["0.0", "1.0", "0.", "1.00"]),
        pa.array([False, True, False, True]),
        pa.array([Decimal("0.00"), Decimal("1.00"), Decimal("0.00"), Decimal("1.00")]),
        pa.array([b"BENIGN", b"attack", b"normal", b"1"]),
        pa.array(["Benign", "Attack", "false", "TRUE"]).dictionary_encode(),
    ],
    ids=lambda said: str(said.type),
)
def test_two_labels_in_any_type(said: pa.Array) -> None:
    assert labelwords.words(said, "x").tolist() == ["BENIGN", "ATTACK", "BENIGN", "ATTACK"]


def test_what_says_nothing_and_numbers_that_are_no_words() -> None:
    assert labelwords.words(pa.array([np.nan, np.inf, -np.inf, None, 1e30, -1.0, 0.5]), "x").tolist() == [
        "", "", "", "", str(int(1e30)), "-1", "0.5"
    ]  # fmt: skip
    assert set(labelwords.words(pa.array(["nan", "None", "NULL", " ", "<NA>", "NeedManualLabel"]), "x").tolist()) == {""}
    assert labelwords.words(pa.array([], pa.string()), "x").tolist() == []


@pytest.mark.parametrize("said", [pa.array([["BENIGN"]] * 6), pa.array([0] * 6, pa.timestamp("us"))], ids=str)
def test_a_type_that_holds_no_labels(tmp_path: Path, said: pa.Array) -> None:
    with pytest.raises(ModelError, match=r"records\.parquet: labels of type") as e:
        read(labelled(tmp_path, said))
    assert "as text" in e.value.hint


def test_what_a_model_says_of_what_it_does_not_know_is_no_label(tmp_path: Path) -> None:
    found = read(labelled(tmp_path, pa.array(["BENIGN", "UNKNOWN", "unknown", "Botnet", "BENIGN", "BENIGN"])))
    assert sorted(found.flows.y.tolist()) == ["BENIGN", "BENIGN", "BENIGN", "Botnet"]
    assert "2 rows dropped without a label" in found.notes
    assert any(note.startswith("2 rows labelled UNKNOWN") for note in found.notes)


def test_rows_without_a_name_are_not_one_row(tmp_path: Path) -> None:
    labels = pa.array(["BENIGN", "Botnet"] * 3)
    for nameless in (pa.array([""] * 6), pa.nulls(6, pa.string()), pa.array([" ", "a", None, "b", "", "c"])):
        found = read(labelled(tmp_path, labels, flow_id=nameless))
        assert len(found.flows) == 6
        assert not any("twice" in note for note in found.notes)


def test_no_usable_row_says_what_became_of_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no usable row") as e:
        read(labelled(tmp_path, pa.array(["BENIGN", "Botnet"] * 3), flow_id=pa.array(["x"] * 6)))
    assert "dropped that were there with two labels" in e.value.hint


def test_a_version_of_the_features_that_is_a_number(tmp_path: Path) -> None:
    found = read(labelled(tmp_path, pa.array(["BENIGN", "Botnet"] * 3), feature_version=pa.array([1, 1, 1, 1, 2, 2])))
    assert "2 rows dropped of another feature-schema version than 1" in found.notes


def test_a_feature_that_is_there_twice_is_named(tmp_path: Path) -> None:
    table = cic_table()
    twice = pa.table([*table.columns, table["Flow Duration"]], names=[*table.column_names, "Flow Duration"])
    pq.write_table(twice, tmp_path / "records.parquet")
    with pytest.raises(ModelError, match="2 columns Flow Duration") as e:
        read(tmp_path / "records.parquet")
    assert "leave out" in e.value.hint


def test_what_is_wrong_with_a_csv_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    import pyarrow.csv as csv

    csv.write_csv(cic_table(), tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "b.csv").write_bytes(text.replace("Heartbleed", "Web Attack \N{EN DASH} XSS").encode("cp1252"))
    with pytest.raises(ModelError, match=r"column Label: .*UTF8") as e:
        read(tmp_path / "b.csv")
    assert "iconv" in e.value.hint
    lines = text.splitlines()
    (tmp_path / "c.csv").write_text("\n".join([*lines[:3], f"{lines[3]},1,2", *lines[4:]]))
    with pytest.raises(ModelError, match="columns, got") as e:
        read(tmp_path / "c.csv")
    assert "mend that line" in e.value.hint


def test_a_column_of_names_is_not_taken_for_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.training.rows.MOST_LABELS", 4)
    file = labelled(tmp_path, pa.array(["BENIGN", "host-a", "host-b", "host-c", "host-d", "host-e"]))
    with pytest.raises(ModelError, match="more than 4 different labels, such as 'BENIGN', 'host-a', 'host-b'") as e:
        read(file)
    assert "something else" in e.value.hint


def test_whether_a_record_has_closed_is_true_or_false(tmp_path: Path) -> None:
    file = labelled(tmp_path, pa.array(["BENIGN", "Botnet"] * 3), closed=pa.array(["yes"] * 6))
    with pytest.raises(ModelError, match=r"records\.parquet: column closed: ") as e:
        read(file)
    assert "true and false" in e.value.hint
