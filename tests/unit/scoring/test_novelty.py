"""What no benign record looks like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.scoring import artefact
from jobs.scoring.matrix import feature_matrix
from jobs.scoring.novelty import Novelty, Tails
from schemas.packets import FLOWS
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS, champion, labels_of


def test_the_further_out_the_more_unusual() -> None:
    benign = np.random.default_rng(1).normal(size=(5000, 3)).astype(np.float32)
    tails = Tails.fit(benign)
    rows = np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0], [3, -3, 3], [1e9, -1e9, 1e9]], np.float32)
    score = tails.score(rows)
    assert (np.diff(score) > 0).all()
    assert 0 <= score.min() < 0.2
    assert score[-1] == 1
    assert np.array_equal(Tails.of(tails.arrays()).score(rows), score)


def test_a_value_that_is_usual_is_none_however_far_to_one_side_it_lies() -> None:
    benign = np.zeros((100, 1), np.float32)
    benign[90:] = 5
    at_home, between, beyond = Tails.fit(benign).score(np.array([[0], [3], [9]], np.float32))
    assert at_home < between < beyond


@pytest.mark.parametrize("quantiles", [np.zeros((0, 0)), np.zeros(3), np.array([[2.0, 1.0]])])
def test_arrays_that_are_none_are_refused(quantiles: np.ndarray) -> None:
    with pytest.raises(ValueError, match="quantiles"):
        Tails.of({"quantiles": quantiles})


def test_a_record_unlike_all_is_an_unknown_attack() -> None:
    records = random_records(500, seed=9)
    model = champion(threshold=0.9)
    columns = ("flow_duration", "flow_iat_mean")
    tails = Tails.fit(feature_matrix(records, columns)[labels_of(records) == "BENIGN"])
    novel = tails.score(feature_matrix(records, columns))
    threshold = float(np.sort(novel)[-20])
    out = replace(model, novelty=Novelty(tails, columns, threshold), attack_types={"SYN_SCAN": "PORT_SCAN"}).score(records)
    kind = np.array(out.column("attack_type").to_pylist())
    known = model.score(records).column("predicted_label").to_numpy() == 1
    assert np.array_equal(out.column("novelty_score").to_numpy(), novel)
    assert np.array_equal(kind == "UNKNOWN", ~known & (novel >= threshold))
    assert np.array_equal(out.column("predicted_label").to_numpy() == 1, kind != "BENIGN")
    assert 0 < (kind == "UNKNOWN").sum() <= 20
    assert set(kind) == {"BENIGN", "UNKNOWN", "PORT_SCAN", "UDP_FLOOD"}
    assert model.score(records).column("novelty_score").null_count == 500
    assert columns != COLUMNS


@pytest.mark.parametrize("threshold", ["NaN", "Infinity"])
def test_a_threshold_that_finds_nothing_ever_is_refused(threshold: str) -> None:
    parts = {"novelty": {"quantiles": np.zeros((1, 3), np.float32)}}
    about = '{"kind": "tails", "columns": ["flow_duration"], "threshold": %s}'
    found = artefact._novelty({"novelty": about % 0.5}, parts, FLOWS)
    assert found is not None
    assert found.threshold == 0.5
    with pytest.raises(ValueError, match="is no number"):
        artefact._novelty({"novelty": about % threshold}, parts, FLOWS)
