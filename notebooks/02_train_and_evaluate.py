# %% [markdown]
# # From traffic to a model, and how good is it?
#
# What `flowlake train` does, step by step and drawn: generated traffic, metered by our meter, labelled by the generator; whole seeds held
# out; features chosen, a forest fitted, a threshold chosen; then the account of it. Nothing is registered.
# Runs as a script (`python notebooks/02_train_and_evaluate.py`) or cell by cell in an editor that knows `# %%`.
# More traffic, as the command takes it: `SEEDS=101,102,103,104,105,106 DURATION=18 python notebooks/02_train_and_evaluate.py`.

# %%
from __future__ import annotations

import os
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from prelude import ATTACK, BENIGN, CHOSEN, PLAIN, figures, give_up, seeds, settings

from infra.errors import FlowlakeError
from jobs.evaluation import leaks
from jobs.evaluation.assess import Assessor, assess
from jobs.evaluation.splits import Fold
from jobs.metering.settings import MeterSettings
from jobs.training.evaluate import evaluate
from jobs.training.fit import fit
from jobs.training.generated import generated_flows
from jobs.training.train import GENERATED

keep = figures("training")

# %% The traffic of each seed has hosts and campaigns of its own. The last seed judges, the one before chooses the threshold, the rest train.
chosen = seeds("101,102,103,104,105,106,107,108")
if len(chosen) < 3:
    raise SystemExit(f"SEEDS {chosen}: three are needed\n  one to train, one for the threshold, one held out")
duration = float(os.environ.get("DURATION", "12"))
flows = generated_flows(chosen, duration_s=duration, settings=settings.section(MeterSettings))
rows = {seed: np.flatnonzero(flows.group == str(seed)) for seed in chosen}
*training, validating, judging = chosen
base = Fold("held_out", np.concatenate([rows[seed] for seed in training]), rows[validating], rows[judging])
labels, counts = np.unique(flows.y[flows.closed], return_counts=True)
print(f"{len(flows):,} records, {flows.closed.sum():,} of them closed flows: {dict(zip(labels.tolist(), counts.tolist(), strict=True))}")

# %% The model: as many columns as are asked for, no two of which say the same.
choices = replace(GENERATED, cross=False)  # what suits such traffic; one fit for each of the figures below
try:
    fitted = fit(flows.where(base.train), flows.where(base.validation), choices)
except FlowlakeError as e:
    raise give_up(e) from e
model = fitted.model
print(f"{len(model.columns)} features, threshold {model.threshold:.2f}")
order = np.argsort(fitted.importance)
plt.figure(figsize=(6, 1 + 0.2 * len(order)))
plt.barh(np.array(model.columns)[order], np.array(fitted.importance)[order], color=PLAIN)
plt.xlabel("importance: mean share of P(attack), either sign")
plt.title("What the model looks at")
keep("features")

# %% Its account: held-out traffic, and a model for each kind of attack that has never seen it. This is what takes time.
assessor = Assessor(flows, lambda some, others: fit(some, others, choices).model, settings.evaluation, choices.seed, print)
identity = leaks.identities(flows)
base, leak = assessor.clean(base, identity, "keep")
account = assess(assessor, model, base, leak, identity, ["attack"])
quality = account.parts["held_out"].quality
low, high = account.parts["held_out"].intervals["recall"]
print(f"held out: recall {quality.recall:.4f} ({low:.4f} to {high:.4f}), FPR {quality.false_positive_rate:.4f}, F1 {quality.f1:.4f}")
for note in account.notes:
    print(f"note: {note}")

# %% What a false alarm buys: recall at each false-positive rate, where the model works, and where the costs of the site would put it.
plt.figure(figsize=(6, 3.4))
curve = account.curve
if curve is not None:
    plt.step(np.maximum(curve.false_positive_rate, 1e-4), curve.recall, color=ATTACK, where="post")
for point, name, colour in ((account.chosen, "the model's threshold", "k"), (account.least_cost, "least cost on the site", CHOSEN)):
    if point is not None:
        plt.scatter(max(point.false_positive_rate, 1e-4), point.recall, 36, color=colour, zorder=3, label=f"{name}: {point.threshold:.2f}")
plt.xscale("log")
plt.ylim(0, 1.02)
plt.xlabel("false-positive rate (0 is drawn at 0.0001)")
plt.ylabel("recall")
plt.legend(frameon=False, loc="lower right")
plt.title("What a false alarm buys, on traffic held out")
keep("rates")

# %% Whether P(attack) is a probability: of flows with 0.8, are eight of ten attacks?
plt.figure(figsize=(4.2, 3.8))
plt.plot([0, 1], [0, 1], color=PLAIN, linewidth=0.8, linestyle=":")
bins = account.reliability[0].bins
predicted, observed = np.array([b.predicted for b in bins]), np.array([b.observed for b in bins])
spans = np.array([b.interval for b in bins])
plt.errorbar(predicted, observed, np.maximum(np.abs(spans.T - observed), 0), fmt="o-", color=BENIGN, markersize=4, elinewidth=0.8)
plt.xlabel("P(attack) that the model says")
plt.ylabel("share of attacks that there was")
plt.title(f"Calibration: error {account.reliability[0].expected_calibration_error:.3f}")
keep("calibration")

# %% An attack that it was shown, and the same one when it was not: what happens on the day of a new attack.
shown = {c.label: c.flagged / c.records for c in account.parts["held_out"].classes}
unseen = sorted(account.unseen, key=lambda u: (u.recall, shown.get(u.label, 0.0)))
at = np.arange(len(unseen))
plt.figure(figsize=(6.5, 1.2 + 0.28 * len(unseen)))
plt.barh(at, [shown.get(u.label, 0.0) for u in unseen], color=PLAIN, label="shown in training")
plt.barh(at, [u.recall for u in unseen], 0.4, color=ATTACK, label="never shown")
plt.yticks(at, [u.label for u in unseen])
plt.xlim(0, 1)
plt.xlabel("share of its flows that is taken for an attack")
plt.legend(frameon=False, bbox_to_anchor=(1, 1))
plt.title("Attacks that it knows, and does not know")
keep("unseen")

# %% Is more traffic worth it? The same forest of one seed, of two, and so on, each judged on the same held-out seed.
test = flows.where(base.test)
learned = []
for many in range(1, len(training) + 1):
    some = np.concatenate([rows[seed] for seed in training[:many]])
    found, _, _ = evaluate(fit(flows.where(some), flows.where(base.validation), choices).model, test)
    learned.append((len(some), found.recall, found.false_positive_rate))
    print(f"{many} of {len(training)} seeds, {len(some):,} records: recall {found.recall:.4f}, FPR {found.false_positive_rate:.4f}")
records, recall, fpr = np.array(learned).T
plt.figure(figsize=(6, 3))
plt.plot(records, recall, "o-", color=ATTACK, label="recall")
plt.plot(records, fpr, "o-", color=BENIGN, label="false-positive rate")
plt.ylim(0, 1)
plt.xlabel("records to learn from")
plt.legend(frameon=False)
plt.title("What more traffic teaches")
keep("learning")
