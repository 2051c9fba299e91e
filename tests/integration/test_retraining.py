"""A model trained anew from the labels of a lake: killed after every step, going on; beside the champion; one at a time."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import re
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from infra.errors import ConfigError, ModelError
from jobs.models import retraining, runpage, runstate, shadow, versions
from jobs.models.retraining import RetrainOptions, ShadowError, retrain
from jobs.runtime import lake
from jobs.scoring import aliases, registry
from jobs.sinks import labels, parquet
from schemas.packets import FLOWS
from tests.modelversions import labelled, put
from tests.randomrecords import random_records
from tests.retrainkilled import made, until

STEPS = ["label", "train", "evaluate", "challenger", "shadow", "report", "promote"]


def on_one_day(records: pa.RecordBatch) -> pa.RecordBatch:
    """Records that begin one after the other, a minute apart at most: a training leaves out one day after the other."""
    noon = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1e6)
    for name in ("start_time", "end_time"):
        field = records.schema.field(name)
        column = pa.array([noon + i * 60_000_000 for i in range(records.num_rows)], pa.int64()).cast(field.type)
        records = records.set_column(records.schema.get_field_index(name), field, column)
    return records


def labels_of(records: pa.RecordBatch) -> list[str]:
    """As :func:`tests.modelversions.labelled` has them."""
    fwd, syn = (records.column(name).to_numpy() for name in ("total_fwd_packets", "syn_flag_count"))
    return np.where(fwd < 50, "BENIGN", np.where(syn < 50, "SYN_SCAN", "UDP_FLOOD")).tolist()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion that is blind to floods, and a lake of 900 records of which 600 are labelled; version 2 has scored 150 of them."""
    folder = tmp_path_factory.mktemp("retraining")
    settings = made(folder)
    put(settings, promote=True, blind="UDP_FLOOD", held_out=labelled(300))
    records = on_one_day(random_records(900, seed=3))
    scored = pa.table(registry.load_champion(settings, FLOWS).score(records))
    beside = [i < 150 for i in range(900)]
    for name, value in (("challenger_version", "2"), ("challenger_label", 1), ("challenger_score", 0.9)):
        field = scored.schema.field(name)
        column = pa.array([value if one else None for one in beside], field.type)
        scored = scored.set_column(scored.schema.get_field_index(name), field, column)
    write_deltalake(lake.location(settings, FLOWS), parquet.dated(scored, FLOWS), partition_by=[parquet.PARTITION])
    now = datetime(2026, 11, 1, tzinfo=UTC)
    said = [
        labels.row({"record_key": key, "label": label, "source": "lab", "labelled_by": "ann"}, FLOWS, {}, now)
        for key, label in zip(records.column("flow_id").to_pylist()[:600], labels_of(records)[:600], strict=True)
    ]
    labels.put(settings, said)
    return folder


@pytest.fixture
def folder(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin, tmp_path / "site"))


