# %% [markdown]
# # What does the model get wrong, and why?
#
# The champion on traffic that it was not trained on: generated with seeds of its own, metered by our meter, labelled by the generator.
# Runs as a script (`python notebooks/03_errors_and_explanations.py`) or cell by cell in an editor that knows `# %%`.
# Other traffic: `SEEDS=901,902 DURATION=60 python notebooks/03_errors_and_explanations.py`.

# %%
from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from prelude import ATTACK as RAISES
from prelude import BENIGN as LOWERS
from prelude import PLAIN, champion, figures, unseen

from jobs.scoring.explain import Explainer
from jobs.training.evaluate import evaluate
from schemas.features import FEATURE_NAMES
from schemas.labels import BENIGN

keep = figures("errors")

# %% The champion, and flows that it has not seen.
model, flows = champion(), unseen()
quality, classes, confusion = evaluate(model, flows)
print(f"model version {model.version}: {len(flows):,} flows, recall {quality.recall:.4f}, FPR {quality.false_positive_rate:.4f}")

# %% Which attacks are missed, and which are taken for another: the share of each label, row by row.
share = confusion.counts / np.maximum(confusion.counts.sum(axis=1, keepdims=True), 1)
plt.figure(figsize=(1.8 + 0.42 * len(confusion.labels), 1.4 + 0.34 * len(confusion.labels)))
plt.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
plt.xticks(range(len(confusion.labels)), confusion.labels, rotation=60, ha="right")
plt.yticks(range(len(confusion.labels)), confusion.labels)
for row, column in zip(*np.nonzero(confusion.counts), strict=True):
    plt.text(column, row, f"{confusion.counts[row, column]:,}", ha="center", va="center", fontsize=6, color="w" if share[row, column] > 0.6 else "k")
plt.xlabel("taken for")
plt.ylabel("is")
plt.title("What is taken for what")
keep("confusion")

# %% The errors: attacks that pass, and ordinary flows that raise an alarm.
p_attack, label, kind = model.decide(model.predict(flows.select(model.columns).x))
missed = np.flatnonzero(flows.attack & (label == 0))
alarms = np.flatnonzero(~flows.attack & (label == 1))
print(f"{len(missed):,} attacks missed, {len(alarms):,} false alarms")
for name, rows in (("missed", missed), ("false alarm", alarms)):
    labels, counts = np.unique(flows.y[rows] if name == "missed" else np.array(model.types)[kind[rows]], return_counts=True)
    for one, count in zip(labels, counts, strict=True):
        print(f"  {name}: {one:20s} {count:6,}")
plt.figure(figsize=(7, 3.2))
bins = np.linspace(0, 1, 41)
plt.hist(p_attack[~flows.attack], bins, color=LOWERS, alpha=0.7, label="benign")
plt.hist(p_attack[flows.attack], bins, color=RAISES, alpha=0.7, label="attacks")
plt.axvline(model.threshold, color="k", linewidth=0.8)
plt.text(model.threshold, plt.ylim()[1], " threshold", va="top", fontsize=8)
plt.yscale("log")
plt.xlabel("P(attack)")
plt.ylabel("flows")
plt.legend(frameon=False)
plt.title("Where the scores lie")
keep("scores")

# %% Why: contributions of the features, which sum with the base to the score. On average over errors of one kind, and over what is right.
columns = np.zeros((len(flows), len(FEATURE_NAMES)))
columns[:, [FEATURE_NAMES.index(name) for name in flows.columns]] = flows.x
explainer = Explainer(model)


def contributions(rows: np.ndarray, most: int = 500) -> np.ndarray:
    """Of flows, float64[n, columns of the model]: at most so many of them, evenly chosen."""
    some = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)] if len(rows) else rows
    return np.array([one.contributions for one in explainer.explain(columns[some])]).reshape(len(some), len(model.columns))


found = np.flatnonzero(flows.attack & (label == 1))
passed = np.flatnonzero(~flows.attack & (label == 0))
parts = {"attacks found": found, "attacks missed": missed, "false alarms": alarms, "benign, left alone": passed}
means = {name: contributions(rows).mean(axis=0) for name, rows in parts.items() if len(rows)}
top = np.argsort(np.max(np.abs(list(means.values())), axis=0))[-10:]
figure, axes = plt.subplots(1, len(means), figsize=(2.2 + 2.1 * len(means), 3.6), sharex=True, sharey=True)
for axis, (name, mean) in zip(np.atleast_1d(axes), means.items(), strict=True):
    axis.barh(np.array(model.columns)[top], mean[top], color=np.where(mean[top] > 0, RAISES, LOWERS))
    axis.axvline(0, color="k", linewidth=0.6)
    axis.set_title(f"{name} ({len(parts[name]):,})", fontsize=8)
figure.supxlabel("mean contribution to P(attack)", fontsize=8)
keep("contributions")

# %% The flows nearest to the threshold, feature by feature beside what is usual: these a person would label first.
nearest = np.argsort(np.abs(p_attack - model.threshold))[:5]
for row, told in zip(nearest, explainer.explain(columns[nearest]), strict=True):
    print(f"{flows.y[row]}, P(attack) {p_attack[row]:.3f}")
    for place in np.argsort(-np.abs(told.contributions))[:4]:
        name = model.columns[place]
        usual = f", usual {model.usual[name].low:g} to {model.usual[name].high:g}" if name in model.usual else ""
        print(f"  {told.contributions[place]:+.3f}  {name} = {columns[row, FEATURE_NAMES.index(name)]:g}{usual}")
plt.figure(figsize=(7, 3.2))
order = [c for c in sorted(classes, key=lambda c: c.flagged / c.records) if c.label != BENIGN]
plt.barh([c.label for c in order], [c.flagged / c.records for c in order], color=PLAIN, label="taken for an attack")
plt.barh([c.label for c in order], [c.typed / c.records for c in order], 0.4, color=RAISES, label="and its type is right")
plt.xlim(0, 1)
plt.xlabel("share of its flows")
plt.legend(frameon=False, loc="lower right")
plt.title("Each attack")
keep("attacks")
