"""Records for a person's look: chosen by reason, spread, bounded, the same for a seed; and their way back as labels."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import write_deltalake
from sklearn.ensemble import RandomForestClassifier

from infra.config import Settings
from infra.errors import CaptureError, ConfigError, StoreError
from jobs.labelling import files
from jobs.labelling.choose import Choosing, Selected, choose
from jobs.scoring.novelty import Novelty, Tails
from jobs.scoring.registry import Training, register
from jobs.sinks import labels
from ops.cli.main import main
from schemas.features import FEATURE_NAMES
from schemas.packets import FLOWS
from tests import registries
from tests.toy_source.records import READING
from tests.unit.training.test_lake import records, say

N = 400


@pytest.fixture
def made(settings: Callable[..., Settings], home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A lake of 400 scored flows f0..: the first half benign by the model, the rest scans; two of them of a name that is a formula."""
    (home / "conf.yaml").write_text(yaml.safe_dump({"lake": {"path": str(home / "lake")}}))
    monkeypatch.setenv("FLOWLAKE_CONF", str(home / "conf.yaml"))
    where = settings(lake={"path": str(home / "lake")})
    write_deltalake(where.lake.path, scored())
    return where


def scored() -> pa.Table:
    table = records(N)
    at = table.schema.get_field_index("sensor_id")
    table = table.set_column(at, "sensor_id", pa.array(["=cmd|' /C calc'!A0"] * N))
    p = np.linspace(0, 1, N)
    label = (p >= 0.5).astype(np.int8)
    challenger = label.copy()
    challenger[[10, 20, 390]] ^= 1
    novelty = np.where(np.arange(N) % 40 == 7, 0.9, 0.1)
    more = {
        "confidence_score": p,
        "predicted_label": label,
        "attack_type": np.where(label == 1, "SYN_SCAN", "BENIGN"),
        "model_version": ["3"] * N,
        "scored_at": table["start_time"],
        "novelty_score": novelty,
        "challenger_score": np.where(challenger != label, 0.7, p),
        "challenger_label": challenger,
        "challenger_version": ["4"] * N,
    }
    for name, values in more.items():
        table = table.append_column(name, pa.array(values) if not isinstance(values, pa.ChunkedArray) else values)
    return table


def number(chosen: Selected) -> list[int]:
    return [int(key[1:]) for key in chosen.rows["flow_id"].to_pylist()]


def test_near_the_threshold_which_the_records_show(made: Settings) -> None:
    chosen = choose(made, FLOWS, Choosing(("near-threshold",), limit=30, margin=0.05))
    assert len(chosen.rows) == 30
    assert all(180 <= n < 220 for n in number(chosen))
    assert chosen.found == {"near-threshold": 40}
    strata = Counter(zip(chosen.rows["attack_type"].to_pylist(), [t.date() for t in chosen.rows["start_time"].to_pylist()], strict=True))
    assert len(strata) == 6, "both predicted types on all three days"
    assert max(strata.values()) - min(strata.values()) <= 1
    assert chosen.why[0].startswith("near the threshold: ")
    moved = choose(made, FLOWS, Choosing(("near-threshold",), limit=30, margin=0.05, threshold=0.9))
    assert all(340 <= n < 381 for n in number(moved))


def test_where_champion_and_challenger_disagree(made: Settings) -> None:
    chosen = choose(made, FLOWS, Choosing(("disagree",)))
    assert sorted(number(chosen)) == [10, 20, 390]
    assert set(chosen.why) == {"the challenger says otherwise, with 0.700"}


def test_the_tails_in_which_a_model_is_sure(made: Settings) -> None:
    chosen = choose(made, FLOWS, Choosing(("tails",), limit=12))
    p = chosen.rows["confidence_score"].to_numpy()
    assert len(p) == 12
    assert ((p < 0.05) | (p > 0.95)).all()
    assert {(p < 0.05).sum(), (p > 0.95).sum()} == {6}


def test_novel_records_are_a_few_of_each_cluster(made: Settings) -> None:
    chosen = choose(made, FLOWS, Choosing(("novel",), limit=3))
    assert chosen.found == {"novel": 10}
    assert len(chosen.rows) == 3
    assert all(n % 40 == 7 for n in number(chosen))
    assert sum(int(why.rsplit(" ", 2)[1]) for why in chosen.why) == 10, "together they stand for all"


