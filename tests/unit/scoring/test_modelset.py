"""Champion and challenger side by side, and what is found out of a model before it scores."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from infra.errors import ModelError
from jobs.scoring import probe
from jobs.scoring.modelset import MOST_FAILURES, ModelSet
from jobs.scoring.tally import TALLY
from schemas.packets import FLOWS
from tests.randomrecords import random_records
from tests.toy_source.records import READING
from tests.unit.scoring.records import champion


class Saying:
    """A classifier that says what it is told to; called like one of scikit-learn."""

    def __init__(self, says: Any) -> None:
        self.says = says

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        if isinstance(self.says, Exception):
            raise self.says
        return np.asarray(self.says(len(x)))


def model(says: Any, version: str = "9") -> Any:
    return replace(champion(), predictor=Saying(says), version=version)


def constant(*row: float) -> Any:
    return lambda n: np.tile(row, (n, 1))


def test_a_challenger_writes_beside_the_champion() -> None:
    first, second = champion(), replace(champion(threshold=0.9, n_estimators=3), version="8")
    batches = [random_records(200, seed=1), random_records(50, seed=2), random_records(0)]
    alone = ModelSet(first).score_each(batches)
    both = ModelSet(first, second).score_each(batches)
    for one, other, records in zip(alone, both, batches, strict=True):
        for name in ("confidence_score", "predicted_label", "attack_type", "model_version", "flow_id"):
            assert other.column(name).equals(one.column(name))
        expected = second.score(records)
        assert other.column("challenger_score").equals(expected.column("confidence_score"))
        assert other.column("challenger_label").equals(expected.column("predicted_label"))
        assert set(other.column("challenger_version").to_pylist()) <= {"8"}
        assert one.column("challenger_score").null_count == records.num_rows
        assert other.schema.equals(FLOWS.published)
    assert TALLY.at(("alike", "flows", "7", "8")) + TALLY.at(("unlike", "flows", "7", "8")) == 250
    assert TALLY.at(("unlike", "flows", "7", "8")) > 0
    assert TALLY.at(("seconds", "flows", "8")) > 0


@pytest.mark.parametrize(
    "says",
    [ValueError("no"), constant(np.nan, 0, 0), constant(1.0), lambda n: np.ones((n + 1, 3)) / 3],
    ids=["raises", "nan", "columns", "rows"],
)
def test_a_challenger_that_fails_harms_nobody(says: Any, capfd: pytest.CaptureFixture[str]) -> None:
    version = f"bad {says}"
    models, records = ModelSet(champion(), model(says, version)), random_records(40)
    for _ in range(MOST_FAILURES + 2):
        scored = models.score(records)
        assert scored.column("challenger_score").null_count == scored.column("challenger_version").null_count == 40
        assert scored.column("confidence_score").equals(champion().score(records).column("confidence_score"))
    assert TALLY.at(("failed", "flows", version)) == MOST_FAILURES, "then it is left alone"
    assert capfd.readouterr().err.count("fails") == MOST_FAILURES


@pytest.mark.parametrize("record", [FLOWS, READING], ids=lambda r: r.name)
def test_a_probe_is_made_of_valid_records_that_differ(record: Any) -> None:
    records = probe.examples(record)
    records.validate(full=True)
    assert records.schema.equals(record.schema)
    assert records.num_rows == len({tuple(row.values()) for row in records.select(list(record.features.names)).to_pylist()})


def test_a_good_model_passes() -> None:
    probe.examine(champion(), "model")
    assert probe.in_time(champion(), "model", 1e6) > 0


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        (constant(np.nan, 0.5, 0.5), r"NaN or infinite in [\d,]+ of 3,000"),
        (constant(np.inf, 0.0, 0.0), "NaN or infinite"),
        (constant(1.5, -0.25, -0.25), "between -0.25 and 1.5"),
        (constant(0.5, 0.5, 0.5), "sum to 1 ± 0.5"),
        (constant(0.5, 0.5), "fails on a probe of 1000 records: ModelError: model 9: gives"),
        (ValueError("out of\nmemory"), "fails on a probe of 1000 records: ValueError: out of memory"),
        (lambda n: np.where(np.arange(n)[:, None] == n - 1, np.nan, np.ones((n, 3)) / 3), "NaN or infinite in 3 of"),
    ],
)
def test_a_model_that_gives_no_probabilities_is_found_out(says: Any, cause: str) -> None:
    with pytest.raises(ModelError, match=cause):
        probe.examine(model(says), "model x version 9")


def test_a_model_whose_classes_cannot_be_stored_is_found_out() -> None:
    wrong = replace(champion(), attack_types={"SYN_SCAN": "a\nb"})
    with pytest.raises(ModelError, match="is no name"):
        probe.examine(wrong, "model x version 9")


def test_a_model_that_waits_is_found_out_too() -> None:
    def wait(n: int) -> np.ndarray:
        time.sleep(0.01)
        return np.ones((n, 3)) / 3

    with pytest.raises(probe.TooSlowError):
        probe.in_time(model(wait), "model x version 9", 1.5)
    assert probe.in_time(model(wait), "model x version 9", 1e3) < 1e3


def test_a_slow_model_is_found_out() -> None:
    with pytest.raises(probe.TooSlowError, match=r"takes [\d.]+ ms for 1,000 records") as caught:
        probe.in_time(champion(), "model x version 9", 1e-6)
    assert "scoring.max_ms_per_1000" in caught.value.hint
