"""The bench of explanations, in small: both explain the same number, and its books are complete."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from infra.errors import StackError
from ops.bench.explain import compare
from schemas.features import FEATURE_NAMES
from tests.unit.scoring.records import champion

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


def test_another_model_is_refused() -> None:
    with pytest.raises(StackError, match="model 7 is no forest"):
        compare(replace(champion(), predictor=LogisticRegression()), FEATURES)