@pytest.mark.slow
def test_a_record_is_novel_where_its_model_says_so(made: Settings) -> None:
    """Two versions: one that looks for unknown attacks, one that does not; a third that nobody knows any more."""
    rows = scored()
    novelty, versions = np.full(N, 0.2), np.full(N, "1")
    novelty[:40], novelty[40:60], novelty[60:90], novelty[100:120] = 0.3, 0.24, 0.9, 0.6
    versions[60:90], versions[100:200] = "2", "9"
    for name, values in (("novelty_score", novelty), ("model_version", versions)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    write_deltalake(made.lake.path, rows, mode="overwrite", schema_mode="overwrite")
    begun, columns = registries.begin(made), ("flow_duration", "total_fwd_packets")
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    forest = RandomForestClassifier(3, random_state=1).fit(x, ["BENIGN", "SYN_SCAN"] * 10)
    for detector in (Novelty(Tails.fit(x), columns, 0.25), None):
        register(begun, FLOWS, forest, columns=columns, threshold=0.5, training=Training("a test", {}, {}), novelty=detector)
    chosen = choose(made, FLOWS, Choosing(("novel",)))
    assert chosen.found == {"novel": 60}
    (note,) = chosen.notes
    assert note.startswith("model 9 cannot be asked from which novelty score on a record is novel, 0.5 it is: ")
    asked = choose(made, FLOWS, Choosing(("novel",), novelty=0.22))
    assert (asked.found, asked.notes) == ({"novel": 110}, ()), "one that is given counts for all, and no model is asked"


def test_the_same_seed_chooses_the_same_and_labelled_ones_are_left_out(made: Settings) -> None:
    asked = Choosing(limit=40)
    one, two = (choose(made, FLOWS, asked) for _ in range(2))
    assert (number(one), one.why) == (number(two), two.why)
    assert 36 <= len(one.rows) <= 40, "one that is chosen for two reasons is one row"
    assert set(number(choose(made, FLOWS, Choosing(limit=40, seed=8)))) != set(number(one))
    say(made, {f"f{n}": "benign" for n in number(one)})
    assert not set(number(choose(made, FLOWS, asked))) & set(number(one))


def test_only_what_came_since(made: Settings) -> None:
    chosen = choose(made, FLOWS, Choosing(("tails",), since=datetime(1970, 1, 3, tzinfo=UTC)))
    assert {t.day for t in chosen.rows["start_time"].to_pylist()} == {3}


def test_records_of_an_older_program_have_no_novelty_and_no_challenger(made: Settings) -> None:
    old = scored().drop_columns(["novelty_score", "challenger_score", "challenger_label", "challenger_version"])
    write_deltalake(made.lake.path, old, mode="overwrite", schema_mode="overwrite")
    assert choose(made, FLOWS, Choosing()).found == {"near-threshold": 80, "disagree": 0, "novel": 0, "tails": 40}
    write_deltalake(made.lake.path, records(3), mode="overwrite", schema_mode="overwrite")
    with pytest.raises(StoreError, match="no column confidence_score"):
        choose(made, FLOWS, Choosing())


def test_what_cannot_be_chosen_from(made: Settings, settings: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no reason 'luck'"):
        choose(made, FLOWS, Choosing(("luck",)))
    with pytest.raises(StoreError):
        choose(settings(lake={"path": str(tmp_path / "absent")}), FLOWS, Choosing())


def test_formulas_are_disarmed_and_numbers_stay_numbers(made: Settings, tmp_path: Path) -> None:
    chosen = choose(made, FLOWS, Choosing(("tails",), limit=2))
    rows = chosen.rows.set_column(0, "flow_id", pa.array(["=1+1", "-f2"]))
    at = rows.schema.get_field_index("icmp_code")
    rows = rows.set_column(at, "icmp_code", pa.array([-1, -1]))
    files.write(tmp_path / "look.csv", Selected(rows, ("@why", "why"), {}), FLOWS)
    with (tmp_path / "look.csv").open(newline="") as text:
        found = list(csv.DictReader(text))
    assert [row["flow_id"] for row in found] == ["'=1+1", "'-f2"]
    assert (found[0]["why"], found[0]["icmp_code"], found[0]["label"]) == ("'@why", "-1", "")
    assert {"src_ip", "dst_port", "model_score", "model_attack_type", *FEATURE_NAMES} <= set(found[0])
    assert "attack_type" not in found[0], "nobody takes what a model has said for the label"
    text_of = (tmp_path / "look.csv").read_text()
    (tmp_path / "look.csv").write_text(text_of.replace(",,,'@why", ",benign,,'@why"))
    files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann")
    assert labels.latest(made, FLOWS)["record_key"].to_pylist() == ["=1+1"], "its own identity comes back"


def fill(file: Path, words: dict[str, str]) -> None:
    """As a person would: words into the column label."""
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        told = [words.get(key, "") for key in table["flow_id"].to_pylist()]
        pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", pa.array(told)), file)
        return
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "label": words.get(row["flow_id"], "")} for row in rows)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_out_and_back_again(made: Settings, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"look{ending}"
    chosen = choose(made, FLOWS, Choosing(("disagree",)))
    files.write(file, chosen, FLOWS)
    fill(file, {"f10": "syn_scan", "f20": "benign"})
    back = files.bring_back(made, file, FLOWS, "ann")
    assert (back.done.added, back.skipped, back.unknown, back.conflicts) == (2, 1, (), ())
    stored = {row["record_key"]: row for row in labels.latest(made, FLOWS).to_pylist()}
    assert {key: (row["attack_type"], row["source"], row["labelled_by"]) for key, row in stored.items()} == {
        "f10": ("SYN_SCAN", "ann", "ann"), "f20": ("BENIGN", "ann", "ann")
    }  # fmt: skip
    assert all(row["labelled_at"] is not None for row in stored.values())
    again = files.bring_back(made, file, FLOWS, "ann")
    assert (again.done.added, again.done.changed) == (0, 0)


def test_another_person_who_says_otherwise_is_told_and_nothing_is_overwritten(made: Settings, tmp_path: Path) -> None:
    file = tmp_path / "look.csv"
    file.write_text("flow_id,label,labelled_at\nf1,benign,2026-03-01\nf2,SYN_SCAN,2026-03-01\nnobody,benign,2026-03-01\n")
    assert files.bring_back(made, file, FLOWS, "ann").unknown == ("nobody",)
    file.write_text("flow_id,label,labelled_at\nf1,DNS_TUNNEL,2026-03-02\nf2,SYN_SCAN,2026-03-02\n")
    back = files.bring_back(made, file, FLOWS, "bob")
    assert [str(one) for one in back.conflicts] == ["f1: bob says DNS_TUNNEL, ann says BENIGN"]
    assert labels.Side(made, labels.LABELS).dataset().count_rows() == 5


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("SYN_SCN", "did you mean SYN_SCAN?"),
        ("bening", "did you mean BENIGN?"),
        ("MY_OWN_ATTACK", "is taken with --new-types"),
        ("UNKNOWN", "is what a model says"),
        ("2", "is no attack type that is known"),
    ],
)
def test_a_label_that_nobody_knows_is_rejected_with_what_may_be_meant(made: Settings, tmp_path: Path, word: str, why: str) -> None:
    (tmp_path / "look.csv").write_text(f"flow_id,label\nf1,{word}\nf2,benign\n")
    back = files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann")
    assert (back.done.added, back.done.rejected) == (1, 1)
    with Path(back.done.reject_file).open(newline="") as text:
        (rejected,) = csv.DictReader(text)
    assert (rejected["line"], why.split("is what")[-1] in rejected["reason"]) == ("2", True)


