# %% [markdown]
# # Where should the threshold lie?
#
# Every threshold trades attacks that pass for hours of people who look at false alarms. Which one pays depends on three numbers that no
# model knows: how much there is to lose by a missed attack, what a false alarm costs, and how rare attacks are.
# Runs as a script (`python notebooks/05_threshold_and_cost.py`) or cell by cell in an editor that knows `# %%`.
# Your numbers: `MISSED=200 ALARM=1 RATE=0.001 FLOWS_PER_HOUR=50000 python notebooks/05_threshold_and_cost.py`.

# %%
from __future__ import annotations

import os

import matplotlib.pyplot as plt
import numpy as np
from prelude import ATTACK, BENIGN, CHOSEN, champion, figures, unseen

from jobs.training.evaluate import detection

keep = figures("threshold")
#: Cost of an attack flow that passes and of a false alarm, in any unit; share of attacks among flows; flows of an hour.
MISSED, ALARM = float(os.environ.get("MISSED", "100")), float(os.environ.get("ALARM", "1"))
RATE, FLOWS_PER_HOUR = float(os.environ.get("RATE", "0.001")), float(os.environ.get("FLOWS_PER_HOUR", "100000"))

# %% The champion on traffic that it has not seen.
model, flows = champion(), unseen()
p_attack, _, _ = model.decide(model.predict(flows.select(model.columns).x))
print(f"model version {model.version}, threshold {model.threshold:.2f}: {len(flows):,} flows, {flows.attack.sum():,} of attacks")

# %% Recall and false-positive rate at each threshold; precision as it is where attacks are as rare as they are, not as in the sample.
thresholds = np.unique(np.concatenate([np.linspace(0.005, 0.995, 199), [model.threshold]]))
rates = np.array([detection(flows.attack, p_attack >= threshold)[1:] for threshold in thresholds])
recall, fpr = np.nan_to_num(rates[:, 0]), np.nan_to_num(rates[:, 1])
hits, false = RATE * recall, (1 - RATE) * fpr
precision = np.divide(hits, hits + false, out=np.zeros(len(hits)), where=hits + false > 0)
alarms = FLOWS_PER_HOUR * false
plt.figure(figsize=(7, 3.4))
plt.plot(thresholds, recall, color=ATTACK, label="recall")
plt.plot(thresholds, precision, color=CHOSEN, label=f"precision where {RATE:.2%} of flows are attacks")
plt.plot(thresholds, fpr, color=BENIGN, label="false-positive rate")
plt.axvline(model.threshold, color="k", linewidth=0.8, linestyle=":")
plt.xlabel("threshold (dotted: the model's)")
plt.legend(frameon=False, fontsize=8)
plt.title("What a threshold does")
keep("rates")

# %% The cost of an hour: missed attacks and false alarms, each at its price. The cheapest threshold, and how flat the valley is.
cost = FLOWS_PER_HOUR * (MISSED * RATE * (1 - recall) + ALARM * (1 - RATE) * fpr)
best, own = int(np.argmin(cost)), int(np.flatnonzero(thresholds == model.threshold)[0])
print(f"cheapest: threshold {thresholds[best]:.3f}, cost {cost[best]:,.1f} an hour, {alarms[best]:,.1f} false alarms, recall {recall[best]:.4f}")
print(f"model's:  threshold {thresholds[own]:.3f}, cost {cost[own]:,.1f} an hour, {alarms[own]:,.1f} false alarms, recall {recall[own]:.4f}")
plt.figure(figsize=(7, 3.4))
plt.stackplot(
    thresholds,
    FLOWS_PER_HOUR * MISSED * RATE * (1 - recall),
    FLOWS_PER_HOUR * ALARM * (1 - RATE) * fpr,
    colors=(ATTACK, BENIGN),
    alpha=0.7,
    labels=("missed attacks", "false alarms"),
)
plt.axvline(thresholds[best], color="k", linewidth=0.8)
plt.axvline(model.threshold, color="k", linewidth=0.8, linestyle=":")
plt.ylim(0, max(4 * cost[best], 1.2 * cost[own], 1e-9))
plt.xlabel("threshold (line: the cheapest; dotted: the model's)")
plt.ylabel("cost an hour")
plt.legend(frameon=False)
plt.title(f"A missed attack costs {MISSED / ALARM:g} false alarms")
keep("cost")

# %% Other prices, other thresholds: the cheapest for each ratio of costs and each share of attacks. Dear misses and many attacks lower it.
ratios, shares = np.logspace(0, 4, 41), np.logspace(-5, -1, 41)
price = ratios[None, :, None] * shares[:, None, None] * (1 - recall) + (1 - shares[:, None, None]) * fpr
cheapest = thresholds[np.argmin(price, axis=2)]
plt.figure(figsize=(5.6, 4))
plt.pcolormesh(ratios, shares, cheapest, cmap="viridis", vmin=0, vmax=1, shading="nearest")
plt.colorbar(label="cheapest threshold")
plt.scatter([MISSED / ALARM], [RATE], color="w", edgecolor="k", zorder=3)
plt.xscale("log")
plt.yscale("log")
plt.xlabel("cost of a missed attack, in false alarms")
plt.ylabel("share of attacks among flows")
plt.title("Which threshold is cheapest where (dot: here)")
keep("cheapest")

# %% What a budget buys: the most recall with so many false alarms an hour.
for budget in (1, 10, 100, 1000):
    within = np.flatnonzero(alarms <= budget)
    if len(within):
        at = within[np.argmax(recall[within])]
        print(f"{budget:5,} false alarms an hour: threshold {thresholds[at]:.3f}, recall {recall[at]:.4f}, precision {precision[at]:.3f}")
