"""Why alerts have the score that they have: ``details.why``, made in the driver, one record an alert.

A flood scores 10^5 records a second, so nothing is explained where records are scored. Each alert's top flow is
(:mod:`jobs.sinks.tops`), by the model that scored it, in a thousandth of a second or two; in a batch as many as
``alerts.explained_per_batch``. Whatever is missing, the alert is raised all the same, and ``why.missing`` says what.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.scoring.explain import Explainer, Explanation
from jobs.scoring.model import Usual
from jobs.scoring.names import features_of
from jobs.sinks.alertbook import iso
from jobs.sinks.explainers import Explainers
from jobs.sinks.tops import Missing, Top
from schemas.alerts import WHY_FEATURES
from schemas.records import RecordType

#: The score that a model gives and the one that was published may differ by the order of additions, not by more.
_SAME_SCORE = 1e-6
#: Decimals of a contribution; what is smaller is none.
_DIGITS = 6
#: Versions of models that a batch looks for: each may take a while.
_VERSIONS = 4


class Reasons:
    """Explains the top flows of alerts about one record type.

    Parameters
    ----------
    explainers
        Of the models that have scored them.
    record
        Its type.
    most
        Explained at once, at most.
    """

    def __init__(self, explainers: Explainers, record: RecordType, most: int) -> None:
        self._explainers, self._most = explainers, most
        self._names = features_of(record).names
        self._whole = frozenset(name for name in self._names if not pa.types.is_floating(record.schema.field(name).type))

    def of(self, tops: Sequence[Top]) -> list[dict[str, Any]]:
        """``details.why`` of alerts, by their top flows, the most important first: those beyond the bound are not explained."""
        found: list[Explanation | Missing] = [Missing(f"too-many: more than {self._most} alerts to explain at once")] * len(tops)
        by_version: dict[str, list[int]] = {}
        for at, top in enumerate(tops[: self._most]):
            by_version.setdefault(top.model_version, []).append(at)
        explainers: dict[str, Explainer] = {}
        for number, (version, places) in enumerate(by_version.items()):
            explainer = self._explainers.of(version) if number < _VERSIONS else Missing("too-many: models at once")
            if isinstance(explainer, Explainer):
                explainers[version] = explainer
            for at, one in zip(places, self._explained(explainer, [tops[at] for at in places]), strict=True):
                found[at] = one
        return [
            self._missing(top, one) if isinstance(one, Missing) else self._told(top, one, explainers[top.model_version])
            for top, one in zip(tops, found, strict=True)
        ]

    def _explained(self, explainer: Explainer | Missing, tops: Sequence[Top]) -> list[Explanation | Missing]:
        if isinstance(explainer, Missing):
            return [explainer] * len(tops)
        width = 8 * len(self._names)
        out: list[Explanation | Missing] = [Missing("features: they could not be read, or there were too many alerts at once")] * len(tops)
        readable = [at for at, top in enumerate(tops) if len(top.features) == width]
        if not readable:
            return out
        vectors = np.frombuffer(b"".join(tops[at].features for at in readable), "<f8").reshape(len(readable), -1)
        for at, one in zip(readable, explainer.explain(vectors), strict=True):
            same = abs(one.score - tops[at].score) < _SAME_SCORE and math.isfinite(one.contributions.sum())
            out[at] = one if same else Missing(f"other-score: the model of this version gives {one.score:.6f}")
        return out

    def _missing(self, top: Top, what: Missing) -> dict[str, Any]:
        return {**_about(top), "base": None, "features": [], "others": None, "missing": str(what)}

    def _told(self, top: Top, one: Explanation, explainer: Explainer) -> dict[str, Any]:
        model = explainer.champion
        columns, usual = model.columns, model.usual
        values = dict(zip(self._names, np.frombuffer(top.features, "<f8").tolist(), strict=True))
        shares = {columns[at]: round(float(one.contributions[at]), _DIGITS) for at in np.argsort(-np.abs(one.contributions), kind="stable")}
        away = dict.fromkeys(shares, 0.0)
        if one.score < model.threshold and model.novelty is not None:  # the classifier takes it for benign: what is unusual comes first
            away |= {name: _away(values[name], usual.get(name)) for name in (*shares, *model.novelty.columns)}
        chosen = sorted(away, key=lambda name: -away[name])[:WHY_FEATURES]
        rounded = [(name, shares.get(name, 0.0)) for name in chosen]
        features = [
            {"feature": name, "value": self._value(name, values[name]), "contribution": share, **_usual(usual.get(name))}
            for name, share in rounded
            if share or away[name]
        ]
        others = one.raw - one.base - sum(share for _, share in rounded)
        raw = {} if abs(one.raw - one.score) < _SAME_SCORE else {"raw_score": round(one.raw, _DIGITS)}
        return {**_about(top), **raw, "base": round(one.base, _DIGITS), "features": features, "others": round(others, _DIGITS)}

    def _value(self, name: str, value: float) -> float | int | None:
        """As the record has it; what is no number is null, as everywhere in ``details``."""
        if not math.isfinite(value):
            return None
        return int(value) if name in self._whole else value


def _away(value: float, usual: Usual | None) -> float:
    """How far a value is from those of benign records, in widths of their range; 0 among them, and of what is not known."""
    if usual is None or not math.isfinite(value):
        return 0.0
    beyond = max(usual.low - value, value - usual.high, 0.0)
    return beyond / ((usual.high - usual.low) or abs(usual.high) or 1.0)


def _about(top: Top) -> dict[str, Any]:
    score = top.score if math.isfinite(top.score) else None
    return {"flow_id": top.flow_id, "end_time": iso(top.end), "model_version": top.model_version, "score": score}


def _usual(usual: Usual | None) -> dict[str, Any]:
    return {"usual": [usual.low, usual.high] if usual else None, "median": usual.median if usual else None}
