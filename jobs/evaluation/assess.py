"""The whole account of a model: every way of holding out that the records allow, and what follows for the site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infra.errors import ModelError
from infra.sections import EvaluationSettings
from jobs.evaluation import leaks, splits
from jobs.evaluation.decisions import Decisions, decide, together
from jobs.evaluation.leaks import Contradiction, Treatment
from jobs.evaluation.operating import Curve, Operating, cheapest, curve, operating
from jobs.evaluation.parts import Age, FoldRates, SplitResult, Unseen, by_age, part, rates, unseen
from jobs.evaluation.reliability import Reliability, reliability
from jobs.evaluation.splits import Fold, Way
from jobs.scoring.model import ScoringModel
from jobs.training.labelled import LabelledFlows

#: Fits a model: rows to fit to, rows to choose the threshold on.
Fit = Callable[[LabelledFlows, LabelledFlows], ScoringModel]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Evaluation:
    """How good a model is.

    Attributes
    ----------
    parts
        By name; the first is what was held out of the model itself, the others are of models fitted like it: ``by_day``, ``by_host``.
    unseen
        What a model does with an attack that it has never seen.
    ages
        How early it is right: interim snapshots by age.
    curve
        DetectionRates of the first part by threshold; None where it lacks attacks or benign records.
    chosen, least_cost
        The model's threshold on the site, and that of the least expected cost there.
    reliability
        Whether P(attack) is a probability: as the records are mixed, and at the site's share of attacks.
    contradictions
        Equal rows with different labels.
    site
        The traffic and the costs that the account holds for.
    notes
        What could not be judged, and why.
    """

    parts: dict[str, SplitResult]
    unseen: tuple[Unseen, ...]
    ages: tuple[Age, ...]
    curve: Curve | None
    chosen: Operating
    least_cost: Operating | None
    reliability: tuple[Reliability, ...]
    contradictions: tuple[Contradiction, ...]
    site: EvaluationSettings
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Assessor:
    """Judges models on one set of records.

    Attributes
    ----------
    flows
        All records.
    fit
        How a model is fitted, the same way for every fold.
    site
        Traffic and costs.
    seed
        Of splits and bootstraps.
    progress
        Told what is being done.
    """

    flows: LabelledFlows
    fit: Fit
    site: EvaluationSettings
    seed: int
    progress: Progress

    def clean(self, fold: Fold, identity: npt.NDArray[np.int64], treatment: Treatment) -> tuple[Fold, leaks.Leak]:
        """The fold that gives the model, test rows that its training or validation has treated as asked, and the account of these.

        Raises
        ------
        ModelError
            Too many rows are on both sides, and that is refused; or none is left to judge by.
        """
        seen = np.concatenate([fold.train, fold.validation])
        leak, both = leaks.find(identity, self.flows.y, seen, fold.test)
        if not leaks.treat(fold.name, leak, treatment):
            return fold, leak
        if both.all():
            raise ModelError(
                f"split {fold.name}: each of the {leak.rows:,} test rows is also in the training", "records that differ are needed"
            )
        return Fold(fold.name, fold.train, fold.validation, fold.test[~both]), leaks.Leak(leak.rows, leak.shared, leak.shared, leak.labels)

    def folds(self, name: str, of: Iterable[Fold], identity: npt.NDArray[np.int64], notes: list[str]) -> SplitResult | None:
        """Every fold judged by a model of the other rows, all decisions together; None where no fold could be."""
        judged: list[Decisions] = []
        told: list[FoldRates] = []
        shared = total = 0
        folds = list(of)
        for number, fold in enumerate(folds, 1):
            decisions, model = self._judge(fold, notes, f"{number} of {len(folds)} by {name.removeprefix('by ')}")
            if decisions is None or model is None:
                continue
            leak, _ = leaks.find(identity, self.flows.y, np.concatenate([fold.train, fold.validation]), fold.test)
            shared, total = shared + leak.shared, total + leak.rows
            judged.append(decisions)
            told.append(FoldRates(fold.name, model.threshold, rates(decisions.flows.attack, decisions.flagged)))
        if not judged:
            notes.append(f"{name}: not judged, no fold of it could be")
            return None
        return part(together(judged), seed=self.seed, folds=tuple(told), leak=leaks.Leak(total, shared, 0, ()))

    def left_out(self, base: Fold, model: ScoringModel, notes: list[str]) -> tuple[Unseen, ...]:
        """Every kind of attack judged by a model that has seen none of it."""
        found: list[Unseen] = []
        folds = list(splits.without_attack(self.flows, base, model.attack_types))
        for number, fold in enumerate(folds, 1):
            decisions, _ = self._judge(fold, notes, f"{number} of {len(folds)} attacks")
            if decisions is not None:
                found += unseen(fold.name, decisions)
        return tuple(found)

    def _judge(self, fold: Fold, notes: list[str], place: str) -> tuple[Decisions | None, ScoringModel | None]:
        self.progress(f"a training without {fold.name} ({place}), judged by {len(fold.test):,} of {len(self.flows):,} records")
        try:
            model = self.fit(self.flows.where(fold.train), self.flows.where(fold.validation))
        except ModelError as e:
            notes.append(f"{fold.name} not judged: {e}")
            return None, None
        return decide(model, self.flows.where(fold.test)), model


def assess(
    assessor: Assessor,
    model: ScoringModel,
    base: Fold,
    leak: leaks.Leak,
    identity: npt.NDArray[np.int64],
    ways: Sequence[Way] = splits.WAYS,
) -> Evaluation:
    """Judge a fitted model, and models fitted like it on other folds.

    Parameters
    ----------
    assessor
        The records, and how models are fitted.
    model
        The model of ``base``.
    base, leak
        The fold that gave the model, and what its test shares with its training (:meth:`Assessor.clean`). The first part has its name.
    identity
        Which rows are equal (:func:`jobs.evaluation.leaks.identities`).
    ways
        Further ways of holding out; what the records do not allow is said in the notes.
    """
    flows, seed, site = assessor.flows, assessor.seed, assessor.site
    notes: list[str] = []
    decisions = decide(model, flows.where(base.test))
    fold = FoldRates(base.name, model.threshold, rates(decisions.flows.attack, decisions.flagged))
    parts = {base.name: part(decisions, seed=seed, folds=(fold,), leak=leak)}
    for name, closed in (("closed", True), ("interim", False)):
        rows = decisions.flows.closed == closed
        if rows.any() and not rows.all():
            parts[f"{base.name}_{name}"] = part(decisions.where(rows), seed=seed)
    for way in ("day", "host"):
        if way in ways and (reason := _not_possible(way, flows)):
            notes.append(reason)
        elif way in ways:
            of = splits.by_day(flows, seed) if way == "day" else splits.by_host(flows, seed)
            if found := assessor.folds(f"by {way}", of, identity, notes):
                parts[f"by_{way}"] = found
    left_out = assessor.left_out(base, model, notes) if "attack" in ways else ()
    at = parts[base.name].quality
    for count, what in ((at.attacks, "attack"), (at.records - at.attacks, "benign record")):
        if not count:
            notes.append(f"no {what} among the {at.records:,} records held out: how good the model is is not known")
    if base.name == "random" and not flows.closed.all():
        notes.append("interim snapshots of one flow may lie on both sides of the random split: believe the others")
    if rare := sorted(set(flows.y.tolist()) - set(decisions.flows.y.tolist())):
        notes.append(f"no record held out, so nothing is known of: {', '.join(rare)}")
    ages = by_age(decisions)
    if not ages:
        notes.append("no interim snapshots, or none with an age: how early the model is right is not known")
    score = np.where(decisions.novel, np.inf, decisions.p_attack)
    points = curve(decisions.flows.attack, score)
    own, at_site = (reliability(decisions.flows.attack, decisions.p_attack, share) for share in (None, site.attack_share))
    contradictory = leaks.contradictions(identity, flows.y)
    return Evaluation(
        parts=parts,
        unseen=left_out,
        ages=ages,
        curve=points,
        chosen=operating(model.threshold, at.recall, at.false_positive_rate, site),
        least_cost=cheapest(points, site) if points else None,
        reliability=tuple(r for r in (own, at_site) if r is not None),
        contradictions=contradictory,
        site=site,
        notes=(*_leaked(base.name, leak), *leaks.told(contradictory), *notes),
    )


def _not_possible(way: str, flows: LabelledFlows) -> str:
    """Why records cannot be held out that way; empty where they can."""
    count = int((np.unique(flows.group if way == "day" else flows.host) != "").sum())
    if count >= 2:
        return ""
    return f"fewer than two {'days' if way == 'day' else 'source addresses'}: no split by {way}"


def _leaked(name: str, leak: leaks.Leak) -> list[str]:
    if not leak.shared:
        return []
    worst = ", ".join(f"{label} {count:,}" for label, count in leak.labels[:3])
    done = "; they are left out of its figures" if leak.dropped else "; they count: they are other flows, which look alike"
    return [f"{leak.shared:,} of {leak.rows:,} test rows of the split {name} are also in the training ({worst}){done}"]
