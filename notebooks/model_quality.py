# %% [markdown]
# # How good is the model on what the lake holds?
#
# Runs as a script (`python notebooks/model_quality.py`) or cell by cell in an editor that knows `# %%`.
# Reads the flow records of the lake; with a truth table (`python notebooks/model_quality.py traffic.truth.parquet`) it
# compares the model's decisions with it.

# %%
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from infra import config
from infra.errors import FlowlakeError
from jobs.runtime import lake
from jobs.training.evaluate import judge
from jobs.training.labelled import LabelledFlows
from jobs.training.lake import read_truth
from jobs.training.truth import KEY, SPAN, join_labels

# %% The lake: only the columns that are looked at are read.
settings = config.load()
place = settings.path(settings.lake.path)
if not (place / "_delta_log").is_dir():
    raise SystemExit(f"no lake at {place}: make demo fills one")
columns = [*KEY, *SPAN, "confidence_score", "predicted_label", "attack_type", "model_version"]
flows = lake.dataset(place).to_table(columns=columns)
print(f"{flows.num_rows:,} flows, model versions {pc.unique(flows['model_version']).to_pylist()}")

# %% What the model took them for, and how sure it was.
by_type = flows.group_by("attack_type").aggregate([("confidence_score", "count"), ("confidence_score", "mean")])
for row in by_type.sort_by([("confidence_score_count", "descending")]).to_pylist():
    print(f"{row['attack_type']:18s} {row['confidence_score_count']:8,}   mean P(attack) {row['confidence_score_mean']:.3f}")

# %% Against the truth, where there is one.
if len(sys.argv) > 1 and Path(sys.argv[1]).suffix == ".parquet":
    try:
        labels = join_labels(flows, read_truth(Path(sys.argv[1])))
    except FlowlakeError as e:
        raise SystemExit(f"{e}\n  {e.hint}") from e
    known = pc.is_valid(labels)
    flows, labels = flows.filter(known), labels.filter(known)
    n = flows.num_rows
    truth = LabelledFlows(np.zeros((n, 0), np.float32), (), np.array(labels.to_pylist(), str), np.zeros(n, str), np.ones(n, bool))
    quality, classes, _ = judge(truth, flows["confidence_score"].to_numpy(), np.array(flows["attack_type"].to_pylist(), str))
    print(
        f"{n:,} flows with a label: precision {quality.precision:.4f}, recall {quality.recall:.4f}, FPR {quality.false_positive_rate:.4f}"
    )
    for c in classes:
        print(f"{c.label:18s} {c.records:8,}   taken for an attack {c.flagged / c.records:6.1%}   type right {c.typed / c.records:6.1%}")
