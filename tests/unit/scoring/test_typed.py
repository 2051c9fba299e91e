"""Attack or not by one classifier, which attack by another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from infra.errors import ModelError
from jobs.scoring import typed
from jobs.scoring.blend import Blend
from jobs.scoring.compiled import compiled
from jobs.scoring.forest import Forest
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from jobs.scoring.typed import Typed, Typer
from schemas.features import FEATURE_VERSION
from schemas.packets import FLOWS
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS, labels_of

RECORDS = random_records(500, seed=4)
X, Y = feature_matrix(RECORDS, COLUMNS), labels_of(RECORDS)
ATTACKS = Y != "BENIGN"


def typer() -> Typer:
    return Typer.from_sklearn(RandomForestClassifier(7, random_state=1).fit(X[ATTACKS], Y[ATTACKS]), Y[ATTACKS].tolist())


def detector() -> Any:
    return HistGradientBoostingClassifier(max_iter=15, random_state=0).fit(X, np.where(ATTACKS, "ATTACK", "BENIGN"))


def model(**parts: Any) -> ScoringModel:
    given = {"estimator": detector(), "typer": typer(), **parts}
    estimator = given.pop("estimator")
    return ScoringModel.from_estimator(
        estimator, FLOWS, columns=COLUMNS, threshold=0.5, feature_version=FEATURE_VERSION, version="7", **given
    )


def test_the_first_says_whether_and_the_second_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed, "ASKED", 0.3)
    found, first, second = model(), detector(), RandomForestClassifier(7, random_state=1).fit(X[ATTACKS], Y[ATTACKS])
    assert found.classes == ("BENIGN", "SYN_SCAN", "UDP_FLOOD")
    proba = found.predict(X)
    attack = first.predict_proba(X)[:, 0]
    np.testing.assert_allclose(1 - proba[:, 0], attack, rtol=0, atol=1e-12)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=1e-12)
    asked = attack >= 0.3
    assert 0 < asked.sum() < len(asked)
    np.testing.assert_allclose(proba[asked, 1:], attack[asked, None] * second.predict_proba(X[asked]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(proba[~asked, 1:] / attack[~asked, None], np.tile(typer().shares, ((~asked).sum(), 1)))
    assert typer().shares.tolist() == [(Y[ATTACKS] == kind).mean() for kind in ("SYN_SCAN", "UDP_FLOOD")]


def test_arrays_hold_all_of_it() -> None:
    again = Typer.of(typer().arrays())
    np.testing.assert_array_equal(again.forest.predict_proba(X), typer().forest.predict_proba(X))
    assert again.kinds == typer().kinds
    assert isinstance(model().predictor, Typed)


def _children(arrays: dict[str, Any]) -> None:
    arrays["children"] = arrays["children"].copy()
    arrays["children"][0] = 10**6


def _feature(arrays: dict[str, Any]) -> None:
    arrays["feature"] = np.full_like(arrays["feature"], 99)


def _leaf(arrays: dict[str, Any]) -> None:
    arrays["leaf_row"] = np.where(arrays["leaf_row"] >= 0, 10**6, -1)


def _root(arrays: dict[str, Any]) -> None:
    arrays["roots"] = arrays["roots"][::-1].copy()


def _value(arrays: dict[str, Any]) -> None:
    arrays["values"] = arrays["values"] * np.nan


def _short(arrays: dict[str, Any]) -> None:
    arrays["cover"] = arrays["cover"][:-1]


def _kinds(arrays: dict[str, Any]) -> None:
    arrays["kinds"] = np.array(["SYN_SCAN"])


def _shares(arrays: dict[str, Any]) -> None:
    arrays["shares"] = np.array([0.5, np.nan])


def _missing(arrays: dict[str, Any]) -> None:
    del arrays["threshold"]


@pytest.mark.parametrize("spoil", [_children, _feature, _leaf, _root, _value, _short, _kinds, _shares, _missing])
def test_arrays_that_are_damaged_are_refused(spoil: Callable[[dict[str, Any]], None]) -> None:
    """Whatever a file says, no walk leaves the arrays."""
    arrays = typer().arrays()
    spoil(arrays)
    with pytest.raises((ValueError, KeyError)):
        Typer.of(arrays)


def test_a_classifier_of_several_attacks_has_no_typer() -> None:
    with pytest.raises(ModelError, match="not BENIGN and one for all attacks"):
        model(estimator=RandomForestClassifier(3, random_state=0).fit(X, Y))
    narrow = Typer.from_sklearn(RandomForestClassifier(3, random_state=0).fit(X[ATTACKS][:, :2], Y[ATTACKS]), Y[ATTACKS].tolist())
    with pytest.raises(ModelError, match="do not fit"):
        model(typer=narrow)


def voting(**how: Any) -> VotingClassifier:
    parts = [
        ("a", HistGradientBoostingClassifier(max_iter=5)),
        ("b", make_pipeline(StandardScaler(), ExtraTreesClassifier(5, random_state=0))),
    ]
    return VotingClassifier(parts, **{"voting": "soft", **how})


def test_a_vote_is_compiled_where_it_is_a_mean() -> None:
    mean = voting().fit(X, Y)
    found = compiled(mean)
    assert isinstance(found, Blend)
    np.testing.assert_allclose(found.predict_proba(X), mean.predict_proba(X), rtol=0, atol=1e-12)
    behind = make_pipeline(StandardScaler(), voting()).fit(X, Y)
    inside = compiled(behind)
    assert inside is not None
    np.testing.assert_allclose(inside.predict_proba(X), behind.predict_proba(X), rtol=0, atol=1e-12)
    assert compiled(voting(weights=[1, 2]).fit(X, Y)) is None
    assert compiled(voting(voting="hard").fit(X, Y)) is None
    assert compiled(VotingClassifier([("a", LogisticRegression()), ("b", ExtraTreesClassifier(3))], voting="soft").fit(X, Y)) is None


def test_parts_of_a_blend_fit_together() -> None:
    forest = Forest.from_sklearn(ExtraTreesClassifier(2, random_state=0).fit(X, Y))
    narrow = Forest.from_sklearn(ExtraTreesClassifier(2, random_state=0).fit(X[:, :2], Y))
    assert forest is not None
    assert narrow is not None
    with pytest.raises(ValueError, match="differ"):
        Blend((forest, narrow))
    with pytest.raises(ValueError, match="differ"):
        Blend(())
