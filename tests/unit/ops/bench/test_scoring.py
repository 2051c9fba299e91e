"""The benchmark of scoring: every model is measured, and none scores differently for being compiled."""

from __future__ import annotations

import numpy as np
import pytest

from infra import config
from ops.bench import scoring


def test_every_model_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_TRAINED", 1_000)
    monkeypatch.setattr(scoring, "_ROUNDS", 1)
    sets = scoring.models("scaled-forest", "forest")  # the quickest to fit
    monkeypatch.setattr(scoring, "models", lambda: sets)
    found = scoring.run(config.build(), flows=10_000, through=False, say=lambda _: None)["one_core"]
    assert found.keys() == sets.keys()
    assert all(ms > 0 for by_size in found.values() for ms in by_size.values())
    records = scoring.random_records(200, seed=3)
    for kind in ("scaled-forest", "forest"):
        scores = [sets[name].score(records).column("confidence_score").to_numpy() for name in (kind, f"{kind}, scikit-learn")]
        np.testing.assert_allclose(*scores, rtol=0, atol=1e-12)
    assert sets["scaled-forest, challenger forest"].score(records).column("challenger_score").null_count == 0
    assert sets["scaled-forest, novelty"].score(records).column("novelty_score").null_count == 0