@pytest.mark.parametrize("name", ["model", "Rule:night", "truth", " generator "])
def test_a_person_is_not_called_as_machines_are(made: Settings, tmp_path: Path, name: str) -> None:
    (tmp_path / "look.csv").write_text("flow_id,label\nf1,benign\n")
    with pytest.raises(ConfigError, match="so no person is called") as e:
        files.bring_back(made, tmp_path / "look.csv", FLOWS, name)
    assert "lake label import" in e.value.hint
    assert labels.latest(made, FLOWS).num_rows == 0


def test_a_lake_that_cannot_be_read_is_not_one_without_the_records(made: Settings, tmp_path: Path) -> None:
    (tmp_path / "look.csv").write_text("flow_id,label\nf1,benign\n")
    (log,) = Path(made.lake.path).glob("_delta_log/*.json")
    said = log.read_text()
    log.write_text("{torn")
    back = files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann")
    assert (back.done.added, back.unknown) == (1, ())
    assert back.unasked.startswith("lake ")
    log.write_text(said)
    assert files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann").unasked == ""
    shutil.rmtree(made.lake.path)
    back = files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann")
    assert (back.unknown, back.unasked) == (("f1",), "")


def test_new_types_are_taken_when_that_is_said(made: Settings, tmp_path: Path) -> None:
    (tmp_path / "look.csv").write_text("flow_id,label\nf1,MY_OWN_ATTACK\n")
    assert files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann", new_types=True).done.added == 1
    (tmp_path / "look.csv").write_text("flow_id,label\nf2,my_own_attack\n")
    assert files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann").done.added == 1, "known from now on"


