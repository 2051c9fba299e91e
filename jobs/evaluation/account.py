"""An evaluation as JSON values: undefined numbers are null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from infra.sections import EvaluationSettings
from jobs.evaluation.assess import Evaluation
from jobs.evaluation.operating import Curve, false_alarms_per_hour, precision_at
from jobs.evaluation.parts import SplitResult

#: Points of the curve that are written down.
POINTS = 200


def plain(evaluation: Evaluation) -> dict[str, Any]:
    """The whole account, by the names of :class:`Evaluation` and of what it is made of."""
    return {
        "parts": {name: _part(part, evaluation.site) for name, part in evaluation.parts.items()},
        "unseen": value(evaluation.unseen),
        "ages": value(evaluation.ages),
        "curve": None if evaluation.curve is None else _curve(evaluation.curve),
        "chosen": value(evaluation.chosen),
        "least_cost": value(evaluation.least_cost),
        "reliability": value(evaluation.reliability),
        "contradictions": value(evaluation.contradictions),
        "site": evaluation.site.model_dump(),
        "notes": list(evaluation.notes),
    }


def value(of: Any) -> Any:
    """Dataclasses, tuples, arrays and numbers as JSON values; what is not finite is null."""
    if is_dataclass(of) and not isinstance(of, type):
        return {k: value(v) for k, v in asdict(of).items()}
    if isinstance(of, Mapping):
        return {str(k): value(v) for k, v in of.items()}
    if isinstance(of, np.ndarray):
        return value(of.tolist())
    if isinstance(of, tuple) and hasattr(of, "_asdict"):
        return {k: value(v) for k, v in of._asdict().items()}
    if isinstance(of, (list, tuple)):
        return [value(v) for v in of]
    if isinstance(of, float):
        return of if math.isfinite(of) else None
    return of


def _part(part: SplitResult, site: EvaluationSettings) -> dict[str, Any]:
    figures = {name: value(getattr(part, name)) for name in ("quality", "intervals", "drawn", "classes", "confusion", "folds", "leak")}
    q = part.quality
    there = {
        "precision": precision_at(q.recall, q.false_positive_rate, site.attack_share),
        "false_alarms_per_hour": false_alarms_per_hour(q.false_positive_rate, site),
    }
    return {**figures, "on_site": value(there)}


def thinned(curve: Curve, points: int = POINTS) -> Curve:
    """At most ``points`` of a curve's points, evenly by rank, with both ends."""
    at = np.unique(np.linspace(0, len(curve.threshold) - 1, points).round().astype(np.int64))
    return Curve(curve.threshold[at], curve.recall[at], curve.false_positive_rate[at], curve.precision[at])


def _curve(curve: Curve) -> dict[str, Any]:
    return dict(value(thinned(curve)))
