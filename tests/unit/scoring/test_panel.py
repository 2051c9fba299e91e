"""Several detectors with one budget of false alarms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from jobs.scoring.forest import nodes_of
from jobs.scoring.near import Near
from jobs.scoring.novelty import DETECTORS
from jobs.scoring.panel import Among, DetectorPanel, Exposed, Seat
from jobs.scoring.treefile import arrays, trees_of
from jobs.scoring.trees import Trees

RNG = np.random.default_rng(8)
BENIGN = RNG.normal(size=(2000, 4)).astype(np.float32)
ATTACKS = (RNG.normal(size=(500, 4)) + np.array([0, 0, 0, 4])).astype(np.float32)
EVERYTHING = Among(0, -np.inf, np.inf)


def trees() -> Trees:
    x, y = np.vstack([BENIGN, ATTACKS]), np.repeat([0, 1], [len(BENIGN), len(ATTACKS)])
    fitted = ExtraTreesClassifier(12, max_depth=6, random_state=1).fit(x, y)
    laid = [nodes_of(tree.tree_) for tree in fitted.estimators_]
    return Trees.of([nodes._replace(value=nodes.value[:, 1:], gaps_left=None) for nodes in laid], 4)


def panel(weight: float = 0.5) -> DetectorPanel:
    seats = [Seat(Near.fit(BENIGN, np.arange(3)), EVERYTHING, weight), Seat(Exposed(trees()), Among(1, -1.0, np.inf), 1.0)]
    others = np.random.default_rng(9).normal(size=(3000, 4)).astype(np.float32)
    return DetectorPanel.calibrated(seats, 4, [seat.score(others) for seat in seats])


def test_what_either_member_finds_is_found() -> None:
    usual, far, known = np.zeros((1, 4)), np.array([[9.0, -9.0, 9.0, 0]]), np.array([[0, 0, 0, 4.0]])
    score = panel().score(np.vstack([usual, far, known]).astype(np.float32))
    assert 0 <= score[0] < 0.5 < 0.8 < score[1:].min() <= score.max() <= 1


def test_what_a_member_does_not_judge_it_does_not_raise() -> None:
    behind = np.array([[0, -2.0, 0, 4]], np.float32)
    before = np.array([[0, 0.0, 0, 4]], np.float32)
    made = panel()
    assert made.seats[1].score(behind)[0] == -np.inf
    assert made.score(behind) < made.score(before)


def test_a_lighter_member_must_be_surer() -> None:
    far = np.array([[3.2, -1.5, 3.2, 0]], np.float32)
    light, heavy = panel(0.1).score(far), panel(1.0).score(far)
    assert 0 < light < heavy
    assert heavy - light == pytest.approx(1 / np.log10(3001), abs=1e-9)  # ten times as rare


def test_scores_keep_their_meaning_among_other_benign_records() -> None:
    """A member alone: as many benign records are beyond a score as it says, whatever its unit."""
    made = replace(panel(1.0), seats=panel(1.0).seats[:1], tails=panel(1.0).tails[:1])
    others = np.random.default_rng(10).normal(size=(20_000, 4)).astype(np.float32)
    score = made.score(others)
    for share in (0.1, 0.01):
        assert (score >= -np.log10(share) / np.log10(3001)).mean() == pytest.approx(share, rel=0.3)


def test_equal_rows_get_equal_scores_wherever_they_are() -> None:
    made = panel()
    rows = np.vstack([BENIGN[:20], BENIGN[:20][::-1], BENIGN[:1]])
    score = made.score(rows)
    assert np.array_equal(score[:20], score[20:40][::-1])
    assert np.array_equal(score[:20], made.score(BENIGN[:20]))


def test_an_array_round_trip_gives_the_same() -> None:
    made = panel()
    again = DETECTORS["panel"](made.arrays())
    rows = np.vstack([BENIGN, ATTACKS])
    assert again.kind == "panel"
    assert np.array_equal(again.score(rows), made.score(rows))
    assert all(array.dtype != object for array in made.arrays().values())  # such a file would run code


def test_a_file_holds_it_without_code(tmp_path: Path) -> None:
    made = panel()
    np.savez_compressed(tmp_path / "panel.npz", **made.arrays())
    with np.load(tmp_path / "panel.npz", allow_pickle=False) as file:
        again = DetectorPanel.of({name: file[name] for name in file.files})
    assert np.array_equal(again.score(ATTACKS), made.score(ATTACKS))


def test_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"float32\[n, 4\]"):
        panel().score(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("kinds", np.array(["near", "pickle"]), "pickle"),
        ("weights", np.array([0.0, 1.0]), "weights"),
        ("weights", np.array([1.0]), "members"),
        ("ranks", np.arange(5), "members"),
        ("gates", np.array([[9, 0, 1], [0, 0, 1]], float), "gates"),
        ("gates", np.full((2, 3), np.nan), "gates"),
        ("tails", np.zeros((2, 3)), "tails"),
        ("benign", np.array(5), "ranks"),
    ],
    ids=["kind", "no-weight", "one-weight", "few-ranks", "gate-column", "gate-nan", "tails", "benign"],
)
def test_arrays_of_no_panel_are_refused(name: str, array: np.ndarray, said: str) -> None:
    with pytest.raises((ValueError, KeyError), match=said):
        DetectorPanel.of({**panel().arrays(), name: array})


@pytest.mark.parametrize(("name", "said"), [("tails", "falling"), ("ranks", "rising")])
def test_arrays_in_another_order_are_refused(name: str, said: str) -> None:
    made = panel().arrays()
    with pytest.raises(ValueError, match=said):
        DetectorPanel.of({**made, name: made[name][..., ::-1]})


def test_trees_of_a_file_give_the_same_sums() -> None:
    laid = trees()
    again = trees_of(arrays(laid), 4)
    assert np.array_equal(again.sums(ATTACKS, 1), laid.sums(ATTACKS, 1))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("feature", lambda a: a + 9, "out of range"),
        ("children", lambda a: a * 0 + len(a), "out of range"),
        ("children", lambda a: a * 0, "out of range"),
        ("children", lambda a: a[:-1], "children"),
        ("roots", lambda a: a + 1, "roots"),
        ("roots", lambda a: a[::-1], "roots"),
        ("threshold", lambda a: a * np.nan, "no number"),
        ("values", lambda a: a + np.inf, "no number"),
    ],
    ids=["column", "beyond", "loop", "short", "first-root", "roots-falling", "threshold-nan", "value-inf"],
)
def test_trees_that_lead_out_of_bounds_are_refused(name: str, change, said: str) -> None:
    good = arrays(trees())
    with pytest.raises(ValueError, match=said):
        trees_of({**good, name: change(good[name])}, 4)
