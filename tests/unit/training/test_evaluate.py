"""Quality figures, on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.training.evaluate import judge
from jobs.training.labelled import LabelledFlows


def flows(y: list[str], closed: list[bool] | None = None) -> LabelledFlows:
    n = len(y)
    return LabelledFlows(np.zeros((n, 1), np.float32), ("flow_duration",), np.array(y), np.full(n, "1"), np.array(closed or [True] * n))


def test_figures_by_hand() -> None:
    data = flows(["BENIGN"] * 4 + ["SYN_SCAN"] * 3 + ["UDP_FLOOD"])
    p = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.95, 0.4, 0.7])
    taken = np.array(["BENIGN", "BENIGN", "BENIGN", "SYN_SCAN", "SYN_SCAN", "UDP_FLOOD", "BENIGN", "UDP_FLOOD"])
    q, classes, confusion = judge(data, p, taken)
    assert (q.records, q.attacks, q.precision, q.recall, q.false_positive_rate, q.f1) == (8, 4, 0.75, 0.75, 0.25, 0.75)
    assert q.type_accuracy == pytest.approx(2 / 3)
    assert q.precision_at_1_percent == pytest.approx(0.0075 / (0.0075 + 0.99 * 0.25))
    assert q.macro_f1 == pytest.approx((6 / 8 + 2 / 5 + 2 / 3) / 3)
    # positives at ranks 1, 3, 4, 5
    assert q.pr_auc == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 5) / 4)
    by_label = [(c.label, c.records, c.flagged, c.typed) for c in classes]
    assert by_label == [("BENIGN", 4, 1, 3), ("SYN_SCAN", 3, 2, 1), ("UDP_FLOOD", 1, 1, 1)]
    assert confusion.labels == ("BENIGN", "SYN_SCAN", "UDP_FLOOD")
    assert confusion.counts.tolist() == [[3, 1, 0], [1, 1, 1], [0, 0, 1]]


def test_undefined_figures_are_left_out_of_the_metrics() -> None:
    q, _, _ = judge(flows(["BENIGN", "BENIGN"]), np.array([0.1, 0.2]), np.array(["BENIGN", "BENIGN"]))
    assert set(q.metrics("x")) == {"x_records", "x_attacks", "x_false_positive_rate", "x_macro_f1"}
