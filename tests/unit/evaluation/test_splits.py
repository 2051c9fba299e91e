"""Ways of holding out: what must not be on both sides is not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from jobs.evaluation import splits
from jobs.evaluation.splits import Fold
from jobs.training.labelled import LabelledFlows
from tests.unit.evaluation.planted import records, site_traffic

FLOWS = site_traffic()


def disjoint(fold: Fold, flows: LabelledFlows) -> bool:
    every = np.concatenate([fold.train, fold.validation, fold.test])
    rising = all(a < b for rows in (fold.train, fold.validation, fold.test) for a, b in pairwise(rows.tolist()))
    return rising and len(set(every.tolist())) == len(every) and (len(every) == 0 or every.max() < len(flows))


def test_at_random_every_label_is_on_all_sides() -> None:
    fold = splits.at_random(FLOWS, 7)
    assert disjoint(fold, FLOWS)
    assert len(fold.train) + len(fold.validation) + len(fold.test) == len(FLOWS)
    for label in np.unique(FLOWS.y):
        shares = [np.mean(FLOWS.y[rows] == label) for rows in (fold.train, fold.validation, fold.test)]
        assert max(shares) - min(shares) < 0.01
    again, other = splits.at_random(FLOWS, 7), splits.at_random(FLOWS, 8)
    assert np.array_equal(fold.test, again.test)
    assert not np.array_equal(fold.test, other.test)


def test_at_random_with_labels_of_few_rows() -> None:
    labels = ["BENIGN"] * 10 + ["SYN_SCAN"] * 2 + ["UDP_SCAN"] * 3
    fold = splits.at_random(records(labels), 1)
    assert [sum(labels[i] == "SYN_SCAN" for i in rows) for rows in (fold.train, fold.validation, fold.test)] == [2, 0, 0]
    assert [sum(labels[i] == "UDP_SCAN" for i in rows) for rows in (fold.train, fold.validation, fold.test)] == [1, 1, 1]


def test_by_day_holds_out_each_day_once() -> None:
    folds = list(splits.by_day(FLOWS, 7))
    assert [f.name for f in folds] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    for fold in folds:
        assert disjoint(fold, FLOWS)
        assert set(FLOWS.group[fold.test]) == {fold.name}
        assert fold.name not in set(FLOWS.group[np.concatenate([fold.train, fold.validation])])
    assert sum(len(f.test) for f in folds) == len(FLOWS)


def test_rows_without_a_day_or_host_are_in_no_fold() -> None:
    flows = records(["BENIGN", "SYN_SCAN"] * 4, group=["a", "a", "b", "b", "", "", "", ""], host=["", "", "x", "x", "y", "y", "z", "z"])
    assert sorted(np.concatenate([f.test for f in splits.by_day(flows, 1)]).tolist()) == [0, 1, 2, 3]
    assert sorted(np.concatenate([f.test for f in splits.by_host(flows, 1)]).tolist()) == [2, 3, 4, 5, 6, 7]


def test_by_host_shares_no_host() -> None:
    folds = list(splits.by_host(FLOWS, 7))
    assert len(folds) == splits.HOST_FOLDS
    for fold in folds:
        assert disjoint(fold, FLOWS)
        assert not set(FLOWS.host[fold.test]) & set(FLOWS.host[np.concatenate([fold.train, fold.validation])])
    assert sorted(np.concatenate([f.test for f in folds]).tolist()) == list(range(len(FLOWS)))


@pytest.mark.parametrize("hosts", [[""] * 6, ["only"] * 6])
def test_one_host_cannot_be_split(hosts: list[str]) -> None:
    assert list(splits.by_host(records(["BENIGN"] * 6, host=hosts), 1)) == []


def test_without_an_attack_no_variant_of_it_is_trained_on() -> None:
    base = splits.at_random(FLOWS, 7)
    families = {"SYN_SCAN": "FLOODS AND SCANS", "UDP_FLOOD": "FLOODS AND SCANS"}
    folds = {f.name: f for f in splits.without_attack(FLOWS, base, families)}
    assert set(folds) == {"FLOODS AND SCANS", "SLOWLORIS"}
    both = folds["FLOODS AND SCANS"]
    assert disjoint(both, FLOWS)
    assert set(FLOWS.y[np.concatenate([both.train, both.validation])]) == {"BENIGN", "SLOWLORIS"}
    assert set(FLOWS.y[both.test]) == {"BENIGN", "SYN_SCAN", "UDP_FLOOD"}
    assert (FLOWS.y[both.test] != "BENIGN").sum() == np.isin(FLOWS.y, ["SYN_SCAN", "UDP_FLOOD"]).sum()  # all rows of it
    benign = both.test[FLOWS.y[both.test] == "BENIGN"]
    assert set(benign.tolist()) == set(base.test[FLOWS.y[base.test] == "BENIGN"].tolist())
