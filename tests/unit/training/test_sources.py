"""Labelled records in files: several, CSV, twice the same, contradictions; what goes together and what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from infra import config
from infra.errors import ConfigError, FlowlakeError, ModelError
from jobs.training.fit import CANDIDATES
from jobs.training.labelled import LabelledFlows
from jobs.training.sampling import HashedRows, Sample, even, mixed
from jobs.training.sources import Sourced, TrainingData, load
from schemas.cicflowcsv import CSV, TOP_FEATURES
from tests.unit.training.test_cic import cic_table

REFERENCE = [CSV.others[name][0] for name in TOP_FEATURES]


def read(*places: Path, **options: object) -> Sourced:
    return load(config.build(), TrainingData(records=tuple(map(str, places)), **options))  # type: ignore[arg-type]


def reference(tmp_path: Path, **more: list[object]) -> Path:
    """A CSV file as the reference writes it: a time, 20 features, what a model has said."""
    table = cic_table().select(["Timestamp", *REFERENCE]).append_column("Predicted_Label", pa.array([0, 1] * 3))
    for name, values in {"Confidence_Score": [0.1, 0.9] * 3, **more}.items():
        table = table.append_column(name, pa.array(values))
    csv.write_csv(table, tmp_path / "flows.csv")
    return tmp_path / "flows.csv"


def test_what_a_model_has_said_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Predicted_Label is what a model has said, not what is true") as e:
        read(reference(tmp_path))
    assert "flowlake labels export" in e.value.hint


def test_a_csv_file_of_twenty_features_with_labels(tmp_path: Path) -> None:
    found = read(reference(tmp_path, Label=[0, 1, 0, 1, 1, 0]))
    assert sorted(found.flows.y.tolist()) == ["ATTACK"] * 3 + ["BENIGN"] * 3
    assert set(found.flows.columns) < set(TOP_FEATURES)
    assert set(found.flows.group.tolist()) == {"2017-07-03", "2017-07-04"}
    assert found.version.startswith("sha256:")
    at = found.flows.columns.index("flow_duration")
    assert sorted(found.flows.x[:, at].tolist()) == sorted(cic_table()["Flow Duration"].to_pylist())
    assert np.allclose(np.sort(found.flows.age), np.sort(np.array(cic_table()["Flow Duration"]) / 1e6))


def test_a_number_in_csv_that_is_none(tmp_path: Path) -> None:
    file = reference(tmp_path, Label=["BENIGN", "Botnet"] * 3)
    lines = file.read_text().splitlines()
    lines[3] = lines[3].replace(lines[3].split(",")[1], "many", 1)
    file.write_text("\n".join(lines))
    with pytest.raises(ModelError, match="not a readable CSV file") as e:
        read(file)
    assert "many" in str(e.value)
    lines[3] = lines[3].replace("many", "Infinity", 1)
    file.write_text("\n".join(lines))
    assert "1 rows dropped with NaN or infinity in a feature" in read(file).notes


def test_a_folder_of_files_and_the_same_row_twice(tmp_path: Path) -> None:
    table = cic_table()
    (tmp_path / "more").mkdir()
    pq.write_table(table.slice(0, 4), tmp_path / "a.parquet")
    pq.write_table(table.slice(2, 4), tmp_path / "more" / "b.parquet")
    found = read(tmp_path)
    assert len(found.flows) == 6
    assert "2 rows dropped that were there twice" in found.notes
    both = read(tmp_path / "more" / "b.parquet", tmp_path / "a.parquet")
    assert np.array_equal(both.flows.x, found.flows.x), "the order of the files makes no difference"


def test_files_of_the_other_kind_in_a_folder_are_told(tmp_path: Path) -> None:
    pq.write_table(cic_table(), tmp_path / "a.parquet")
    csv.write_csv(cic_table(), tmp_path / "b.csv")
    (tmp_path / "c.csv.gz").write_bytes(b"")
    notes = read(tmp_path).notes
    assert f"2 files in {tmp_path.name} not read: of the other kind, --from csv reads those" in notes
    assert not any("not read" in note for note in read(tmp_path / "a.parquet").notes)


def test_a_row_with_two_labels_is_left_out(tmp_path: Path) -> None:
    table = cic_table()
    other = table.slice(1, 1)
    other = other.set_column(other.schema.get_field_index("Label"), "Label", pa.array(["BENIGN"]))
    pq.write_table(pa.concat_tables([table, other]), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert sorted(found.flows.y.tolist()) == ["BENIGN", "BENIGN", "BENIGN", "Heartbleed", "SSH-Patator"]
    assert "2 rows dropped that were there with two labels" in found.notes


def test_files_of_two_layouts(tmp_path: Path) -> None:
    pq.write_table(cic_table(), tmp_path / "a.parquet")
    own = pa.table({n: np.arange(3) for n in CANDIDATES}).append_column("label", pa.array(["BENIGN", "SYN_SCAN", "BENIGN"]))
    pq.write_table(own, tmp_path / "b.parquet")
    with pytest.raises(ModelError, match=r"b\.parquet: other features than a\.parquet"):
        read(tmp_path)


@pytest.mark.parametrize("word", ["BENING", "beningn", "Benign."])
def test_benign_misspelt_is_no_attack(tmp_path: Path, word: str) -> None:
    table = cic_table()
    at = table.schema.get_field_index("Label")
    pq.write_table(table.set_column(at, "Label", pa.array([word, *["Botnet"] * 5])), tmp_path / "a.parquet")
    with pytest.raises(ModelError, match="did you mean BENIGN"):
        read(tmp_path / "a.parquet")


def test_a_label_that_nobody_declares_is_named(tmp_path: Path) -> None:
    table = cic_table()
    at = table.schema.get_field_index("Label")
    pq.write_table(table.set_column(at, "Label", pa.array(["BENIGN", "HTTPS_FLOOD", *["Custom"] * 4])), tmp_path / "a.parquet")
    notes = read(tmp_path / "a.parquet").notes
    assert any("'HTTPS_FLOOD' is no attack type that is declared" in n and "did you mean HTTP_FLOOD?" in n for n in notes)
    assert any("'Custom'" in n and "did you mean" not in n for n in notes)


def test_the_files_of_a_delta_table_are_not_read_as_parquet(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    with pytest.raises(ModelError, match="is a Delta table") as e:
        read(tmp_path, origin="parquet")
    assert "--from lake" in e.value.hint


def flows(n: int, label: str, day: str, begin: int = 0) -> HashedRows:
    ids = mixed(np.arange(begin, begin + n, dtype=np.uint64), 7)
    x = np.arange(begin, begin + n, dtype=np.float32).reshape(-1, 1)
    return HashedRows(LabelledFlows(x, ("a",), np.full(n, label), np.full(n, day), np.ones(n, bool)), ids)


def test_a_sample_is_bounded_and_spread_and_the_same_in_any_order() -> None:
    parts = [
        flows(900, "BENIGN", "mon"),
        flows(40, "BENIGN", "tue", 900),
        flows(300, "BENIGN", "wed", 940),
        flows(30, "SYN_SCAN", "mon", 2000),
    ]
    one, two, three = Sample(100), Sample(100), Sample(100)
    for part in parts:
        one.add(part)
    for part in reversed(parts):
        for at in range(0, len(part.ids), 37):
            two.add(part.where(np.arange(at, min(at + 37, len(part.ids)))))
    for part in parts:  # as Spark's tasks do
        task = Sample(100)
        task.add(part)
        for message in task.messages({}):
            three.merge(message)
    drawn = [sample.drawn() for sample in (one, two, three)]
    assert drawn[0] is not None
    assert {(s.label, s.day): (s.seen, s.kept) for s in drawn[0].strata} == {
        ("BENIGN", "mon"): (900, 33), ("BENIGN", "tue"): (40, 33), ("BENIGN", "wed"): (300, 33), ("SYN_SCAN", "mon"): (30, 30)
    }  # fmt: skip
    assert drawn[0].strata[0].weight == pytest.approx(900 / drawn[0].strata[0].kept)
    for other in drawn[1:]:
        assert other is not None
        assert np.array_equal(other.flows.x, drawn[0].flows.x)
        assert other.strata == drawn[0].strata
    again = Sample(100)
    again.add(HashedRows(parts[0].flows, mixed(np.arange(900, dtype=np.uint64), 8)))
    assert set(again.drawn().flows.x[:, 0]) != set(drawn[0].flows.where(drawn[0].flows.group == "mon").x[:, 0])  # type: ignore[union-attr]


def test_days_share_what_there_is_room_for() -> None:
    assert even([10, 1000, 1000], 500) == 245
    assert even([1, 2], 500) == 500
    assert even([500] * 1000, 10) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--from", "kafka"], "--from 'kafka'"),
        (["--engine", "dask"], "--engine 'dask'"),
        (["--labels", "t.parquet"], "--labels without --records"),
        (["--as-of", "3"], "--as-of without --records"),
        (["--from", "csv"], "--from csv without --records"),
        (["--from", "parquet", "--records", "x.parquet", "--as-of", "3"], "--as-of with --from parquet"),
        (["--from", "generated", "--records", "x.parquet"], "--records with generated traffic"),
        (["--records", "x.parquet", "--seeds", "1,2,3"], "--seeds '1,2,3' with labelled records"),
        (["--from", "lake", "--records", "a", "--records", "b"], "--from lake with 2 times --records"),
        (["--records", "absent.parquet"], "absent.parquet: no such file"),
        (["--records", " "], "--records '': an empty name"),
        (["--records", "absent.parquet", "--card", "."], "--card .: is a folder"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], told: str) -> None:
    import typer

    from jobs.sources.packets.commands.train import train

    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, [*options, "--no-register"])
    assert isinstance(result.exception, FlowlakeError)
    assert told in str(result.exception)
    if told.startswith("--"):
        assert isinstance(result.exception, ConfigError)


def test_a_seed_is_one_that_every_random_choice_takes() -> None:
    import typer

    from jobs.sources.packets.commands.train import train

    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, ["--seed", str(2**32), "--no-register", "--records", "absent.parquet"])
    assert result.exit_code == 2
    assert "4294967295" in result.output
