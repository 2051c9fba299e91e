"""Figures of held-out records, of unseen attacks, by age; by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs.evaluation.decisions import Decisions, together
from jobs.evaluation.intervals import wilson
from jobs.evaluation.parts import by_age, part, unseen
from tests.unit.evaluation.planted import records


def decided(y: list[str], taken: list[str], **given: list[object]) -> Decisions:
    p = np.array([0.1 if t == "BENIGN" else 0.9 for t in taken])
    return Decisions(records(y, **given), p, np.array(taken), np.array(taken) == "UNKNOWN", p)


def test_a_part_by_hand() -> None:
    y = ["BENIGN"] * 5 + ["SYN_SCAN"] * 3 + ["UDP_FLOOD"] * 2
    taken = ["BENIGN"] * 4 + ["SYN_SCAN"] + ["SYN_SCAN", "UDP_FLOOD", "BENIGN"] + ["UDP_FLOOD", "UNKNOWN"]
    found = part(decided(y, taken), seed=1)
    q = found.quality
    assert (q.precision, q.recall, q.false_positive_rate) == (0.8, 0.8, 0.2)
    assert q.f1 == pytest.approx(0.8)
    # BENIGN 8/10, SYN_SCAN 2/5, UDP_FLOOD 2/4; UNKNOWN is no label
    assert q.macro_f1 == pytest.approx((0.8 + 0.4 + 0.5) / 3)
    assert found.intervals["recall"] == wilson(4, 5)
    assert found.intervals["false_positive_rate"] == wilson(1, 5)
    assert found.intervals["precision"] == wilson(4, 5)
    assert found.intervals["f1"].low <= q.f1 <= found.intervals["f1"].high
    assert found.drawn == "records"


def test_hosts_are_drawn_where_there_are_enough() -> None:
    y, taken = ["BENIGN", "SYN_SCAN"] * 10, ["BENIGN", "SYN_SCAN"] * 9 + ["BENIGN", "BENIGN"]
    hosts: list[object] = [f"h{i // 2}" for i in range(20)]
    assert part(decided(y, taken, host=hosts), seed=1).drawn == "hosts"
    assert part(decided(y, taken, host=[*hosts[:-1], ""]), seed=1).drawn == "records"
    assert part(decided(y, taken, host=["h"] * 20), seed=1).drawn == "records"


def test_no_attack_no_recall() -> None:
    found = part(decided(["BENIGN"] * 3, ["BENIGN", "BENIGN", "SYN_SCAN"]), seed=1)
    assert math.isnan(found.quality.recall)
    assert math.isnan(found.quality.f1)
    assert math.isnan(found.intervals["recall"].low)
    assert found.quality.false_positive_rate == pytest.approx(1 / 3)


def test_unseen_attacks_by_hand() -> None:
    y = ["BENIGN"] * 4 + ["DoS Hulk"] * 4 + ["DDoS"]
    taken = ["BENIGN", "BENIGN", "BENIGN", "UNKNOWN", "UNKNOWN", "SLOWLORIS", "SLOWLORIS", "BENIGN", "BENIGN"]
    ddos, hulk = unseen("HTTP_FLOOD", decided(y, taken))
    assert (hulk.label, hulk.family, hulk.records, hulk.flagged, hulk.novel, hulk.taken) == ("DoS Hulk", "HTTP_FLOOD", 4, 3, 1, "SLOWLORIS")
    assert hulk.interval == wilson(3, 4)
    assert hulk.false_positive_rate == 0.25
    assert (ddos.flagged, ddos.recall, ddos.taken) == (0, 0.0, "")


def test_by_age_by_hand() -> None:
    y = ["SYN_FLOOD", "SYN_FLOOD", "BENIGN", "SYN_FLOOD", "SYN_FLOOD", "BENIGN"]
    taken = ["BENIGN", "SYN_FLOOD", "BENIGN", "SYN_FLOOD", "SYN_FLOOD", "SYN_FLOOD"]
    found = by_age(decided(y, taken, age=[0.5, 0.9, 0.2, 1.0, 400, 3], closed=[False, False, False, False, False, True]))
    rows = [(a.low, a.high, a.closed, a.rates.records, a.rates.attacks) for a in found]
    inf = float("inf")
    assert rows == [(0, 1, False, 3, 2), (1, 2, False, 1, 1), (300, inf, False, 1, 1), (0, inf, True, 1, 0)]
    assert [a.rates.recall for a in found[:3]] == [0.5, 1, 1]
    assert found[0].rates.false_positive_rate == 0
    assert found[-1].rates.false_positive_rate == 1


def test_no_snapshots_or_no_ages_no_table() -> None:
    assert by_age(decided(["BENIGN"], ["BENIGN"], age=[3])) == ()
    assert by_age(decided(["BENIGN"], ["BENIGN"], closed=[False])) == ()


def test_decisions_of_several_models_one_after_the_other() -> None:
    both = together([decided(["BENIGN"], ["SYN_SCAN"]), decided(["SYN_SCAN", "BENIGN"], ["UNKNOWN", "BENIGN"])])
    assert both.flagged.tolist() == [True, True, False]
    assert both.novel.tolist() == [False, True, False]
    assert both.flows.y.tolist() == ["BENIGN", "SYN_SCAN", "BENIGN"]
    assert len(both) == 3
