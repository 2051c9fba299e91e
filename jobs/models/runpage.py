"""The page of a retraining: what changed and why, in one HTML file that asks nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra import files
from infra.errors import ModelError
from jobs.models.runstate import RetrainRun

PAGE = "index.html"
_TEMPLATE = Path(__file__).with_name("run.html")


def write(run: RetrainRun) -> Path:
    """Write the page of a run, as far as it has come.

    Raises
    ------
    ModelError
        The folder cannot be written.
    """
    place = run.folder / PAGE
    try:
        files.replace(place, render(run))
    except OSError as e:
        raise ModelError(f"page {place}: {e.strerror}", "set paths.var to a folder of yours") from e
    return place


def render(run: RetrainRun) -> str:
    """The page as text; whatever comes from data is escaped."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["number"] = _number
    steps = run.steps
    return made.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        run=run,
        steps=steps,
        verdict=_verdict(run),
        metrics=_metrics(steps.get("evaluate", {}).get("before", {}), steps.get("train", {}).get("metrics", {})),
    )


def _number(value: float | None) -> str:
    """A count or a figure; a dash where there is none."""
    return "-" if value is None else f"{value:,.4f}".removesuffix(".0000")


def _verdict(run: RetrainRun) -> str:
    if (last := run.steps.get("promote")) is not None:
        return ("Promoted: " if last["promoted"] else "Not promoted: ") + str(last["why"])
    closed = [gate["name"] for gate in run.steps.get("evaluate", {}).get("gates", []) if gate["verdict"] == "closed"]
    return f"Closed gates: {', '.join(closed)}." if closed else "All gates are open or undecided; not promoted yet."


def _metrics(before: dict[str, float], after: dict[str, float]) -> list[dict[str, Any]]:
    """Metrics of the two trainings side by side; each on its own held-out records."""
    return [
        {"name": name.replace("_", " "), "before": before.get(name), "after": after.get(name)} for name in sorted(set(before) | set(after))
    ]
