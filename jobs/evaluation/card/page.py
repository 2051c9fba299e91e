"""The card as one HTML file: what its template ``card.html`` shows, computed. Nothing in it comes from elsewhere, no script runs."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from jobs.evaluation.assess import Evaluation
from jobs.evaluation.card import plots
from jobs.evaluation.card.limits import limits
from jobs.evaluation.intervals import Interval, wilson
from jobs.evaluation.operating import alarms_span, false_alarms_per_hour, precision_at, precision_span
from jobs.scoring.model import ScoringModel
from jobs.training.sampling import LabelRecords

#: Packages whose versions a model depends on.
_PACKAGES = ("numpy", "scikit-learn", "pyarrow")
#: Shares of attacks that the table of precision shows beside the site's: CIC-IDS2017 as captured, and rarer.
_SHARES = (0.25, 0.1, 0.01, 0.001)
#: Figures of a part with an interval, and how they are called.
_FIGURES = {
    "recall": "recall",
    "false_positive_rate": "false-positive rate",
    "precision": "precision in the sample",
    "f1": "F1, attack or benign",
    "macro_f1": "macro-F1 over the labels",
}


@dataclass(frozen=True)
class CardFacts:
    """What a card tells of a training beside the evaluation.

    Attributes
    ----------
    data, data_version, records
        Where the records came from, which version of it ("" where it has none), how many.
    command
        What trains the same model again.
    rule
        How the threshold was chosen.
    seed
        Of all random choices.
    notes
        What was done to the records.
    labels
        Of each label how many records there were and were taken, and of which days.
    split
        What the records were for.
    family
        Of the classifier.
    ms_per_1000
        What 1,000 records cost where it was trained: milliseconds of one core; None where that was not measured.
    """

    data: str
    data_version: str
    records: int
    command: str
    rule: str
    seed: int
    notes: tuple[str, ...]
    labels: tuple[LabelRecords, ...] = ()
    split: str = ""
    family: str = ""
    ms_per_1000: float | None = None


def card(model: ScoringModel, evaluation: Evaluation, importance: Sequence[tuple[str, float]], facts: CardFacts) -> str:
    """The whole page. Names of labels and of data are text, whatever they are: the template escapes them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("jobs.evaluation.card", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters.update(thousands="{:,}".format, share=share, percent=percent, span=span, figure=figure, amount=amount)
    first = next(iter(evaluation.parts.values()))
    return templates.get_template("card.html").render(
        model=model,
        facts=facts,
        evaluation=evaluation,
        first=first,
        first_name=next(iter(evaluation.parts)).replace("_", " "),
        figures=_FIGURES,
        importance=importance,
        notes=(*facts.notes, *evaluation.notes),
        largest=max((v for _, v in importance), default=1.0) or 1.0,
        limits=limits(model, evaluation),
        pictures=plots.pictures(evaluation),
        precisions=_precisions(evaluation),
        matrix=_matrix(evaluation),
        precision_at=precision_at,
        precision_span=precision_span,
        false_alarms_per_hour=false_alarms_per_hour,
        alarms_span=alarms_span,
        wilson=wilson,
        versions=", ".join(f"{name} {number}" for name, number in _versions()),
        unknown_novelty=model.novelty is None,
    )


def _versions() -> list[tuple[str, str]]:
    return [("Python", platform.python_version()), *((name, version(name)) for name in _PACKAGES)]


def _precisions(evaluation: Evaluation) -> list[tuple[float, bool, float, float, float]]:
    """Share of attacks, whether it is the site's, precision there and its lowest and highest by the intervals of the rates."""
    part = next(iter(evaluation.parts.values()))
    q, recall, fpr = part.quality, part.intervals["recall"], part.intervals["false_positive_rate"]
    site = evaluation.site.attack_share
    shares = sorted({*_SHARES, site}, reverse=True)
    return [(of, of == site, precision_at(q.recall, q.false_positive_rate, of), *precision_span(recall, fpr, of)) for of in shares]


def _matrix(evaluation: Evaluation) -> list[tuple[str, int, list[tuple[int, float]]]]:
    """Every label that occurs, its records, and for each verdict how many and which share."""
    confusion = next(iter(evaluation.parts.values())).confusion
    rows = []
    for label, counts in zip(confusion.labels, confusion.counts.tolist(), strict=True):
        if total := sum(counts):
            rows.append((label, total, [(n, n / total) for n in counts]))
    return rows


def share(value: float, digits: int = 1) -> str:
    """A rate in percent, with further digits below one and above 99 percent; a dash where undefined."""
    if math.isnan(value):
        return "–"
    percent = 100 * value
    near = min(percent, 100 - percent)
    if near in (0, 100):
        return f"{percent:.0f}\N{NO-BREAK SPACE}%"
    return f"{percent:.{digits if near >= 10 else 2 if near >= 0.1 else 3}f}\N{NO-BREAK SPACE}%"


def percent(value: float) -> str:
    """A share that somebody has chosen, in percent."""
    return f"{100 * value:.4g}\N{NO-BREAK SPACE}%"


def span(interval: Interval, name: str = "share") -> str:
    """An interval, in percent (``share``), as a ``figure`` or as an ``amount``."""
    if math.isnan(interval.low):
        return ""
    show: Any = {"share": share, "figure": figure, "amount": amount}[name]
    low = show(interval.low).removesuffix("\N{NO-BREAK SPACE}%")
    return f"{low} to {show(interval.high)}"


def figure(value: float) -> str:
    """A figure between 0 and 1."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def amount(value: float) -> str:
    """A number of any size, as a person reads it."""
    if math.isnan(value):
        return "–"
    if value >= 1000:  # three digits count, the others are noise
        value = float(f"{value:.3g}")
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
