"""Files logged beside a model: plots and tables of its quality."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jobs.training.evaluate import ClassQuality, Confusion
from jobs.training.fit import Fitted
from jobs.training.labelled import LabelledFlows


def write_files(folder: Path, fitted: Fitted, test: LabelledFlows, classes: Sequence[ClassQuality], confusion: Confusion) -> list[Path]:
    """Write ``quality.png``, ``classes.csv`` and ``confusion.csv``; returns their paths."""
    tables: dict[str, list[list[object]]] = {
        "classes.csv": [
            ["label", "records", "flagged", "recall", "typed"],
            *([c.label, c.records, c.flagged, f"{c.flagged / c.records:.4f}", c.typed] for c in classes),
        ],
        "confusion.csv": [
            ["label", *confusion.labels],
            *([n, *row] for n, row in zip(confusion.labels, confusion.counts.tolist(), strict=True)),
        ],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    return [_plot(folder / "quality.png", fitted, test, confusion), *(folder / name for name in tables)]


def _plot(file: Path, fitted: Fitted, test: LabelledFlows, confusion: Confusion) -> Path:
    from matplotlib.figure import Figure  # without pyplot: no display is looked for, no state is kept
    from sklearn.metrics import precision_recall_curve

    figure = Figure(figsize=(16, 5), layout="constrained")
    curve, matrix, bars = figure.subplots(1, 3)
    for name, part in (("closed", test.closed), ("interim", ~test.closed)):
        flows = test.where(part)
        if flows.attack.any():
            p_attack, _, _ = fitted.model.decide(fitted.model.predict(flows.select(fitted.model.columns).x))
            precision, recall, _ = precision_recall_curve(flows.attack, p_attack)
            curve.plot(recall, precision, label=name)
    curve.set(xlabel="recall", ylabel="precision", title="Attack against benign", xlim=(0, 1.02), ylim=(0, 1.02))
    curve.legend()
    share = confusion.counts / np.maximum(confusion.counts.sum(axis=1, keepdims=True), 1)
    matrix.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(confusion.labels))
    matrix.set_xticks(ticks, confusion.labels, rotation=90, fontsize=7)
    matrix.set_yticks(ticks, confusion.labels, fontsize=7)
    matrix.set(xlabel="taken for", ylabel="label", title="Share of each label")
    order = np.argsort(fitted.importance)
    bars.barh([fitted.model.columns[i] for i in order], [fitted.importance[i] for i in order])
    bars.tick_params(axis="y", labelsize=7)
    bars.set_title("Importance")
    figure.savefig(file, dpi=90)
    return file
