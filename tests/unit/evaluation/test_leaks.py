"""Planted leaks: the same row on both sides, and rows with two labels."""

from __future__ import annotations

import numpy as np
import pytest

from infra.errors import ModelError
from jobs.evaluation import leaks
from jobs.evaluation.leaks import Contradiction
from tests.unit.evaluation.planted import records


def test_equal_rows_have_one_identity() -> None:
    flows = records(["BENIGN"] * 5, [[1, 2], [1, 3], [1, 2], [-0.0, 1], [0.0, 1]])
    ids = leaks.identities(flows)
    assert ids[0] == ids[2]
    assert ids[3] == ids[4]  # equal numbers, different bytes
    assert len(set(ids.tolist())) == 3
    assert leaks.identities(records([], np.zeros((0, 2)).tolist() or [[0.0]]).where(np.zeros(0, np.int64))).tolist() == []


def test_a_planted_leak_is_found_whatever_its_label() -> None:
    flows = records(["BENIGN", "SYN_SCAN", "SYN_SCAN", "UDP_FLOOD", "BENIGN", "BENIGN"], [[1], [2], [2], [2], [3], [4]])
    leak, both = leaks.find(leaks.identities(flows), flows.y, np.array([0, 1, 4]), np.array([2, 3, 5]))
    assert both.tolist() == [True, True, False]
    assert (leak.rows, leak.shared, leak.share) == (3, 2, pytest.approx(2 / 3))
    assert dict(leak.labels) == {"SYN_SCAN": 1, "UDP_FLOOD": 1}


def test_refused_beyond_the_share_dropped_or_kept() -> None:
    few, many = leaks.Leak(1000, 10, 0, (("SYN_SCAN", 10),)), leaks.Leak(1000, 11, 0, (("SYN_SCAN", 11),))
    assert not leaks.treat("random", few, "refuse")
    with pytest.raises(ModelError, match=r"split random: 11 of 1,000 test rows \(1\.1%\) are also in the training \(SYN_SCAN 11\)") as e:
        leaks.treat("random", many, "refuse")
    assert "duplicates" in e.value.hint
    assert leaks.treat("random", many, "drop")
    assert not leaks.treat("random", many, "keep")
    assert not leaks.treat("random", leaks.Leak(5, 0, 0, ()), "drop")


def test_contradictory_labels() -> None:
    flows = records(
        ["BENIGN", "SYN_SCAN", "SYN_SCAN", "BENIGN", "BENIGN", "UDP_SCAN", "BENIGN", "SYN_SCAN"], [[1], [1], [1], [2], [2], [3], [4], [4]]
    )
    found = leaks.contradictions(leaks.identities(flows), flows.y)
    assert found == (Contradiction(("BENIGN", "SYN_SCAN"), 2, 5),)
    assert leaks.told(found) == ["5 rows are equal to rows of another label, most of them BENIGN / SYN_SCAN (5)"]
    assert leaks.contradictions(leaks.identities(flows), np.full(8, "BENIGN")) == ()
    assert leaks.told(()) == []
