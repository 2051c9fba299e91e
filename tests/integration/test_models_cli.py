"""``flowlake models``: what it shows, does, refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from infra.errors import ConfigError, InputError, ModelError
from jobs.models import recordfile, scorefile
from jobs.training.labelled import LabelledFlows
from ops.cli.main import run
from schemas.features import FEATURES
from schemas.packets import FLOWS
from tests.modelversions import labelled, local, put

CIC = {feature.name: feature.cic for feature in FEATURES}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Champion 1, version 2 as good, version 3 blind to floods."""
    folder = tmp_path_factory.mktemp("models")
    held_out = labelled()
    put(local(folder), promote=True, held_out=held_out)
    put(local(folder), held_out=held_out)
    put(local(folder), held_out=held_out, blind="UDP_FLOOD")
    return folder


@pytest.fixture
def conf(origin: Path, tmp_path: Path) -> str:
    folder = Path(shutil.copytree(origin, tmp_path / "registry"))
    file = tmp_path / "conf.yaml"
    places = {"tracking_uri": f"sqlite:///{folder / 'mlflow.db'}", "artifact_root": str(folder / "artifacts")}
    file.write_text(yaml.safe_dump({"scoring": places}))
    return str(file)


@pytest.fixture
def say(conf: str, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """What a command prints."""

    def said(*words: str) -> str:
        capsys.readouterr()
        run(["models", *words, "--conf-file", conf])
        return capsys.readouterr().out

    return said


def file_of(flows: LabelledFlows, path: Path, *, cic: bool, **columns: object) -> Path:
    names = [CIC[name] if cic else name for name in flows.columns]
    table = pa.table({**{name: flows.x[:, i] for i, name in enumerate(names)}, **columns})
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def test_list_and_show(say, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = json.loads(say("list", "--json"))
    assert [(one["version"], one["aliases"], one["threshold"]) for one in found] == [
        ("3", [], 0.5),
        ("2", [], 0.5),
        ("1", ["champion"], 0.5),
    ]
    table = say("list")
    assert "champion" in table
    assert "random records seed 5" in table
    shown = say("show", "champion")
    for part in ("version 1", "threshold rule", "half", "sha256", "card.html", "held out recall", "promote champion none -> 1"):
        assert part in shown
    assert say("show", "1", "--card", str(tmp_path / "card.html")) == f"{tmp_path / 'card.html'}\n"
    assert (tmp_path / "card.html").read_text() == "<html>a card</html>"


def test_compare_says_what_flips(say, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = json.loads(say("compare", "champion", "3", "--json"))
    flips = {one["label"]: one for one in found["flips"]}
    assert list(flips) == ["BENIGN", "SYN_SCAN", "UDP_FLOOD"]
    assert flips["UDP_FLOOD"]["first"] > 0.9 * flips["UDP_FLOOD"]["records"]
    assert flips["SYN_SCAN"]["first"] == 0
    flows = labelled(200)
    file = file_of(flows, tmp_path / "some.csv", cic=True, Label=[name.lower() if name == "BENIGN" else name for name in flows.y.tolist()])
    table = say("compare", "1", "3", "--records", str(file))
    assert "200 records of some.csv" in table
    assert "by 1 alone" in table
    with pytest.raises(ConfigError, match="with --generated"):
        say("compare", "1", "3", "--records", str(file), "--generated")
    with pytest.raises(InputError, match="no column Label"):
        say("compare", "1", "3", "--records", str(file_of(flows, tmp_path / "bare.parquet", cic=False)))


def test_promote_through_gates_and_back(say) -> None:  # type: ignore[no-untyped-def]
    assert "champion: would be version 2 (is: 1); nothing was changed" in say("promote", "2", "--dry-run")
    assert json.loads(say("promote", "2", "--dry-run", "--json"))["promoted"] is False
    with pytest.raises(ModelError, match=r"version 3 is not promoted: .*recall of UDP_FLOOD"):
        say("promote", "3", "--dry-run")
    assert json.loads(say("show", "champion", "--json"))["version"] == "1"
    assert "champion: version 2 (was: 1)" in say("promote", "2")
    with pytest.raises(ModelError, match=r"version 3 is not promoted: .*recall of UDP_FLOOD"):
        say("promote", "3")
    with pytest.raises(ConfigError, match="--force without --reason"):
        say("promote", "3", "--force")
    assert json.loads(say("promote", "3", "--force", "--reason", "a drill", "--json"))["forced"] is True
    assert "champion: version 2 (was: 3)" in say("rollback")
    assert "version 3: retired: blind" in say("retire", "3", "--reason", "blind")
    assert "retired" in say("list")
    with pytest.raises(ModelError, match="retired: blind"):
        say("promote", "3")
    assert "version 3: not retired" in say("retire", "3", "--undo")
    assert "challenger: version 3" in say("promote", "3", "--as", "challenger")
    with pytest.raises(ConfigError, match="--as 'king' is no role"):
        say("promote", "3", "--as", "king")
    with pytest.raises(ConfigError, match="--record 'readings' is no record type"):
        say("list", "--record", "readings")


@pytest.mark.parametrize(("name", "cic"), [("flows.parquet", True), ("flows.csv", True), ("ours.csv", False)])
def test_a_file_is_scored_row_by_row(say, tmp_path: Path, name: str, cic: bool) -> None:  # type: ignore[no-untyped-def]
    flows = labelled(500, seed=21)
    file = file_of(flows, tmp_path / name, cic=cic, id=list(range(500)), Label=flows.y.tolist())
    out = tmp_path / f"scored{file.suffix}"
    said = json.loads(say("score", "champion", str(file), "--out", str(out), "--json"))
    assert said["records"] == 500
    quality = said["quality"]
    assert quality["macro_f1"] > 0.9
    assert quality["f1"] > 0.95
    scored = recordfile.table_of(out)
    assert scored["id"].to_pylist() == list(range(500))
    right = np.array(scored["attack_type"].to_pylist()) == flows.y
    assert right.mean() > 0.9
    assert set(scored["model_version"].to_pylist()) <= {"1", 1}
    assert "macro-F1" in say("score", "1", str(file))


def test_values_that_are_none_are_scored_and_counted(say, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "odd.csv"
    heads = ",".join([" Flow Duration", "Total Fwd Packet", "Flow IAT Mean", "SYN Flag Count", " Label"])
    file.write_text(f"{heads}\n1,2,Infinity,0,Benign\n1,2,,0,Benign\n1,80,junk,90,DoS Hulk - Attempted\n5,60,7,99,\n")
    said = json.loads(say("score", "1", str(file), "--json"))
    assert said["records"] == 4
    assert said["quality"]["records"] == 3
    assert [note.split(":")[0].split(" ")[0] for note in said["notes"]] == ["1", "3", "1"]
    assert [one["label"] for one in said["quality"]["labels"]] == ["BENIGN"]
    assert said["quality"]["recall"] is None


def test_labels_that_are_no_classes_are_told_by_their_alerts(tmp_path: Path) -> None:
    file = recordfile.of_table(tmp_path, pa.table({"Label": ["BENIGN", "DDoS", "PortScan"]}), FLOWS)

    class Named:
        classes, verdicts, types = ("BENIGN", "dos"), ("BENIGN", "dos", "UNKNOWN"), ("BENIGN", "HTTP_FLOOD", "UNKNOWN")

    y, names = recordfile.truth(file, Named(), FLOWS)  # type: ignore[arg-type]
    assert y.tolist() == ["BENIGN", "HTTP_FLOOD", "SYN_SCAN"]
    assert names.tolist() == list(Named.types)

    class Mixed:
        classes, verdicts, types = ("BENIGN", "HTTP_FLOOD", "Heartbleed"), ("BENIGN", "HTTP_FLOOD", "Heartbleed", "UNKNOWN"), ()

    file = recordfile.of_table(tmp_path, pa.table({"Label": ["Benign", "DDoS", "Heartbleed", "PortScan"]}), FLOWS)
    y, names = recordfile.truth(file, Mixed(), FLOWS)  # type: ignore[arg-type]
    assert y.tolist() == ["BENIGN", "HTTP_FLOOD", "Heartbleed", "PortScan"], "each by the name that the model has for it"
    assert names.tolist() == list(Mixed.verdicts)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "neither Parquet nor CSV"),
        (b"PAR1 and no more", "neither Parquet nor CSV"),
        (b"a,b\n", "no rows"),
        (b"a,b\n1,2\n", "missing columns flow_duration"),
    ],
)
def test_a_file_that_is_none_is_said_so(say, tmp_path: Path, content: bytes | None, said: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "flows.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((InputError, ModelError), match=f"{file}: {said}"):
        say("score", "1", str(file))


def test_quality_of_verdicts_is_counted_by_hand() -> None:
    y = np.array(["BENIGN"] * 4 + ["A"] * 4 + ["B"] * 2)
    taken = np.array(["BENIGN", "BENIGN", "BENIGN", "A", "A", "A", "B", "BENIGN", "B", "B"])
    found = scorefile.judged(y, taken, taken != "BENIGN")
    assert (found.recall, found.precision, found.false_positive_rate) == (5 / 6, 5 / 6, 0.25)
    assert found.f1 == pytest.approx(10 / 12)
    by_label = {one.label: (one.records, one.flagged, one.typed, one.f1) for one in found.labels}
    assert by_label == {"BENIGN": (4, 1, 3, 6 / 8), "A": (4, 3, 2, 4 / 7), "B": (2, 2, 2, 4 / 5)}
    assert found.macro_f1 == pytest.approx((6 / 8 + 4 / 7 + 4 / 5) / 3)


def test_the_sample_is_scored_by_a_model_of_generated_columns(say, flowlake_data: Path) -> None:  # type: ignore[no-untyped-def]
    said = json.loads(say("score", "1", str(flowlake_data / "cicids2017_corrected_sample.parquet"), "--json"))
    assert said["records"] > 10_000
    assert sum(said["taken"].values()) == said["records"]
    assert said["quality"]["records"] == said["records"]
