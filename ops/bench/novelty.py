"""What finds attacks of a day when the other days are known: detectors, classifiers, and what ``flowlake train`` fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from infra.config import Settings
from infra.errors import ConfigError
from jobs.evaluation import splits
from jobs.evaluation.decisions import decide
from jobs.evaluation.intervals import wilson
from jobs.training.fit import Choices, fit
from jobs.training.labelled import LabelledFlows
from jobs.training.threshold import lowest_threshold
from ops.bench.place import machine
from ops.bench.rivals import RIVALS, Rival

Mask = npt.NDArray[np.bool_]
#: What is trained as ``flowlake train`` does: the classifier with the whole budget, and with a tenth of it beside the panel.
ALONE, BOTH = "classifier", "classifier and panel"
#: Of the false alarms, the classifier's share when the panel has the rest.
SHARE = 0.1
#: Family of the classifier: what ``--family auto`` takes on the corrected CIC-IDS2017.
FAMILY = "blend"
#: What is asked of the model that ``flowlake train`` fits, at :data:`MAX_FPR`.
RECALL, MAX_FPR = 0.70, 0.005
#: Days that it takes: to hold one out, one more, and to fit to the rest.
_FEWEST_DAYS = 3


def run(
    settings: Settings,
    *,
    records: Sequence[str],
    names: Sequence[str] = (),
    max_fpr: float = MAX_FPR,
    seeds: Sequence[int] = (7,),
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Compare on labelled records of several days.

    Parameters
    ----------
    settings
        Where a lake is.
    records
        Files, folders or a table (:mod:`jobs.training.sources`).
    names
        Of :data:`ops.bench.rivals.RIVALS`, :data:`ALONE` and :data:`BOTH`; none: all.
    max_fpr
        Share of benign records that may be taken for attacks.
    seeds
        Of every random choice; each is a row.
    say
        Told what is being done.

    Returns
    -------
    dict
        ``rows``: :func:`compare`; ``records``, ``days``, ``max_fpr``, ``met``; the machine.

    Raises
    ------
    ConfigError
        A name that is none, or records of fewer than three days.
    ModelError
        The records cannot be used.
    """
    from jobs.training.sources import TrainingData, load

    if unknown := sorted(set(names) - {*RIVALS, ALONE, BOTH}):
        raise ConfigError(f"--only {', '.join(unknown)}: no such way", f"there are: {', '.join((*RIVALS, ALONE, BOTH))}")
    flows = load(settings, TrainingData(records=tuple(records)), say).flows
    days = np.unique(flows.group[flows.group != ""]).tolist()
    if len(days) < _FEWEST_DAYS:
        raise ConfigError(f"--records: of {len(days)} days", f"each day is held out in turn, so {_FEWEST_DAYS} are needed")
    rows = compare(flows.where(flows.group != ""), names or (*RIVALS, ALONE, BOTH), max_fpr, seeds, say)
    met = [row["recall"] >= RECALL and row["fpr"] <= MAX_FPR for row in rows if row["way"] == BOTH]
    return {"records": len(flows), "days": days, "max_fpr": max_fpr, "rows": rows, "met": bool(met) and all(met), "machine": machine()}


def compare(
    flows: LabelledFlows, names: Sequence[str], max_fpr: float, seeds: Sequence[int], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row of figures for each way and seed: found of all attacks and of each label, false alarms, seconds."""
    rows = []
    for name in names:
        for seed in seeds:
            say(f"{name}, seed {seed}")
            begin = time.monotonic()
            flagged = _trained(flows, name, max_fpr, seed) if name in (ALONE, BOTH) else crossed(flows, RIVALS[name], max_fpr, seed)
            rows.append({"way": name, "seed": seed, **_figures(flows, flagged), "seconds": round(time.monotonic() - begin, 1)})
    return rows


def crossed(flows: LabelledFlows, rival: Rival, max_fpr: float, seed: int) -> Mask:
    """What is taken for an attack, bool[n], each day by what was fitted to the others.

    The threshold is chosen by the benign records of those, each day of them scored by what was fitted to the rest. It keeps ``max_fpr``
    there.
    """
    days = np.unique(flows.group).tolist()
    benign = {day: np.flatnonzero((flows.group == day) & ~flows.attack) for day in days}
    # by the day that is held out: scores of the benign records of the others, from fits without both days
    others: dict[str, list[npt.NDArray[np.float64]]] = {day: [] for day in days}
    for one, two in combinations(days, 2):
        score = rival(flows.where(~np.isin(flows.group, [one, two])), seed)
        others[one].append(score(flows.x[benign[two]]))
        others[two].append(score(flows.x[benign[one]]))
    flagged = np.zeros(len(flows), bool)
    for day in days:
        of = flows.group == day
        known = np.concatenate(others[day])
        threshold = lowest_threshold(known, np.ones(len(known), bool), max_fpr)
        flagged[of] = rival(flows.where(~of), seed)(flows.x[of]) >= threshold
    return flagged


def _trained(flows: LabelledFlows, name: str, max_fpr: float, seed: int) -> Mask:
    """The same by models of ``flowlake train``."""
    share = SHARE if name == BOTH else 1.0
    choices = Choices(max_fpr=share * max_fpr, novelty_fpr=(1 - share) * max_fpr, seed=seed, family=FAMILY, cross=False)
    flagged = np.zeros(len(flows), bool)
    for fold in splits.by_day(flows, seed):
        model = fit(flows.where(fold.train), flows.where(fold.validation), choices).model
        flagged[fold.test] = decide(model, flows.where(fold.test)).flagged
    return flagged


def _figures(flows: LabelledFlows, flagged: Mask) -> dict[str, Any]:
    attack = flows.attack
    false, n = int((flagged & ~attack).sum()), int((~attack).sum())
    low, high = wilson(false, n)
    kinds = {label: round(float(flagged[flows.y == label].mean()), 3) for label in np.unique(flows.y[attack]).tolist()}
    return {
        "recall": round(float(flagged[attack].mean()), 4),
        "fpr": round(false / n, 5),
        "fpr_95": [round(low, 5), round(high, 5)],
        "kinds": kinds,
    }


def tables(result: dict[str, Any]) -> Iterator[Table]:
    """Ways below each other; then kinds of attack below each other, and the share of each that every way finds."""
    rows = result["rows"]
    yield _table(
        ("way", "seed", "found", "false alarms"),
        [(row["way"], str(row["seed"]), f"{row['recall']:.3f}", f"{row['fpr']:.2%}") for row in rows],
    )
    each = [(kind, *(f"{row['kinds'][kind]:.2f}" for row in rows)) for kind in rows[0]["kinds"]]
    yield _table(("found of", *(f"{row['way']}, {row['seed']}" for row in rows)), each)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i, title in enumerate(titles):
        table.add_column(title, justify="right" if i else "left", no_wrap=not i)
    for row in rows:
        table.add_row(*row)
    return table
