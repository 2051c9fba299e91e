"""The bench of explanations, in small: both explain the same number, and its books are complete."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from infra.errors import StackError
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from jobs.scoring.typed import Typer
from ops.bench.explain import compare
from schemas.features import FEATURE_NAMES, FEATURE_VERSION
from schemas.packets import FLOWS
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS, champion, labels_of

FEATURES = np.random.default_rng(2).uniform(0, 100, (20, len(FEATURE_NAMES)))


def test_both_explain_the_same_number() -> None:
    pytest.importorskip("shap", reason="pip install shap")
    result = compare(champion(), FEATURES)
    assert result["shap"]["difference"] < 1e-9
    assert result["flowlake"]["residual"] < 1e-9
    assert result["model"]["trees"] == 15
    assert result["explained"] == 20
    for who in ("flowlake", "shap", "ratio"):
        assert min(result[who][name] for name in ("per_second", "one_by_one_per_second")) > 0


def test_without_peer_nothing_is_compared() -> None:
    assert set(compare(champion(), FEATURES, with_peer=False)) == {"explained", "model", "flowlake"}


def test_boosted_trees_have_no_peer() -> None:
    """Nor a model whose kinds of attack are told by a forest of its own."""
    records = random_records(300)
    x, y = feature_matrix(records, COLUMNS), labels_of(records)
    attacks = y != "BENIGN"
    typer = Typer.from_sklearn(RandomForestClassifier(3, random_state=0).fit(x[attacks], y[attacks]), y[attacks].tolist())
    trees = HistGradientBoostingClassifier(max_iter=5).fit(x, np.where(attacks, "ATTACK", "BENIGN"))
    facts = {"columns": COLUMNS, "threshold": 0.5, "feature_version": FEATURE_VERSION, "version": "7"}
    result = compare(ScoringModel.from_estimator(trees, FLOWS, typer=typer, **facts), FEATURES)
    assert set(result) == {"explained", "model", "flowlake"}
    assert result["model"]["trees"] == 5
    assert result["flowlake"]["residual"] < 1e-9


def test_another_model_is_refused() -> None:
    with pytest.raises(StackError, match="model 7 is neither a forest nor"):
        compare(replace(champion(), predictor=LogisticRegression()), FEATURES)