def test_a_file_without_the_columns(made: Settings, tmp_path: Path) -> None:
    (tmp_path / "look.csv").write_text("id,word\nf1,benign\n")
    with pytest.raises(CaptureError, match="its columns are id, word"):
        files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann")


def test_records_of_another_source(settings: Callable[..., Settings], tmp_path: Path) -> None:
    where = settings(sources={"packages": ["jobs.sources", "tests.toy_source"]}, lake={"path": str(tmp_path / "flows")})
    made_up: dict[str, Any] = {
        f.name: pa.array([i * 86_400_000_000 for i in range(8)], pa.int64()).cast(f.type)
        if pa.types.is_timestamp(f.type)
        else pa.array(np.arange(8) / 8).cast(f.type, safe=False)
        for f in READING.published
        if not pa.types.is_string(f.type) and f.name != "novelty_score"
    }
    made_up |= {"reading_id": [f"r{i}" for i in range(8)], "attack_type": ["BENIGN"] * 8, "model_version": ["1"] * 8}
    write_deltalake(str(tmp_path / "readings"), pa.table(made_up))
    chosen = choose(where, READING, Choosing(("tails",)))
    files.write(tmp_path / "look.csv", chosen, READING)
    assert (tmp_path / "look.csv").read_text().startswith("reading_id,reading_time,label,note,why,model_score")
    assert set(chosen.rows["reading_id"].to_pylist()) == {"r0"}


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["labels", *arguments])
    out = capsys.readouterr()
    return int(end.value.code or 0), out.out, out.err


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_labels_that_are_filled_in_are_not_written_over(
    made: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"look{ending}"
    for _ in range(2):
        assert call(capsys, "export", str(file), "--disagree")[0] == 0
    fill(file, {"f10": "attack", "f20": "benign"})
    before = file.read_bytes()
    code, _, err = call(capsys, "export", str(file), "--disagree")
    assert (code, "with 2 labels filled in" in err, f"flowlake labels import {file}" in err) == (2, True, True)
    assert file.read_bytes() == before
    file.write_bytes(b"something else\n")
    assert "no record to look at" in call(capsys, "export", str(file), "--disagree", "--since", "2999-01-01")[1]


def test_rows_without_type_or_day_are_chosen_too(made: Settings) -> None:
    table = scored()
    for name in ("attack_type", "start_time"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.nulls(N, table.schema.field(at).type))
    write_deltalake(made.lake.path, table, mode="overwrite")
    assert choose(made, FLOWS, Choosing(("tails",), limit=20)).rows.num_rows == 20


def test_the_commands(made: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "look.csv"
    code, out, _ = call(capsys, "export", str(file), "--disagree", "--novel", "--limit", "5", "--json")
    assert (code, json.loads(out)["rows"]) == (0, 5)
    code, out, _ = call(capsys, "export", str(file), "--disagree")
    assert (code, "3 to choose from" in out, "3 records; fill in" in out) == (0, True, True)
    code, out, _ = call(capsys, "export", str(tmp_path / "none.csv"), "--novel", "--since", "2030-01-01")
    assert (code, "no record to look at; leave out a reason or --since" in out, "fill in" in out) == (0, True, False)
    fill(file, {"f10": "attack", "f390": "SYN_SCN"})
    code, out, err = call(capsys, "import", str(file), "--by", "ann")
    assert (code, out.startswith("1 new, 0 changed, 0 there already, 1 without a label, 1 rejected: "), err) == (0, True, "")
    (tmp_path / "more.csv").write_text("flow_id,label\nf10,benign\ngone,benign\n")
    code, _, err = call(capsys, "import", str(tmp_path / "more.csv"), "--by", "bob")
    assert (code, "1 record that the lake does not hold: gone" in err, "conflict: f10: " in err) == (0, True, True)
    code, out, err = call(capsys, "list", "--json")
    assert (code, len(json.loads(out)), "conflict: f10: " in err) == (0, 2, True)
    for wrong, told in (
        (("export", "look.txt"), ".parquet"),
        (("export", "look.csv", "--since", "soon"), "--since 'soon'"),
        (("export", "look.csv", "--since", "0001-01-01T00:00+14:00"), "is no time"),
        (("export", str(tmp_path / "more.csv" / "look.csv"), "--disagree"), "look.csv: "),
    ):
        code, _, err = call(capsys, *wrong)
        assert (code, told in err) == (2, True)
