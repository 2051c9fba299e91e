"""Figures with intervals: of all records held out in one way, of attacks that a model has never seen, by age of the flow."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from jobs.evaluation.decisions import Decisions
from jobs.evaluation.intervals import UNDEFINED, Interval, bootstrap, bootstrap_rows, wilson
from jobs.evaluation.leaks import Leak
from jobs.training.evaluate import ClassQuality, Confusion, Quality, detection, judge, summary

#: Fewer groups than this say nothing about how groups differ: records are drawn one by one then.
GROUPS = 10
#: More groups than this are put together by the dozen: the interval is hardly wider, and memory stays bounded.
MOST_GROUPS = 5_000
#: Ages in seconds at which the table by age is cut.
AGES: tuple[float, ...] = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, float("inf"))


@dataclass(frozen=True)
class DetectionRates:
    """Recall and false-positive rate of some records, with intervals."""

    records: int
    attacks: int
    recall: float
    recall_interval: Interval
    false_positive_rate: float
    false_positive_interval: Interval


@dataclass(frozen=True)
class FoldRates:
    """One fold of a split: what was held out, the threshold of its model, its rates."""

    name: str
    threshold: float
    rates: DetectionRates


@dataclass(frozen=True)
class SplitResult:
    """All records held out in one way, as judged by models that have not seen them.

    Attributes
    ----------
    quality, classes, confusion
        Figures; by label; what was taken for what.
    intervals
        Of ``precision``, ``recall``, ``false_positive_rate`` (Wilson), ``f1`` and ``macro_f1`` (bootstrap).
    drawn
        What the bootstrap has drawn: ``hosts``, or ``records`` where hosts are not known or too few.
    folds
        The single trainings; one for a split that gives the model.
    leak
        Rows that the training has too.
    """

    quality: Quality
    classes: tuple[ClassQuality, ...]
    confusion: Confusion
    intervals: dict[str, Interval]
    drawn: str
    folds: tuple[FoldRates, ...]
    leak: Leak | None


@dataclass(frozen=True)
class Unseen:
    """A label of which the training had no record: how many of its records were taken for an attack all the same.

    ``novel`` of them by the novelty detector alone; ``taken`` is what most of the found were taken for. ``false_positive_rate`` is that of
    the same model on benign records.
    """

    label: str
    family: str
    records: int
    flagged: int
    novel: int
    recall: float
    interval: Interval
    taken: str
    false_positive_rate: float


@dataclass(frozen=True)
class Age:
    """Interim snapshots of flows that were ``low`` up to ``high`` seconds old; ``closed`` where they are the closed flows of any age."""

    low: float
    high: float
    closed: bool
    rates: DetectionRates


def rates(attack: npt.NDArray[np.bool_], flagged: npt.NDArray[np.bool_]) -> DetectionRates:
    """Rates of n records, bool[n] each."""
    _, recall, fpr = detection(attack, flagged)
    attacks, benign = int(attack.sum()), int((~attack).sum())
    hits, alarms = int((attack & flagged).sum()), int((~attack & flagged).sum())
    return DetectionRates(len(attack), attacks, recall, wilson(hits, attacks), fpr, wilson(alarms, benign))


def part(decisions: Decisions, *, seed: int, folds: tuple[FoldRates, ...] = (), leak: Leak | None = None) -> SplitResult:
    """Judge decisions on held-out records; ``seed`` is that of the bootstrap."""
    quality, classes, confusion = judge(decisions.flows, decisions.rank, decisions.taken)
    attack, flagged = decisions.flows.attack, decisions.flagged
    of = rates(attack, flagged)
    f1, macro_f1, drawn = _bootstrapped(decisions, confusion, seed)
    intervals = {
        "precision": wilson(int((attack & flagged).sum()), int(flagged.sum())),
        "recall": of.recall_interval,
        "false_positive_rate": of.false_positive_interval,
        "f1": f1,
        "macro_f1": macro_f1,
    }
    return SplitResult(quality, tuple(classes), confusion, intervals, drawn, folds, leak)


def _bootstrapped(decisions: Decisions, confusion: Confusion, seed: int) -> tuple[Interval, Interval, str]:
    """Intervals of F1 and macro-F1, and what was drawn."""
    flows = decisions.flows
    if not len(flows):
        return UNDEFINED, UNDEFINED, "records"
    if (flows.host != "").all():
        names, group = np.unique(np.char.add(np.char.add(flows.group, "\0"), flows.host), return_inverse=True)
        if len(names) >= GROUPS:
            k, groups = len(confusion.labels), min(len(names), MOST_GROUPS)
            index = {label: i for i, label in enumerate(confusion.labels)}
            true, said = (np.array([index[v] for v in values.tolist()]) for values in (flows.y, decisions.taken))
            counts = np.bincount((group % groups * k + true) * k + said, minlength=groups * k * k).reshape(groups, k, k)
            return *_two(bootstrap(counts, summary, seed=seed)), "hosts"
    return *_two(bootstrap_rows(confusion.counts, summary, seed=seed)), "records"


def _two(found: tuple[Interval, ...]) -> tuple[Interval, Interval]:
    f1, macro_f1 = found
    return f1, macro_f1


def unseen(family: str, decisions: Decisions) -> tuple[Unseen, ...]:
    """Every label of a fold whose attacks its training lacked."""
    flows, flagged, novel = decisions.flows, decisions.flagged, decisions.novel
    fpr = detection(flows.attack, flagged)[2]
    found = []
    for label in np.unique(flows.y[flows.attack]).tolist():
        rows = flows.y == label
        hits = rows & flagged
        names, counts = np.unique(decisions.taken[hits], return_counts=True)
        n, k = int(rows.sum()), int(hits.sum())
        taken = str(names[counts.argmax()]) if k else ""
        found.append(Unseen(label, family, n, k, int((rows & novel).sum()), k / n, wilson(k, n), taken, fpr))
    return tuple(found)


def by_age(decisions: Decisions) -> tuple[Age, ...]:
    """Interim snapshots by age, then the closed flows; empty where the records hold no snapshot, or no ages.

    A flow has a snapshot for every look at it, so a row answers: of what is that old and still going on, how much is known already?
    """
    flows, flagged = decisions.flows, decisions.flagged
    if not (flows.age[~flows.closed] > 0).any():
        return ()
    found = []
    for low, high in pairwise(AGES):
        rows = ~flows.closed & (flows.age >= low) & (flows.age < high)
        if rows.any():
            found.append(Age(low, high, False, rates(flows.attack[rows], flagged[rows])))
    if flows.closed.any():
        found.append(Age(0.0, float("inf"), True, rates(flows.attack[flows.closed], flagged[flows.closed])))
    return tuple(found)
