"""How far records are from the benign ones that stand for all."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.scoring.near import CENTRES, EDGES, Near

RNG = np.random.default_rng(4)
BENIGN = np.column_stack([RNG.lognormal(5, 2, 3000), RNG.normal(size=3000), np.zeros(3000)]).astype(np.float32)
ALL = np.arange(3)


def test_the_further_from_all_benign_records_the_higher() -> None:
    near = Near.fit(BENIGN, ALL)
    rows = np.array([[150, 0, 0], [150, 2, 0], [1e9, 9, 0], [1e9, 9, 1]], np.float32)
    score = near.score(rows)
    assert (np.diff(score) > 0).all()
    assert near.score(BENIGN).max() < score[2]
    assert near.centres.shape == (CENTRES, 3)
    assert near.edges.shape == (3, EDGES)


def test_scales_do_not_matter() -> None:
    rows = np.array([[150, 2, 0], [7, -1, 0]], np.float32)
    one, other = Near.fit(BENIGN, ALL), Near.fit(BENIGN * np.float32(1024), ALL)
    assert np.allclose(one.score(rows), other.score(rows * np.float32(1024)), atol=0.05)


def test_a_distance_is_that_of_the_nearest_centre() -> None:
    near = Near.fit(BENIGN, ALL)
    z = near.placed(BENIGN[:50]).astype(np.float64)
    wanted = np.sqrt(((z[:, None, :] - near.centres[None]) ** 2).sum(axis=2)).min(axis=1)
    assert np.allclose(near.score(BENIGN[:50]), wanted, atol=0.05)


def test_of_equal_records_one_is_enough() -> None:
    near = Near.fit(np.ones((40, 3), np.float32), ALL)
    assert len(near.centres) == 1
    assert near.score(np.ones((1, 3), np.float32)) < 0.05 < 5 < near.score(np.full((1, 3), 2, np.float32))


def test_a_score_does_not_depend_on_the_batch() -> None:
    near = Near.fit(BENIGN, ALL)
    assert np.array_equal(near.score(BENIGN)[:7], np.concatenate([near.score(BENIGN[i : i + 1]) for i in range(7)]))


def test_an_array_round_trip_and_a_second_fit_give_the_same() -> None:
    near = Near.fit(BENIGN, ALL[:2])
    again = Near.of(near.arrays(), 3)
    assert np.array_equal(again.score(BENIGN), near.score(BENIGN))
    assert np.array_equal(Near.fit(BENIGN, ALL[:2]).score(BENIGN), near.score(BENIGN))


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("columns", np.array([0, 3]), "columns"),
        ("columns", np.array([-1, 0]), "columns"),
        ("columns", np.array([0.0, 1.0]), "columns"),
        ("edges", np.zeros((3, 9)), "edges"),
        ("edges", np.tile(np.arange(9.0)[::-1], (2, 1)), "ascending"),
        ("edges", np.full((2, 9), np.nan), "edges"),
        ("centres", np.zeros((0, 2)), "centres"),
        ("centres", np.full((4, 2), np.inf), "centres"),
    ],
    ids=["column-beyond", "column-below", "column-no-int", "edges-of-others", "edges-falling", "edges-nan", "no-centre", "centre-inf"],
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: np.ndarray, said: str) -> None:
    arrays = {**Near.fit(BENIGN, ALL[:2]).arrays(), name: array}
    with pytest.raises(ValueError, match=said):
        Near.of(arrays, 3)
