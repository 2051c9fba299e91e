"""What a model finds in generated traffic that it has not seen: by kind of attack, by age of the flow, beside its false alarms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.config import Settings
from infra.errors import ConfigError
from jobs.metering.settings import MeterSettings
from jobs.scoring.model import ScoringModel
from jobs.training.alike import alike, ceiling
from jobs.training.labelled import LabelledFlows
from jobs.training.threshold import lowest_threshold
from ops.bench.place import machine
from schemas.labels import BENIGN
from schemas.packets import FLOWS

#: False-positive rate at which models are compared.
MAX_FPR = 0.001
#: What is asked of a model, of the attacks that a flow shows: of all together, and of each kind.
RECALL, RECALL_OF_A_KIND = 0.95, 0.6
#: Fewest flows of a kind that its share is judged by.
_ENOUGH = 20
#: Ages of snapshots, seconds, where the next group begins.
_AGES = (0.0, 0.3, 1.0, 10.0)
Mask = npt.NDArray[np.bool_]


def run(
    settings: Settings,
    *,
    seeds: Sequence[int],
    preset: str = "train",
    seconds: float | None = None,
    version: str = "",
    family: str = "",
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Judge the champion, or another version, on generated traffic; a champion is trained first where there is none.

    Parameters
    ----------
    settings
        Registry and metering rules.
    seeds
        Of the generator; none that the demonstration model is trained on.
    preset
        Of the generator.
    seconds
        Capture time of each run; the preset's own when None.
    version
        The registry's version instead of the champion.
    family
        Judge a model of this family instead, fitted for the purpose (:mod:`ops.bench.families`) and not registered.
    say
        Told what is being done.

    Returns
    -------
    dict
        See :func:`judge`; the traffic and the machine.

    Raises
    ------
    ConfigError
        No seeds, one twice, or one that models are trained on.
    ModelError
        The registry cannot be reached, or has no such version.
    """
    from jobs.models.newcomer import ensure_champion
    from jobs.scoring import registry
    from jobs.training.generated import generated_flows
    from jobs.training.train import SECONDS, SEEDS
    from ops.bench import families

    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {','.join(map(str, seeds)) or 'none'}: none, or one twice", "for example 201-206")
    if seen := sorted(set(seeds) & set(SEEDS)) if preset == "train" else []:
        raise ConfigError(
            f"--seeds: {', '.join(map(str, seen))} may have trained the model",
            f"a model is judged on traffic that it has not seen: not {SEEDS[0]} to {SEEDS[-1]}",
        )
    facts = machine()
    rules = settings.section(MeterSettings)
    if family:
        model = families.fitted(family, SEEDS, seconds=SECONDS, max_fpr=MAX_FPR, settings=rules, say=say)
    else:
        model = registry.load_version(settings, FLOWS, version) if version else ensure_champion(settings, say)
    flows = generated_flows(seeds, preset=preset, duration_s=seconds, settings=rules, progress=say)
    say(f"scoring {len(flows):,} records")
    traffic = {"preset": preset, "seeds": list(seeds), "seconds": seconds}
    return {"traffic": traffic, **judge(model, flows), "machine": facts}


