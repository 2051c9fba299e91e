"""Training on generated traffic through the meter: features, determinism, quality."""

from __future__ import annotations

import numpy as np
import pytest

from infra import config
from infra.errors import ConfigError, ModelError
from jobs.training.evaluate import evaluate
from jobs.training.fit import CANDIDATES, Choices, choose_features, class_weights, fit
from jobs.training.generated import generated_flows
from jobs.training.labelled import LabelledFlows, concat
from jobs.training.train import train
from schemas.features import REDUNDANT_FEATURES
from schemas.labels import NAMES

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3, 4, 5, 6, 7, 8)


@pytest.fixture(scope="module")
def flows() -> dict[int, LabelledFlows]:
    data = generated_flows(SEEDS, duration_s=15.0, progress=lambda line: None)
    return {s: data.where(data.group == str(s)) for s in SEEDS}


def test_generated_flows_hold_every_label_closed_and_open(flows: dict[int, LabelledFlows]) -> None:
    data = concat(list(flows.values()))
    assert set(data.y) == set(NAMES)
    assert data.closed.any()
    assert (~data.closed).any()
    assert np.isfinite(data.x).all()
    for s in SEEDS:
        assert len(flows[s]) > 1000


def test_same_seed_same_flows(flows: dict[int, LabelledFlows]) -> None:
    again = generated_flows([2], duration_s=15.0, progress=lambda line: None)
    assert np.array_equal(again.x, flows[2].x)
    assert np.array_equal(again.y, flows[2].y)


def test_candidates_leave_out_duplicates_ports_addresses_and_times() -> None:
    assert not set(CANDIDATES) & REDUNDANT_FEATURES
    assert not any(word in name for name in CANDIDATES for word in ("port", "_ip", "time"))


def test_features_chosen_do_not_say_the_same(flows: dict[int, LabelledFlows]) -> None:
    data = flows[1]
    doubled = LabelledFlows(
        np.column_stack([data.x, np.exp(-data.x[:, 0] / 1e6), np.ones(len(data), np.float32)]),
        (*data.columns, "monotone_copy", "constant"),
        data.y,
        data.group,
        data.closed,
    )
    chosen = choose_features(doubled, Choices(features=len(CANDIDATES), max_correlation=0.98))
    assert "constant" not in chosen
    assert not {"monotone_copy", data.columns[0]} <= set(chosen)
    from scipy.stats import spearmanr

    rho = np.abs(spearmanr(doubled.capped(3000, 7).select(chosen).x).statistic)
    assert rho[~np.eye(len(chosen), dtype=bool)].max() <= 0.98 + 1e-9
    assert len(choose_features(data, Choices(features=20))) == 20


def test_training_is_deterministic(flows: dict[int, LabelledFlows]) -> None:
    one, two = (fit(flows[1], flows[2], Choices(family="boosted", cross=False)) for _ in range(2))
    assert one.model.columns == two.model.columns
    assert one.model.threshold == two.model.threshold
    assert one.model.usual == two.model.usual
    assert set(one.model.usual) == set(one.model.reads)
    x = flows[3].select(one.model.columns).x
    assert np.array_equal(one.model.predict(x), two.model.predict(x))


def test_quality_on_traffic_of_other_seeds(flows: dict[int, LabelledFlows]) -> None:
    """A floor well under what is published: some attacks look, flow by flow, like benign traffic (a refused connection is one)."""
    fitted = fit(concat([flows[s] for s in (1, 2, 3, 4, 5)]), concat([flows[6], flows[7]]), Choices(max_fpr=0.02, family="boosted"))
    quality, classes, _ = evaluate(fitted.model, flows[8])
    recall = {c.label: c.flagged / c.records for c in classes}
    assert quality.pr_auc >= 0.97
    assert quality.recall >= 0.75
    assert quality.precision >= 0.95
    assert quality.false_positive_rate <= 0.05
    assert recall["SLOWLORIS"] >= 0.9
    assert recall["DNS_TUNNEL"] >= 0.9


def test_class_weights_balance_benign_against_attacks() -> None:
    y = np.array(["BENIGN"] * 10 + ["SYN_FLOOD"] * 400 + ["EXFILTRATION"] * 4)
    w = class_weights(y)
    assert w.mean() == pytest.approx(1)
    assert w[:10].sum() == pytest.approx(w[10:].sum())
    assert w[10:410].sum() == pytest.approx(10 * w[410:].sum())  # sqrt(400 / 4)


def test_training_needs_benign_and_attacks(flows: dict[int, LabelledFlows]) -> None:
    benign = flows[1].where(~flows[1].attack)
    with pytest.raises(ModelError, match="at least one attack; found BENIGN"):
        fit(benign, benign, Choices())


@pytest.mark.parametrize("seeds", [(1, 2), (1, 2, 2)])
def test_three_distinct_seeds(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="three distinct"):
        train(config.build(), seeds=seeds, register=False)
