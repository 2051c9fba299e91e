# %% [markdown]
# # Is the traffic still what the model knows?
#
# What `flowlake drift` computes, on traffic that changes before your eyes: some hours as the model knows them, then a new service takes
# over. Here the truth is known, so it shows as well what the model loses by it - which in real life nobody sees.
# Runs as a script (`python notebooks/04_drift.py`) or cell by cell in an editor that knows `# %%`.
# Another change: `KINDS=dns,ntp,multicast HOURS=12 DURATION=8 python notebooks/04_drift.py`.

# %%
from __future__ import annotations

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from prelude import ATTACK, BENIGN, PLAIN, champion, figures, give_up, settings

from infra.errors import FlowlakeError
from jobs.models.versions import artifact
from jobs.training.evaluate import evaluate
from jobs.training.generated import generated_flows
from jobs.watching import judging, measures, reference
from schemas.packets import FLOWS
from sensors.generate.kinds import ATTACK_KINDS

keep = figures("drift-notebook")

# %% The champion, and the profile that was made at its training: what it knows.
model = champion()
try:
    with tempfile.TemporaryDirectory() as folder:
        known = reference.Reference.from_json(artifact(settings, FLOWS, model.version, reference.FILE, Path(folder)).read_bytes())
except FlowlakeError as e:
    raise give_up(e) from e
print(f"model version {model.version}: its training had {int(known.rows.sum()):,} flows in {len(known.parts):,} parts")

# %% Hours of traffic, some seconds of each: from the middle on the ordinary part of it is another. The attacks stay.
many, duration = int(os.environ.get("HOURS", "10")), float(os.environ.get("DURATION", "8"))
service = tuple(os.environ.get("KINDS", "game,video,heartbeat").split(","))
changed = many // 2
hours, qualities, flows = [], [], []
for hour in range(many):
    kinds = (*service, *ATTACK_KINDS) if hour >= changed else ()
    try:
        found = generated_flows([951 + hour], duration_s=duration, kinds=kinds)
    except FlowlakeError as e:
        raise give_up(e) from e
    found = found.where(found.closed)
    p_attack, label, _, _ = model.decide_by(found.matrix)
    values = dict(zip(model.columns, found.matrix(model.columns).T.astype(float), strict=True))
    values |= {measures.OF_MODEL[measures.SCORE]: p_attack, measures.OF_MODEL[measures.ALERTS]: label.astype(float)}
    hours.append(judging.HourCounts(hour, len(found), measures.count(values, known.edges)))
    qualities.append(evaluate(model, found)[0])
    flows.append(found)
judged = judging.judge(known, hours, settings.drift)
for one in judged:
    told = ", ".join(f"{a.measure} ({a.reason})" for a in one.alarms[:3])
    print(f"hour {one.hour}{' changed' if one.hour >= changed else ''}: {one.rows:,} flows, {len(one.alarms)} alarms {told}")

# %% The map: how far each feature is from what the model knows, as a multiple of its limit. A dot is an alarm.
features = [name for name in known.edges if measures.split(name)[0] == measures.FEATURE]
found_of = [{finding.measure: finding for finding in one.findings} for one in judged]


def beyond(finding: judging.Deviation) -> float:
    """PSI as a multiple of its limit; NaN where there is nothing to compare."""
    return finding.distance.psi / finding.distance.limit if finding.distance else np.nan


away = np.array([[beyond(of[name]) for of in found_of] for name in features])
order = np.argsort(np.nanmax(away, axis=1))[::-1]
plt.figure(figsize=(2.6 + 0.34 * many, 1.2 + 0.2 * len(features)))
plt.imshow(away[order], aspect="auto", cmap="Reds", vmin=0, vmax=3)
plt.colorbar(label="PSI / its limit")
for row, place in enumerate(order):
    marks = [hour for hour in range(many) if found_of[hour][features[place]].state == judging.ALARM]
    plt.scatter(marks, [row] * len(marks), 6, color="k")
plt.axvline(changed - 0.5, color="k", linewidth=0.8, linestyle=":")
plt.yticks(range(len(features)), [measures.split(features[place])[1] for place in order], fontsize=7)
plt.xticks(range(many))
plt.xlabel("hour (dotted: the change)")
plt.title("Which features have left their place")
keep("map")

# %% The feature that is farthest away: its values before and after.
farthest = measures.split(features[order[0]])[1]
before, after = (np.concatenate([f.matrix([farthest])[:, 0] for f in part]) for part in (flows[:changed], flows[changed:]))
positive = bool(min(before.min(), after.min()) >= 0 and max(before.max(), after.max()) > 100)
scale = (lambda values: np.log10(values + 1)) if positive else (lambda values: values)
bins = np.histogram_bin_edges(scale(np.concatenate([before, after])), 40)
plt.figure(figsize=(6.5, 3))
for part, name, colour in ((before, "before", BENIGN), (after, "after the change", ATTACK)):
    plt.hist(scale(part), bins, weights=np.full(len(part), 1 / len(part)), color=colour, alpha=0.6, label=name)
plt.xlabel(f"{farthest}{', log10(1 + value)' if positive else ''}")
plt.ylabel("share of the flows")
plt.legend(frameon=False)
plt.title("The feature that has moved most")
keep("farthest")

# %% What the model itself shows: scores and the share of alerts. A model that alerts less may be right, or blind.
figure, (above, below) = plt.subplots(2, 1, figsize=(6.5, 4), sharex=True)
above.bar(range(many), [beyond(of[measures.SCORE]) for of in found_of], color=PLAIN)
above.axhline(1, color="k", linewidth=0.8)
above.set_ylabel("PSI of the score\n/ its limit")
alerts = [of[measures.ALERTS] for of in found_of]
below.bar(range(many), [one.share or 0.0 for one in alerts], color=ATTACK, label="flows called an attack")
below.axhline(alerts[0].usual_share or 0.0, color="k", linewidth=0.8, label="in the training")
below.set_ylabel("share")
below.set_ylim(0, 1.5 * max(one.share or 0.01 for one in alerts))
below.set_xlabel("hour")
below.legend(frameon=False, fontsize=8)
for axis in (above, below):
    axis.axvline(changed - 0.5, color="k", linewidth=0.8, linestyle=":")
figure.suptitle("What the model says")
keep("scores")

# %% And the truth, which the watch does not have: recall and false alarms, hour by hour, beside the number of alarms of the watch.
figure, (above, below) = plt.subplots(2, 1, figsize=(6.5, 4), sharex=True)
above.plot(range(many), [q.recall for q in qualities], "o-", color=ATTACK, label="recall")
above.plot(range(many), [q.false_positive_rate for q in qualities], "o-", color=BENIGN, label="false-positive rate")
above.set_ylim(0, 1.02)
above.legend(frameon=False, fontsize=8)
below.bar(range(many), [len(one.alarms) for one in judged], color=PLAIN)
below.set_ylabel("alarms of the watch")
below.set_xlabel("hour")
for axis in (above, below):
    axis.axvline(changed - 0.5, color="k", linewidth=0.8, linestyle=":")
figure.suptitle("Does it matter?")
keep("truth")
for name, part in (("before", qualities[:changed]), ("after ", qualities[changed:])):
    recall, fpr = (np.mean([getattr(q, what) for q in part]) for what in ("recall", "false_positive_rate"))
    print(f"{name} the change: recall {recall:.4f}, FPR {fpr:.4f} on average")
