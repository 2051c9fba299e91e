"""Pictures of a card, as SVG by matplotlib whose colours are the page's: readable in light and dark."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from jobs.evaluation.account import thinned
from jobs.evaluation.assess import Evaluation
from jobs.evaluation.operating import Curve, cost_per_hour
from jobs.evaluation.parts import Age

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours that matplotlib draws with, and what the page makes of them.
_COLOURS = {
    "#010101": "currentColor",
    "#020202": "var(--line)",
    "#030303": "var(--one)",
    "#040404": "var(--two)",
    "#050505": "var(--three)",
}
_INK, _LINE, _ONE, _TWO, _THREE = _COLOURS
#: Points of a drawn curve: more are not seen.
_POINTS = 400


def pictures(evaluation: Evaluation) -> dict[str, Markup]:
    """By name, those that the evaluation has numbers for: ``precision``, ``alarms``, ``cost``, ``reliability``, ``age``."""
    drawn: dict[str, Callable[[Axes], None]] = {}
    if (curve := evaluation.curve) is not None:
        few = thinned(curve, _POINTS)
        drawn["precision"] = lambda axes: _precision(axes, few, evaluation)
        drawn["alarms"] = lambda axes: _alarms(axes, few, evaluation)
        drawn["cost"] = lambda axes: _cost(axes, few, evaluation)
    if evaluation.reliability:
        drawn["reliability"] = lambda axes: _reliability(axes, evaluation)
    if ages := [a for a in evaluation.ages if not a.closed]:
        drawn["age"] = lambda axes: _age(axes, ages)
    return {name: _svg(name, draw) for name, draw in drawn.items()}


def _svg(name: str, draw: Callable[[Axes], None]) -> Markup:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # without pyplot: no display is looked for, no state is kept

    style: Any = {
        "svg.fonttype": "none",  # words stay words
        "svg.hashsalt": f"flowlake {name}",  # the same figure has the same ids; those of two on a page differ
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": _LINE,
        "axes.edgecolor": _LINE,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for colour, to in _COLOURS.items():
        text = text.replace(colour, to)
    return Markup(text)  # matplotlib's own: it holds no name of the data


def _chosen(axes: Axes, x: float, y: float) -> None:
    axes.plot([x], [y], "o", color=_INK, label="at the threshold")


def _precision(axes: Axes, curve: Curve, evaluation: Evaluation) -> None:
    share, chosen = evaluation.site.attack_share, evaluation.chosen
    with np.errstate(invalid="ignore", divide="ignore"):
        at_site = share * curve.recall / (share * curve.recall + (1 - share) * curve.false_positive_rate)
    axes.plot(curve.recall, curve.precision, color=_ONE, label="as the records are mixed")
    axes.plot(curve.recall, at_site, color=_TWO, linestyle="--", label=f"{share:.3g} of all are attacks")
    _chosen(axes, chosen.recall, chosen.precision)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))


def _alarms(axes: Axes, curve: Curve, evaluation: Evaluation) -> None:
    chosen = evaluation.chosen
    some = curve.false_positive_rate[curve.false_positive_rate > 0]
    floor = float(some.min()) / 2 if len(some) else 1e-4  # where no false alarm was seen
    axes.plot(np.maximum(curve.false_positive_rate, floor), curve.recall, color=_ONE)
    _chosen(axes, max(chosen.false_positive_rate, floor), chosen.recall)
    axes.set(xscale="log", xlabel="false-positive rate", ylabel="recall", ylim=(0, 1.03))


def _cost(axes: Axes, curve: Curve, evaluation: Evaluation) -> None:
    chosen, least = evaluation.chosen, evaluation.least_cost
    finite = np.isfinite(curve.threshold)
    cost = cost_per_hour(curve.recall, curve.false_positive_rate, evaluation.site)
    axes.plot(curve.threshold[finite], cost[finite], color=_ONE)
    _chosen(axes, chosen.threshold, chosen.cost_per_hour)
    if least is not None and np.isfinite(least.threshold):
        axes.plot([least.threshold], [least.cost_per_hour], "D", color=_TWO, label="least cost")
    axes.set(xlabel="threshold", ylabel="expected cost an hour", xlim=(0, 1.02))
    axes.set_ylim(bottom=0)


def _reliability(axes: Axes, evaluation: Evaluation) -> None:
    axes.plot([0, 1], [0, 1], color=_LINE, linestyle="--")
    for of, colour, name in zip(evaluation.reliability, (_ONE, _TWO), ("as the records are mixed", "at the site's share"), strict=False):
        x, y = [b.predicted for b in of.bins], [b.observed for b in of.bins]
        if of is evaluation.reliability[0]:
            spread = np.clip([[b.observed - b.interval.low for b in of.bins], [b.interval.high - b.observed for b in of.bins]], 0, None)
            axes.errorbar(x, y, yerr=spread, color=colour, marker="o", markersize=4, label=name)
        else:
            axes.plot(x, y, color=colour, marker="s", markersize=4, linestyle="--", label=name)
    axes.set(xlabel="P(attack), mean of the bin", ylabel="share of attacks", xlim=(0, 1), ylim=(0, 1.03))


def _age(axes: Axes, ages: list[Age]) -> None:
    names = [f"{a.low:g}-{a.high:g}" if np.isfinite(a.high) else f"> {a.low:g}" for a in ages]
    for name, colour in (("recall", _ONE), ("false_positive_rate", _THREE)):
        value = np.array([getattr(a.rates, name) for a in ages])
        interval = [a.rates.recall_interval if name == "recall" else a.rates.false_positive_interval for a in ages]
        spread = np.clip(
            [[v - i.low for v, i in zip(value, interval, strict=True)], [i.high - v for v, i in zip(value, interval, strict=True)]], 0, None
        )
        axes.errorbar(range(len(ages)), value, yerr=spread, color=colour, marker="o", markersize=4, label=name.replace("_", " "))
    axes.set_xticks(range(len(ages)), names)
    axes.set(xlabel="age of the flow, seconds", ylabel="rate", ylim=(0, 1.03))
