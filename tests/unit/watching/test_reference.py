"""Profiles: what a training leaves, that it comes back as it was, and what is no profile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.scoring.matrix import feature_matrix
from jobs.training.labelled import LabelledFlows
from jobs.watching import measures, reference
from jobs.watching.reference import SERVED, TRAINING, Reference, UnreadableProfile
from tests.randomrecords import random_records
from tests.unit.scoring.records import COLUMNS, champion, labels_of

ROWS = 900


def flows() -> LabelledFlows:
    records = random_records(ROWS, seed=2)
    closed = np.arange(ROWS) % 3 > 0
    return LabelledFlows(
        feature_matrix(records, COLUMNS), COLUMNS, labels_of(records), np.array([f"g{n % 5}" for n in range(ROWS)]), closed
    )


def week(edges: np.ndarray, days: int = 7) -> Reference:
    """A served week in which each hour of the day has values of its own."""
    hours = np.arange(24 * days)
    counts = np.stack([np.where(np.arange(len(edges) + 1)[None, :] == hours[:, None] % 24 // 12, 100, 0)])[0]
    return Reference("flows", "1", "1", SERVED, tuple(map(str, hours)), hours, counts.sum(axis=1), {"score": edges}, {"score": counts})


def test_a_profile_has_the_closed_records_of_each_group_and_comes_back(tmp_path: Path) -> None:
    file = reference.write_profile(tmp_path, champion(), flows())
    found = Reference.from_json(file.read_bytes())
    closed = flows().where(flows().closed)
    assert (file.name, found.source, found.parts, found.record) == ("profile.json", TRAINING, ("g0", "g1", "g2", "g3", "g4"), "flows")
    assert found.rows.sum() == len(closed)
    label = champion().decide(champion().predict(closed.x))[1]
    assert found.counts["alerts"].sum(axis=0).tolist() == [(label == 0).sum(), (label == 1).sum()]
    for name, counts in found.counts.items():
        assert (counts.sum(axis=1) == found.rows).all(), name
    assert {*found.edges} == {"score", "alerts"} | {f"{kind}:{c}" for kind in ("feature", "missing", "undefined") for c in COLUMNS}
    assert Reference.from_json(found.to_json()).to_json() == found.to_json()


def test_an_hour_is_compared_with_the_same_hours_of_the_day() -> None:
    found = week(np.array([0.5]))
    assert found.pooled("score", 1000 * 24 + 5).tolist() == [2100, 0], "three hours on each of seven days"
    assert found.pooled("score", 1000 * 24 + 17).tolist() == [0, 2100]
    assert found.rows_like(5) == 100
    assert found.spread("score").parts == 168
    assert week(np.array([0.5]), days=1).spread("score").parts == 24, "one day alone is compared within itself"


def profile(**changes: object) -> str:
    """A profile of nothing, with some of it changed."""
    words = {"format": 1, "record": "r", "model_version": "1", "feature_version": "1", "source": "training"}
    return json.dumps(words | {"parts": ["a"], "hours": [], "rows": [1], "measures": {}} | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"format": 2}',
        '{"format": 1}',
        "\xff",
        profile(parts=[], rows=[]),
        profile(measures={"score": {"edges": [1.0, 1.0], "counts": [[1, 2, 3]]}}),
        profile(measures={"score": {"edges": [1.0], "counts": [[1, 2, 3]]}}),
        profile(hours=[1, 2]),
        profile(rows=["many"]),
    ],
)
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(UnreadableProfile, match=r"."):
        Reference.from_json(text)


def test_missing_and_undefined_values_are_counted_apart() -> None:
    values = {"x": np.array([1.0, 0.0, -1.0, np.nan, np.inf, 2.0]), "predicted_label": np.array([0.0, 1, 1, 0, 0, 0])}
    edges = measures.edges(values)
    found = measures.count(values, edges)
    assert found["missing:x"].tolist() == [4, 2]
    assert found["undefined:x"].tolist() == [2, 2]
    assert found["feature:x"].sum() == 4
    assert found["alerts"].tolist() == [4, 2]
    assert measures.count({}, edges)["feature:x"].sum() == 0
    assert "feature:y" not in measures.edges({"y": np.array([np.nan])})
