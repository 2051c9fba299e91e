"""Families of classifiers: all compile, cost what is counted, and the best is chosen by what it finds."""

from __future__ import annotations

import numpy as np
import pytest

from infra.errors import ConfigError
from jobs.training import families, fit
from jobs.training.fit import Choices
from jobs.training.labelled import LabelledFlows
from schemas.features import FEATURE_NAMES


def planted(n: int, seed: int) -> LabelledFlows:
    """Two kinds of attacks, each by a product of two columns: a corner that takes some splits to find."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, 4)).astype(np.float32)
    y = np.where((x[:, 0] > 0.6) & (x[:, 1] > 0.5), np.where(x[:, 2] > 0.5, "SYN_SCAN", "UDP_FLOOD"), "BENIGN")
    return LabelledFlows(x, tuple(FEATURE_NAMES[:4]), y, np.full(n, "1"), np.ones(n, bool))


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_is_compiled_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "TREE_ROWS", 400)
    data = planted(600, 1)
    y = np.where(data.attack, "ATTACK", "BENIGN")
    weight = np.ones(len(data))
    one, two = (families.fitted(name, 5, data.x, y, weight) for _ in range(2))
    other = planted(300, 2).x
    compact = families.compact(one)
    np.testing.assert_allclose(compact.predict_proba(other), one.predict_proba(other), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(compact.predict_proba(other), families.compact(two).predict_proba(other))
    assert (compact.predict_proba(other).argmax(axis=1) == (planted(300, 2).y == "BENIGN")).mean() > 0.9
    cost = families.cost(one)
    assert cost.trees > 0
    assert 1 < cost.steps / cost.trees < 20


def test_the_cost_is_the_mean_number_of_questions() -> None:
    """One tree, one question; then none."""
    from sklearn.ensemble import RandomForestClassifier

    x = np.arange(10, dtype=np.float32)[:, None]
    stump = RandomForestClassifier(3, max_depth=1, bootstrap=False, random_state=0).fit(x, x[:, 0] > 4)
    assert families.cost(stump) == families.Cost(3, 3.0)
    assert families.cost(RandomForestClassifier(2, random_state=0).fit(x, np.arange(10) < 0 + 20)) == families.Cost(2, 0.0)


def test_no_such_family() -> None:
    with pytest.raises(ConfigError, match="--family 'svm'") as raised:
        fit.fit(planted(100, 1), planted(100, 2), Choices(family="svm"))
    assert "scaled-forest" in str(raised.value.hint)


@pytest.mark.slow
def test_auto_takes_the_cheapest_of_the_best_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.BOOSTED, "max_iter", 20)
    chosen = fit.fit(planted(1500, 1), planted(800, 2), Choices())
    assert chosen.family in families.FAMILIES
    assert any(note.startswith(f"family {chosen.family}: ") and "steps a record" in note for note in chosen.notes)
    assert "models of a part each left out" in chosen.notes[-1]
    same = fit.fit(planted(1500, 1), planted(800, 2), Choices(family=chosen.family))
    x = planted(200, 3).matrix(chosen.model.columns)
    np.testing.assert_array_equal(same.model.predict(x), chosen.model.predict(x))
    worst = dict.fromkeys(families.FAMILIES, 0) | {"forest": 1}
    monkeypatch.setattr(fit, "choose_threshold", lambda p, flows, most: 0.5)
    monkeypatch.setattr(fit, "_p_attack", lambda estimator, x: np.full(len(x), float(type(estimator).__name__ == "RandomForestClassifier")))
    assert fit.fit(planted(300, 1), planted(300, 2), Choices(cross=False)).family == max(worst, key=lambda name: worst[name])


@pytest.mark.slow
def test_attacks_are_told_apart_and_importance_is_a_share() -> None:
    fitted = fit.fit(planted(1500, 1), planted(800, 2), Choices(family="extra-trees"), {"SYN_SCAN": "PORT_SCAN", "OTHER": "X"})
    flows = planted(500, 3)
    _, _, kind, _ = fitted.model.decide_by(flows.matrix)
    assert (np.array(fitted.model.verdicts)[kind] == flows.y).mean() > 0.95
    assert fitted.model.attack_types == {"SYN_SCAN": "PORT_SCAN"}
    assert sum(fitted.importance) == pytest.approx(1)
    by_column = dict(zip(fitted.model.columns, fitted.importance, strict=True))
    assert by_column[FEATURE_NAMES[0]] > 0.3
    assert by_column.get(FEATURE_NAMES[3], 0) < 0.1, "says nothing"
    only = planted(1500, 1)
    one = fit.fit(only.where(only.y != "UDP_FLOOD"), only, Choices(family="forest", cross=False))
    assert (one.typer, one.model.classes) == (None, ("BENIGN", "SYN_SCAN"))
