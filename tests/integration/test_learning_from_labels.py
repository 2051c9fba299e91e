"""From a lake to a better model: what the first model misses is labelled by a person, and the next one finds it on traffic held out."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from sklearn.metrics import average_precision_score

from infra.config import Settings
from jobs.labelling import files
from jobs.labelling.choose import Choosing, choose
from jobs.metering.batch import meter_captures
from jobs.scoring.model import ScoringModel
from jobs.sinks import labels
from jobs.training.fit import Choices, fit
from jobs.training.labelled import LabelledFlows
from jobs.training.sources import TrainingData, load
from jobs.training.truth import join_labels
from schemas.flows import RECORD_SCHEMA
from schemas.labels import BENIGN
from schemas.packets import FLOWS
from sensors.generate import generate, preset, truth
from sensors.packets.pcapwriter import PcapWriter

pytestmark = [pytest.mark.integration, pytest.mark.slow]
#: A kind that the first training has none of.
MISSED = "SLOWLORIS"


def traffic(seed: int) -> tuple[pa.Table, list[str]]:
    """Closed flows of one run of the generator, and what each is."""
    run = generate(preset("train", seed=seed, duration_s=12.0))
    with tempfile.TemporaryDirectory() as temp:
        capture = Path(temp) / "run.pcap"
        with PcapWriter(capture) as writer:
            for frames in run:
                writer.write(frames)
        rows = pa.Table.from_batches(list(meter_captures([capture], interim=False)), RECORD_SCHEMA)
    rows = rows.filter(rows["closed"])
    return rows, join_labels(rows, truth(run)).to_pylist()


def found(model: ScoringModel, rows: pa.Table, names: list[str]) -> tuple[float, float]:
    """Of the flows of :data:`MISSED` the share that is taken for an attack; and how well their scores set them apart from benign flows."""
    scored, kind = model.score(rows), np.array(names)
    either = (kind == MISSED) | (kind == BENIGN)
    recall = scored.column("predicted_label").to_numpy()[kind == MISSED].mean()
    apart = average_precision_score(kind[either] == MISSED, scored.column("confidence_score").to_numpy()[either])
    return float(recall), float(apart)


def fitted(flows: LabelledFlows) -> ScoringModel:
    rng = np.random.default_rng(7).random(len(flows)) < 0.75
    return fit(flows.where(rng), flows.where(~rng), Choices(family="forest", max_fpr=0.005)).model


def test_labels_of_what_is_worth_a_look_make_the_next_model_better(settings: Callable[..., Settings], tmp_path: Path) -> None:
    made = settings(lake={"path": str(tmp_path / "flows")})
    (rows, names), (held_out, truly) = traffic(201), traffic(202)
    true = dict(zip(rows["flow_id"].to_pylist(), names, strict=True))
    say = [
        labels.row({"record_key": key, "label": name, "source": "generator"}, FLOWS, {}, rows["start_time"][0].as_py())
        for key, name in true.items()
        if name != MISSED
    ]
    labels.put(made, say)
    write_deltalake(made.lake.path, rows)
    first = fitted(load(made, TrainingData("lake")).flows)
    write_deltalake(made.lake.path, pa.Table.from_batches([first.score(rows)]), mode="overwrite", schema_mode="overwrite")

    # A person fills in what is true of what the export finds worth a look; it leaves out nothing that has no label yet.
    chosen = choose(made, FLOWS, Choosing(("near-threshold", "novel"), limit=1500, margin=0.3, novelty=0.6))
    files.write(tmp_path / "look.csv", chosen, FLOWS)
    with (tmp_path / "look.csv").open(newline="") as text:
        lines = list(csv.DictReader(text))
    assert MISSED in {true[line["flow_id"]] for line in lines}
    with (tmp_path / "look.csv").open("w", newline="") as text:
        writer = csv.DictWriter(text, list(lines[0]))
        writer.writeheader()
        writer.writerows({**line, "label": true[line["flow_id"]]} for line in lines)
    back = files.bring_back(made, tmp_path / "look.csv", FLOWS, "ann")
    assert (back.done.rejected, back.unknown) == (0, ())

    second = fitted(load(made, TrainingData("lake")).flows)
    assert MISSED not in first.classes
    assert MISSED in second.classes
    before, after = found(first, held_out, truly), found(second, held_out, truly)
    assert after[0] >= before[0] + 0.1
    assert after[1] >= before[1] + 0.1