def judge(model: ScoringModel, flows: LabelledFlows) -> dict[str, Any]:
    """What ``model`` finds in ``flows``, whose columns are at least its own.

    Returns
    -------
    dict
        ``model``: version, threshold, columns. ``closed`` and ``snapshots``: :func:`quality` at its threshold. ``at_max_fpr``: the same
        at the lowest threshold that keeps ``MAX_FPR`` on the closed and on the open benign flows each (chosen on these very flows: it
        compares orderings of models, and is no promise). ``ceiling``: :func:`jobs.training.alike.ceiling` of the closed ones. ``ages``,
        ``kinds``: a dict each, at the model's threshold. ``met``: whether the goals are reached, at the model's threshold.
    """
    p, label = _scores(model, flows)
    flagged = label == 1
    same = np.zeros(len(flows), bool)
    for part in (flows.closed, ~flows.closed):  # a snapshot is compared with snapshots
        same[part] = alike(flows.where(part))
    common = common_threshold(p, flows, MAX_FPR)
    at = p >= common
    closed = quality(flows, flagged, same, flows.closed)
    kinds = [_kind(str(k), flows, flagged, at, same) for k in np.unique(flows.y[flows.attack])]
    enough = [k for k in kinds if k["shown"] >= _ENOUGH]
    return {
        "model": {"version": model.version, "threshold": model.threshold, "columns": len(model.columns)},
        "closed": closed,
        "snapshots": quality(flows, flagged, same, ~flows.closed),
        "at_max_fpr": {
            "max_fpr": MAX_FPR,
            "threshold": round(common, 6),
            "closed": quality(flows, at, same, flows.closed),
            "snapshots": quality(flows, at, same, ~flows.closed),
        },
        "ceiling": round(ceiling(flows.where(flows.closed), MAX_FPR), 4),
        "ages": [_age(flows, flagged, same, i) for i in range(len(_AGES))] + [{"age": "closed", **closed}],
        "kinds": kinds,
        "met": bool(
            closed["recall_shown"] is not None
            and closed["recall_shown"] >= RECALL
            and (closed["fpr"] or 0.0) <= MAX_FPR
            and all(k["recall_shown"] >= RECALL_OF_A_KIND for k in enough)
        ),
    }


def quality(flows: LabelledFlows, flagged: Mask, same: Mask, part: Mask) -> dict[str, Any]:
    """Counts and shares of a part of the flows; a share of nothing is None.

    ``shown``: attacks that no benign flow is like (``same`` False); ``recall_shown``: the share of them that is found. ``fpr_95``:
    Wilson's 95 % interval of the false-positive rate.
    """
    from scipy.stats import binomtest

    attack = flows.attack & part
    benign = ~flows.attack & part
    false, n = int((flagged & benign).sum()), int(benign.sum())
    interval = binomtest(false, n).proportion_ci(method="wilson") if n else None
    return {
        "benign": n,
        "false_alarms": false,
        "fpr": _share(false, n),
        "fpr_95": [round(float(v), 6) for v in interval] if interval else None,
        **_found(attack, flagged, same),
    }


def _found(attack: Mask, flagged: Mask, same: Mask) -> dict[str, Any]:
    shown = attack & ~same
    return {
        "attacks": int(attack.sum()),
        "recall": _share(int((attack & flagged).sum()), int(attack.sum())),
        "shown": int(shown.sum()),
        "recall_shown": _share(int((shown & flagged).sum()), int(shown.sum())),
    }


def _kind(kind: str, flows: LabelledFlows, flagged: Mask, at: Mask, same: Mask) -> dict[str, Any]:
    of = flows.y == kind
    closed = _found(of & flows.closed, flagged, same)
    return {
        "kind": kind,
        **closed,
        "recall_shown_at_max_fpr": _found(of & flows.closed, at, same)["recall_shown"],
        "snapshots": int((of & ~flows.closed).sum()),
        "recall_snapshots": _found(of & ~flows.closed, flagged, same)["recall"],
    }


def _age(flows: LabelledFlows, flagged: Mask, same: Mask, i: int) -> dict[str, Any]:
    begin, end = _AGES[i], _AGES[i + 1] if i + 1 < len(_AGES) else np.inf
    part = ~flows.closed & (flows.age >= begin) & (flows.age < end)
    return {"age": f"{begin:g}-{end:g} s" if np.isfinite(end) else f"{begin:g} s and more", **quality(flows, flagged, same, part)}


def _scores(model: ScoringModel, flows: LabelledFlows) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    p, label, _, _ = model.decide_by(flows.matrix)
    return p, label


def common_threshold(p: npt.NDArray[np.float64], flows: LabelledFlows, max_fpr: float) -> float:
    """Lowest threshold that keeps ``max_fpr`` on closed and on open benign flows each; above every score if there is none."""
    benign = flows.y == BENIGN
    return lowest_threshold(p[benign], flows.closed[benign], max_fpr)


def _share(some: int, of: int) -> float | None:
    return round(some / of, 6) if of else None
