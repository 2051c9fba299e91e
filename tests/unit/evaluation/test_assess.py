"""The whole account, of models that are really fitted: what they were fitted to, and what could not be judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from infra.errors import ModelError
from infra.sections import EvaluationSettings
from jobs.evaluation import leaks, splits
from jobs.evaluation.account import plain
from jobs.evaluation.assess import Assessor, Evaluation, Fit, assess
from jobs.evaluation.leaks import Treatment
from jobs.evaluation.operating import precision_at
from jobs.evaluation.splits import Way
from jobs.scoring.model import ScoringModel
from jobs.scoring.novelty import Novelty, Tails
from jobs.training.fit import Choices, fit
from jobs.training.labelled import LabelledFlows, concat
from schemas.labels import BENIGN
from tests.unit.evaluation.planted import site_traffic, small_fit


class Fits:
    """Fits, and keeps what was fitted to."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.of: list[LabelledFlows] = []

    def __call__(self, train: LabelledFlows, validation: LabelledFlows) -> ScoringModel:
        self.of.append(concat([train, validation]))
        return self.fit(train, validation)


def judged(
    flows: LabelledFlows, ways: Sequence[Way] = splits.WAYS, treatment: Treatment = "drop", fit: Fit = small_fit
) -> tuple[Evaluation, Fits]:
    fits = Fits(fit)
    assessor = Assessor(flows, fits, EvaluationSettings(), 7, lambda line: None)
    identity = leaks.identities(flows)
    base, leak = assessor.clean(splits.at_random(flows, 7), identity, treatment)
    model = small_fit(flows.where(base.train), flows.where(base.validation))
    return assess(assessor, model, base, leak, identity, ways), fits


@pytest.fixture(scope="module")
def account() -> tuple[Evaluation, Fits]:
    return judged(site_traffic())


def test_every_way_is_judged_by_models_that_have_not_seen_it(account: tuple[Evaluation, Fits]) -> None:
    evaluation, fits = account
    assert list(evaluation.parts) == ["random", "random_closed", "random_interim", "by_day", "by_host"]
    days, hosts, attacks = fits.of[:3], fits.of[3:8], fits.of[8:]
    assert [set(f.group) for f in days] == [{f"2026-01-0{d}" for d in (1, 2, 3)} - {f"2026-01-0{d}"} for d in (1, 2, 3)]
    assert all(len(set(f.host)) < 30 for f in hosts)
    assert [set(f.y) for f in attacks] == [
        {BENIGN, "SYN_SCAN", "UDP_FLOOD"},
        {BENIGN, "SLOWLORIS", "UDP_FLOOD"},
        {BENIGN, "SLOWLORIS", "SYN_SCAN"},
    ]
    assert [u.label for u in evaluation.unseen] == ["SLOWLORIS", "SYN_SCAN", "UDP_FLOOD"]
    assert evaluation.parts["by_day"].quality.records == evaluation.parts["by_host"].quality.records == 1200
    assert [f.name for f in evaluation.parts["by_day"].folds] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert sum(f.rates.records for f in evaluation.parts["by_host"].folds) == 1200
    assert len(evaluation.ages) > 3
    assert evaluation.notes == ("interim snapshots of one flow may lie on both sides of the random split: believe the others",)


def test_the_account_fits_together(account: tuple[Evaluation, Fits]) -> None:
    evaluation, _ = account
    whole, closed, interim = list(evaluation.parts.values())[:3]
    assert whole.quality.records == closed.quality.records + interim.quality.records
    assert evaluation.curve is not None
    assert evaluation.least_cost is not None
    at = evaluation.curve.at(evaluation.chosen.threshold)
    assert evaluation.curve.recall[at] == pytest.approx(whole.quality.recall)
    assert evaluation.curve.false_positive_rate[at] == pytest.approx(whole.quality.false_positive_rate)
    assert evaluation.least_cost.cost_per_hour <= evaluation.chosen.cost_per_hour
    assert sum(a.rates.records for a in evaluation.ages if not a.closed) == interim.quality.records
    values = json.loads(json.dumps(plain(evaluation), allow_nan=False))
    assert values["parts"]["by_day"]["quality"]["recall"] == evaluation.parts["by_day"].quality.recall
    there, day = values["parts"]["by_day"]["on_site"], evaluation.parts["by_day"].quality
    assert there["precision"] == precision_at(day.recall, day.false_positive_rate, 0.01)
    assert there["false_alarms_per_hour"] == pytest.approx(day.false_positive_rate * 0.99 * 360_000)
    assert values["parts"]["random"]["intervals"]["f1"] == evaluation.parts["random"].intervals["f1"]._asdict()


