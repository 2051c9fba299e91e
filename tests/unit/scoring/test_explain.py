"""What explains the score of a record: of which models, and in which numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, HistGradientBoostingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler

from jobs.scoring.explain import Explainer, NotExplainedError, usual_values
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.model import ScoringModel
from jobs.scoring.typed import Typer
from schemas.features import FEATURE_NAMES, FEATURE_VERSION
from schemas.packets import FLOWS
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS, champion, labels_of

RECORDS = random_records(400, seed=4)
VECTORS = np.column_stack([RECORDS.column(name).to_numpy(zero_copy_only=False) for name in FEATURE_NAMES]).astype(np.float64)


def of(estimator: Any) -> ScoringModel:
    estimator.fit(feature_matrix(RECORDS, COLUMNS), labels_of(RECORDS))
    return ScoringModel.from_estimator(estimator, FLOWS, columns=COLUMNS, threshold=0.5, feature_version=FEATURE_VERSION, version="7")


def test_base_and_contributions_sum_to_the_score_that_was_published() -> None:
    model = champion()
    published = model.score(RECORDS).column("confidence_score").to_pylist()
    found = Explainer(model).explain(VECTORS)
    assert [e.score for e in found] == published
    assert [e.base + e.contributions.sum() for e in found] == pytest.approx(published, abs=1e-12)
    assert len({e.base for e in found}) == 1


def test_features_that_make_an_attack_contribute_most() -> None:
    """Records of 50 forward packets and more are attacks."""
    found = Explainer(champion()).explain(VECTORS)
    attacks = np.array([e.contributions for e in found if e.score > 0.7])
    assert len(attacks) > 50
    assert (attacks.argmax(axis=1) == COLUMNS.index("total_fwd_packets")).mean() > 0.95


@pytest.mark.parametrize("scaler", [StandardScaler(), RobustScaler(), "passthrough"])
def test_a_forest_behind_a_scaler_is_explained(scaler: Any) -> None:
    model = of(make_pipeline(scaler, ExtraTreesClassifier(9, max_depth=6, random_state=0)))
    found = Explainer(model).explain(VECTORS)
    assert [e.base + e.contributions.sum() for e in found] == pytest.approx(
        model.score(RECORDS).column("confidence_score").to_pylist(), abs=1e-12
    )


@pytest.mark.parametrize("first", ["BENIGN", "ATTACK"])
@pytest.mark.parametrize("kind", ["boosted", "blend", "typed"])
def test_boosted_trees_and_blends_are_explained(kind: str, first: str) -> None:
    """Whichever class comes first; the largest share is that of what makes an attack, and all sum to what is published."""
    x, y = feature_matrix(RECORDS, COLUMNS), labels_of(RECORDS)
    name = "SYN_SCAN" if first == "BENIGN" else "A"
    two = np.where(y == "BENIGN", "BENIGN", name)
    boosted = HistGradientBoostingClassifier(max_iter=20, random_state=0)
    estimator = (
        boosted if kind == "boosted" else VotingClassifier([("a", boosted), ("b", ExtraTreesClassifier(9, random_state=0))], voting="soft")
    )
    typer = None
    if kind == "typed":
        attacks = y != "BENIGN"
        typer = Typer.from_sklearn(ExtraTreesClassifier(5, random_state=0).fit(x[attacks], y[attacks]), y[attacks].tolist())
    model = ScoringModel.from_estimator(
        estimator.fit(x, two), FLOWS, columns=COLUMNS, threshold=0.5, feature_version=FEATURE_VERSION, version="7", typer=typer
    )
    found = Explainer(model).explain(VECTORS)
    published = model.score(RECORDS).column("confidence_score").to_pylist()
    assert [e.base + e.contributions.sum() for e in found] == pytest.approx(published, abs=1e-9)
    attacks_found = np.array([e.contributions for e in found if e.score > 0.7])
    assert len(attacks_found) > 50
    assert (attacks_found.argmax(axis=1) == COLUMNS.index("total_fwd_packets")).mean() > 0.9


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (LogisticRegression(), "LogisticRegression is a kind"),
        (GradientBoostingClassifier(n_estimators=3), "GradientBoostingClassifier is a kind"),
        (HistGradientBoostingClassifier(max_iter=3), "HistGradientBoostingClassifier of several classes is a kind"),
        (CalibratedClassifierCV(ExtraTreesClassifier(3), cv=2), "CalibratedClassifierCV is a kind"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "LogisticRegression is a kind"),
        (make_pipeline(PCA(2), ExtraTreesClassifier(3)), "PCA makes new columns"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_other_models_are_not_explained(estimator: Any, named: str) -> None:
    """No invented numbers."""
    model = of(estimator)
    with pytest.raises(NotExplainedError, match=named):
        Explainer(model)


def test_what_is_no_number_is_taken_as_the_scorer_takes_it() -> None:
    odd = VECTORS[:3].copy()
    odd[0], odd[1], odd[2] = np.nan, np.inf, -np.inf
    found = Explainer(champion()).explain(odd)
    assert [e.base + e.contributions.sum() for e in found] == pytest.approx([e.score for e in found], abs=1e-12)
    assert np.isfinite([e.contributions for e in found]).all()


def test_usual_is_where_98_of_100_records_lie() -> None:
    x = np.column_stack([np.arange(1000), np.full(1000, 0.2)]).astype(np.float32)
    assert usual_values(x, ("count", "constant")) == {"count": (9.0, 499.0, 989.0), "constant": (0.2, 0.2, 0.2)}
    assert usual_values(x[:0], ("count", "constant")) == {}
