"""The benchmark of scoring: every model is measured, and none scores differently for being compiled."""

from __future__ import annotations

import numpy as np
import pytest

from infra import config
from jobs.training.generated import generated_flows
from ops.bench import scoring
from tests.randomrecords import random_records


@pytest.mark.slow
def test_every_model_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_FITTED", (1, 2, 3)), ("_SCORED", (9,)), ("_SECONDS", 3.0), ("_ROUNDS", 1)):
        monkeypatch.setattr(scoring, name, value)
    flows = generated_flows((1, 2, 3), duration_s=3.0, progress=lambda _: None)
    sets = scoring.models(flows, "scaled-forest", "forest")  # the quickest to fit
    monkeypatch.setattr(scoring, "models", lambda _: sets)
    found = scoring.run(config.build(), flows=10_000, through=False, say=lambda _: None)["one_core"]
    assert found.keys() == sets.keys()
    assert all(ms > 0 for by_size in found.values() for ms in by_size.values())
    records = random_records(200, seed=3)
    for kind in ("scaled-forest", "forest"):
        scores = [sets[name].score(records).column("confidence_score").to_numpy() for name in (kind, f"{kind}, scikit-learn")]
        np.testing.assert_allclose(*scores, rtol=0, atol=1e-12)
    assert sets["scaled-forest, challenger forest"].score(records).column("challenger_score").null_count == 0
    assert sets["scaled-forest, novelty"].score(records).column("novelty_score").null_count == 0
