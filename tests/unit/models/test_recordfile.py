"""Files that a model scores or is compared on: what their labels say, columns that are there twice, other encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError, ModelError
from jobs.models import compare, recordfile, scorefile
from schemas.packets import FLOWS
from tests.unit.training.test_cic import cic_table


class Kinds:
    """As much of a model as is asked here: it tells two attacks apart."""

    classes = ("BENIGN", "SYN_SCAN", "UDP_FLOOD")
    verdicts = (*classes, "UNKNOWN")
    types = verdicts


def labelled(labels: pa.Array) -> recordfile.RecordFile:
    table = cic_table()
    table = table.set_column(table.schema.get_field_index("Label"), "Label", labels)
    return recordfile.of_table(Path("x.parquet"), table, FLOWS)


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 0, 1], [0.0, 1.0] * 3, [False, True] * 3, ["0", "1"] * 3, ["benign", "attack"] * 3])
def test_a_file_that_says_attack_or_benign_alone_is_judged_so(labels: list[object]) -> None:
    file = labelled(pa.array(labels))
    y, names = recordfile.truth(file, Kinds(), FLOWS)  # type: ignore[arg-type]
    assert y.tolist() == ["BENIGN", "ATTACK"] * 3
    taken = names[[0, 1, 0, 2, 0, 3]]
    found = scorefile.judged(y, taken, taken != "BENIGN")
    assert (found.f1, found.false_positive_rate, found.macro_f1) == (1.0, 0.0, 1.0)
    assert sorted(set(compare.held_out_of(file, FLOWS).flows.y.tolist())) == ["ATTACK", "BENIGN"]


def test_what_is_no_label_is_left_out_and_what_looks_like_benign_is_told() -> None:
    file = labelled(pa.array(["BENIGN", "BENIN", "UNKNOWN", "nan", None, "Botnet"]))
    assert file.labels is not None
    assert file.labels.tolist() == ["BENIGN", "BENIN", "", "", "", "Botnet"]
    assert file.notes == (
        "1 rows labelled UNKNOWN taken as without a label: so a model calls what it does not know",
        "label 'BENIN': did you mean BENIGN? it is taken for an attack",
    )
    with pytest.raises(InputError, match="did you mean BENIGN"):
        compare.held_out_of(file, FLOWS)


def test_rows_of_another_version_of_the_features_are_told_and_not_compared_on() -> None:
    table = cic_table().append_column("feature_version", pa.array(["1", "1", "0", "0", "1", "1"]))
    file = recordfile.of_table(Path("x.parquet"), table, FLOWS)
    assert any(note.startswith("2 rows of another feature-schema version than 1") for note in file.notes)
    assert compare.held_out_of(file, FLOWS).origin == "4 records of x.parquet, 2 rows left out"


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    table = cic_table()
    for name, error in (("Flow Duration", ModelError), ("Label", InputError)):
        twice = pa.table([*table.columns, table[name]], names=[*table.column_names, name])
        pq.write_table(twice, tmp_path / "twice.parquet")
        with pytest.raises(error, match=f"2 columns {name}"):
            recordfile.read(tmp_path / "twice.parquet", FLOWS)


def test_a_csv_file_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("Flow Duration,Label\n1,Web Attack \N{EN DASH} XSS\n".encode("cp1252"))
    with pytest.raises(InputError, match="column Label is not UTF-8") as e:
        recordfile.read(tmp_path / "a.csv", FLOWS)
    assert "iconv" in e.value.hint


def test_what_csv_cannot_hold_is_told(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([[1], [2]]), "b": np.arange(2)})
    with pytest.raises(InputError, match="list") as e:
        scorefile.write(table, tmp_path / "out.csv")
    assert ".parquet" in e.value.hint
    assert not list(tmp_path.iterdir())