def test_twice_the_same(account: tuple[Evaluation, Fits]) -> None:
    assert plain(judged(site_traffic())[0]) == plain(account[0])


def test_what_records_do_not_allow_is_said() -> None:
    flows = site_traffic(600)
    n = len(flows)
    bare = LabelledFlows(flows.x, flows.columns, flows.y, np.full(n, "2026-01-01"), np.ones(n, bool))
    evaluation, fits = judged(bare, ("day", "host"))
    assert list(evaluation.parts) == ["random"]
    assert fits.of == []
    assert [note.split(":")[0] for note in evaluation.notes] == [
        "fewer than two days",
        "fewer than two source addresses",
        "no interim snapshots, or none with an age",
    ]
    assert evaluation.ages == ()


@pytest.mark.slow
def test_a_day_without_which_there_is_nothing_to_train_on_is_named() -> None:
    flows = site_traffic(600)
    only = replace(flows, group=np.where(flows.attack, "2026-01-01", flows.group))  # every attack on one day
    evaluation, _ = judged(only, ("day",), fit=lambda some, others: fit(some, others, Choices(features=3)).model)
    assert [f.name for f in evaluation.parts["by_day"].folds] == ["2026-01-02", "2026-01-03"]
    assert any(note.startswith("2026-01-01 not judged: training needs BENIGN flows and at least one attack") for note in evaluation.notes)


def test_planted_duplicates_are_dropped_counted_or_refused() -> None:
    flows = site_traffic(600)
    doubled = concat([flows, flows.where(np.arange(200))])
    dropped, _ = judged(doubled, ())
    leak = dropped.parts["random"].leak
    assert leak is not None
    assert leak.shared == leak.dropped > 50
    assert dropped.parts["random"].quality.records == leak.rows - leak.shared
    assert "left out of its figures" in dropped.notes[0]
    kept, _ = judged(doubled, (), "keep")
    assert kept.parts["random"].quality.records == leak.rows
    assert "left out" not in kept.notes[0]
    with pytest.raises(ModelError, match="are also in the training"):
        judged(doubled, (), "refuse")
    clean, _ = judged(flows, (), "refuse")
    assert clean.parts["random"].leak == leaks.Leak(len(splits.at_random(flows, 7).test), 0, 0, ())


def test_a_label_of_one_record_is_trained_on_and_named() -> None:
    flows = site_traffic(300)
    rare = replace(flows, y=np.where(np.arange(300) == int(np.flatnonzero(flows.attack)[0]), "HEARTBLEED", flows.y))
    evaluation, _ = judged(rare, ())
    assert "no record held out, so nothing is known of: HEARTBLEED" in evaluation.notes


def test_nothing_left_to_judge_by_is_refused() -> None:
    flows = site_traffic(200)
    same = replace(flows, x=np.zeros_like(flows.x))
    assessor = Assessor(same, small_fit, EvaluationSettings(), 7, lambda line: None)
    with pytest.raises(ModelError, match="each of the"):
        assessor.clean(splits.at_random(same, 7), leaks.identities(same), "drop")


def test_what_novelty_finds_alone_is_told_apart() -> None:
    """A model that has one is judged with it: in recall, in the curve, and for attacks that it was never shown."""
    flows = site_traffic()
    plainly, _ = judged(flows, ("attack",))
    fits = Fits(small_fit)

    def fit(train: LabelledFlows, validation: LabelledFlows) -> ScoringModel:
        model = fits(train, validation)
        tails = Tails.fit(train.x[~train.attack])
        benign = validation.x[~validation.attack]
        return replace(model, novelty=Novelty(tails, train.columns, float(np.quantile(tails.score(benign), 0.98))))

    assessor = Assessor(flows, fit, EvaluationSettings(), 7, lambda line: None)
    identity = leaks.identities(flows)
    base, leak = assessor.clean(splits.at_random(flows, 7), identity, "drop")
    evaluation = assess(assessor, fit(flows.where(base.train), flows.where(base.validation)), base, leak, identity, ("attack",))
    assert sum(u.novel for u in evaluation.unseen) > 0
    assert sum(u.flagged for u in evaluation.unseen) > sum(u.flagged for u in plainly.unseen)
    assert evaluation.curve is not None
    at = evaluation.curve.at(evaluation.chosen.threshold)
    assert evaluation.curve.false_positive_rate[at] == pytest.approx(evaluation.chosen.false_positive_rate)