def test_a_run_that_is_killed_after_every_step_comes_to_the_same_end(folder: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # delta-rs and MLflow do not work in a fork
    seen: dict[str, Any] = {}
    for number, step in enumerate(STEPS):
        process = context.Process(target=until, args=(folder, step))
        process.start()
        process.join(240)
        assert process.exitcode == -signal.SIGKILL
        (state,) = runstate.place(made(folder)).glob("*/state.json")
        kept = json.loads(state.read_text())["steps"]
        assert list(kept) == STEPS[: number + 1]
        assert {name: kept[name] for name in seen} == seen, "a step that was done is not done again"
        seen = kept
    run = retrain(made(folder, auto_promote=True), FLOWS, RetrainOptions())
    assert run.closed
    assert run.steps == seen
    assert [one.version for one in versions.versions(made(folder), FLOWS)] == ["2", "1"], "one training, one version"
    assert aliases.version_of(made(folder), FLOWS, "champion") == "2"
    assert run.steps["promote"] == {**run.steps["promote"], "promoted": True, "why": "it passed the gates"}
    page = retraining.page(run).read_text()
    learned, held_out = run.steps["label"]["records"], run.steps["label"]["held_out"]
    assert learned + held_out == 600
    assert run.steps["label"]["data_version"] == versions.version(made(folder), FLOWS, "2").fact("data_version") == "flows@0+labels@1"
    for part in (
        "labelled records of the lake, flows version 0",
        f"{held_out} records held out for the gates",
        "Promoted: it passed the gates",
        "recall of UDP_FLOOD",
        "150 records over",
        f"{learned} records to learn from",
        "SYN_SCAN",
    ):
        assert part in re.sub(r"\s+", " ", page)
    assert not re.search(r"(src|href)=", page), "it asks nobody"


def test_a_version_that_was_trained_before_the_kill_is_found_again(folder: Path) -> None:
    settings = made(folder)
    run = runstate.begin(settings, FLOWS, RetrainOptions(shadow=False).plain())
    with registry.marked(**{retraining.TAG: run.name}):
        put(settings, held_out=labelled(300))
    assert put(settings) == "3", "somebody else's"
    done = retrain(settings, FLOWS, RetrainOptions(shadow=False))
    assert (done.name, done.steps["train"]["version"]) == (run.name, "2")
    assert done.steps["shadow"]["skipped"].startswith("not asked for")
    assert done.steps["promote"]["promoted"] is False
    assert "flowlake models promote 2" in done.steps["promote"]["why"]
    assert (aliases.version_of(settings, FLOWS, "champion"), aliases.version_of(settings, FLOWS, "challenger")) == ("1", "2")


def test_a_challenger_that_has_not_scored_enough_is_waited_for(folder: Path) -> None:
    settings = made(folder, shadow_rows=1000)
    run = runstate.begin(settings, FLOWS, RetrainOptions().plain())
    with registry.marked(**{retraining.TAG: run.name}):
        put(settings, held_out=labelled(300))
    with pytest.raises(ShadowError, match="150 of 1,000 records scored by both"):
        retrain(settings, FLOWS, RetrainOptions(), wait=False)
    page = (run.folder / runpage.PAGE).read_text()
    assert "not promoted yet" in page, "what the gates say need not wait for the shadow"
    assert "recall of UDP_FLOOD" in page
    with pytest.raises(ConfigError, match=f"retraining {run.name} is not finished, and has other options"):
        retrain(settings, FLOWS, RetrainOptions(shadow=False))
    assert list(runstate.read(run.folder).steps) == STEPS[:4]
    done = retrain(made(folder), FLOWS, RetrainOptions(), wait=False)
    assert (done.name, done.steps["shadow"]["rows"]) == (run.name, 150)


def test_what_the_two_decided_is_counted(folder: Path) -> None:
    seen = shadow.look(made(folder), FLOWS, "2")
    assert (seen.rows, seen.champion_alone, seen.neither) == (150, 0, 0)
    assert seen.both + seen.challenger_alone == 150
    assert sum(records for records, _ in seen.by_type.values()) == 150
    assert shadow.look(made(folder), FLOWS, "3").rows == 0
    assert "0.0 of 1 hours" in shadow.wait(shadow.Shadow(100, 0.0, 0, 0, 0, 0, {}), made(folder))


def test_two_at_once_and_what_cannot_be_learned_from(folder: Path, tmp_path: Path) -> None:
    settings = made(folder)
    with runstate.alone(settings, FLOWS), pytest.raises(ModelError, match="record type flows is being retrained already"):
        retrain(settings, FLOWS, RetrainOptions())
    with (runstate.place(settings) / "flows.lock").open() as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(ConfigError, match="no such file"):
        retrain(settings, FLOWS, RetrainOptions(source=str(tmp_path / "none.csv")))
    with pytest.raises(ConfigError) as mistyped:
        retrain(settings, FLOWS, RetrainOptions(source="genrated"))
    assert mistyped.value.hint == "did you mean generated?"
    assert runstate.unfinished(settings, FLOWS) is None, "no run begins with it"
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(ModelError):
        retrain(settings, FLOWS, RetrainOptions(source=str(empty)))
    first = runstate.unfinished(settings, FLOWS)
    assert first is not None
    shutil.rmtree(folder / "lake" / "labels")
    with pytest.raises(ModelError, match="flows of a lake carry no labels"):
        retrain(settings, FLOWS, RetrainOptions(), anew=True)
    assert runstate.read(first.folder).closed, "given up"
    (first.folder / "state.json").write_text("{")
    with pytest.raises(ModelError, match=r"state\.json is unreadable"):
        runstate.read(first.folder)


def test_what_comes_from_data_is_escaped_in_the_page(tmp_path: Path) -> None:
    run = runstate.RetrainRun(tmp_path, "flows", {}, "now", {})
    odd = "<script>alert(1)</script>"
    counts = {"records": 1, "held_out": 1, "labels": {"<b>": 1}}
    run.done("label", {"source": odd, "data": odd, "data_version": odd, "notes": [odd], "sha256": "", **counts})
    page = runpage.write(run).read_text()
    assert "<script>" not in page
    assert "&lt;b&gt;" in page
