"""The detector of attacks that no classifier was shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.training import unseen
from jobs.training.fit import Choices, fit
from jobs.training.labelled import LabelledFlows, concat

COLUMNS = ("flow_duration", "total_fwd_packets", "fwd_packet_length_mean", "fwd_seg_size_min", "flow_iat_mean")
SMALL = {"n_estimators": 15, "max_depth": 8, "min_samples_leaf": 1, "max_features": 0.5}


def flows(label: str, n: int, middle: tuple[float, float, float], seed: int, *, header: float = 20, group: str = "") -> LabelledFlows:
    """Records around a middle in three columns, on a logarithmic scale."""
    rng = np.random.default_rng(seed)
    x = np.exp(np.log(middle) + rng.normal(scale=0.5, size=(n, 3)))
    x = np.column_stack([x, np.full(n, header), x[:, 0] / x[:, 1]]).astype(np.float32)
    groups = np.full(n, group) if group else rng.permutation(np.arange(n) % 6).astype(str)
    return LabelledFlows(x, COLUMNS, np.full(n, label), groups, np.ones(n, bool))


def benign(n: int, seed: int) -> LabelledFlows:
    return concat([flows("BENIGN", n, (1000, 10, 200), seed), flows("BENIGN", n, (50, 2, 60), seed + 1, header=8)])


KNOWN = ("SYN_SCAN", 300, (5, 1, 40))
NEW = ("EXFILTRATION", 200, (4e6, 9000, 1400))


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unseen, "TREES", SMALL)


def test_the_budget_is_kept_on_benign_records_that_it_has_not_seen() -> None:
    novelty = unseen.fit(concat([benign(1500, 1), flows(*KNOWN, 3)]), benign(500, 5), Choices(novelty_fpr=0.01))
    assert novelty is not None
    others = benign(4000, 7)
    rate = (novelty.score(others.x) >= novelty.threshold).mean()
    assert 0 < rate <= 0.015
    assert (novelty.score(flows(*KNOWN, 9).x) >= novelty.threshold).mean() > 0.9


def test_the_same_twice() -> None:
    train, validation, choices = concat([benign(400, 1), flows(*KNOWN, 3)]), benign(200, 5), Choices(novelty_fpr=0.01)
    one, two = (unseen.fit(train, validation, choices) for _ in range(2))
    assert one is not None
    assert two is not None
    assert one.threshold == two.threshold
    for name, array in one.detector.arrays().items():
        assert np.array_equal(array, two.detector.arrays()[name]), name


@pytest.mark.parametrize("rate", [0.0, 0.01], ids=["no-budget", "few-records"])
def test_no_detector_without_a_budget_or_enough_benign_records(rate: float) -> None:
    n = 400 if rate == 0 else 20
    assert unseen.fit(concat([benign(n, 1), flows(*KNOWN, 3)]), benign(20, 5), Choices(novelty_fpr=rate)) is None


def test_a_day_that_differs_raises_the_threshold() -> None:
    """A day like no other is unusual for members that were fitted to the others: the threshold allows for it."""
    same = concat([benign(800, 1), flows(*KNOWN, 3)])
    odd = flows("BENIGN", 100, (2e5, 300, 900), 11, group="0")
    choices = Choices(novelty_fpr=0.02)
    plain, wary = unseen.fit(same, benign(200, 5), choices), unseen.fit(concat([same, odd]), benign(200, 5), choices)
    assert plain is not None
    assert wary is not None
    assert wary.threshold > plain.threshold


def test_snapshots_keep_the_budget_too() -> None:
    closed = benign(600, 1)
    still_open = flows("BENIGN", 600, (1000, 10, 200), 21)
    still_open = replace(still_open, closed=np.zeros(600, bool))
    train = concat([closed, still_open, flows(*KNOWN, 3)])
    novelty = unseen.fit(train, benign(100, 5), Choices(novelty_fpr=0.02))
    assert novelty is not None
    other = flows("BENIGN", 3000, (1000, 10, 200), 23)
    assert (novelty.score(other.x) >= novelty.threshold).mean() <= 0.04


def test_trees_that_the_other_days_do_not_suffice_for_are_left_out() -> None:
    """Of a day that has all attacks, nothing says how trees that have seen them judge benign records of another day."""
    train = concat([benign(600, 1), flows(*KNOWN, 3, group="4")])
    novelty = unseen.fit(train, benign(200, 5), Choices(novelty_fpr=0.01))
    assert novelty is not None
    assert set(novelty.detector.arrays()["kinds"].tolist()) == {"near"}


def test_records_without_the_column_of_tcp_are_judged_all_the_same() -> None:
    columns = tuple(name for name in COLUMNS if name != "fwd_seg_size_min")
    train, validation = (part.select(columns) for part in (concat([benign(600, 1), flows(*KNOWN, 3)]), benign(200, 5)))
    novelty = unseen.fit(train, validation, Choices(novelty_fpr=0.01))
    assert novelty is not None
    assert (novelty.score(flows(*NEW, 9).select(columns).x) >= novelty.threshold).mean() > 0.9


@pytest.mark.slow
def test_an_attack_that_was_left_out_of_the_training_is_unknown() -> None:
    train = concat([benign(1500, 1), flows(*KNOWN, 3)])
    validation = concat([benign(500, 5), flows(*KNOWN, 15)])
    model = fit(train, validation, Choices(features=3, max_fpr=0.01, novelty_fpr=0.01)).model
    assert model.novelty is not None
    _, label, kind, novel = model.decide_by(flows(*NEW, 9).matrix)
    said = np.array(model.verdicts)[kind]
    assert novel is not None
    assert (label == 1).mean() > 0.9
    assert (said == "UNKNOWN").mean() > 0.5
    assert "EXFILTRATION" not in model.verdicts
