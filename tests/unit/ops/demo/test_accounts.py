"""Accounts close by identity, not by count."""

from __future__ import annotations

import numpy as np

from ops.harness import accounts


def ids(*numbers: int) -> accounts.Ids:
    return np.array([f"00000000-0000-5000-8000-{n:012d}" for n in numbers], dtype="S36")


def test_packets_close_when_every_one_is_metered_or_rejected():
    assert accounts.packets(10, 8, 2).closes


def test_packets_that_wait_leave_the_account_open_and_are_named():
    check = accounts.packets(10, 7, 1, waiting=2)
    assert not check.closes
    assert "2 packets are missing" in check.text
    assert "wait" in check.text


def test_more_metered_than_sent_is_open_too():
    check = accounts.packets(10, 11, 0)
    assert not check.closes
    assert "1 packets too many" in check.text


def test_a_store_with_the_same_flows_closes_in_any_order():
    assert accounts.flows(ids(1, 2, 3), ids(3, 1, 2), "lake").closes


def test_the_same_count_with_another_flow_does_not_close():
    check = accounts.flows(ids(1, 2, 3), ids(1, 2, 4), "lake")
    assert not check.closes
    assert "1 missing, e.g. 00000000-0000-5000-8000-000000000003" in check.text
    assert "1 that were never closed, e.g. 00000000-0000-5000-8000-000000000004" in check.text


def test_a_flow_twice_does_not_close():
    check = accounts.flows(ids(1, 2), ids(1, 2, 2), "hot")
    assert not check.closes
    assert "more than once" in check.text


def test_nothing_closed_and_nothing_stored_closes():
    assert accounts.flows(accounts.NO_IDS, accounts.NO_IDS, "hot").closes


def test_only_some_ids_are_named():
    check = accounts.flows(ids(*range(100)), accounts.NO_IDS, "hot")
    assert check.text.count("00000000-") == 3
    assert "100 missing" in check.text


def test_unique_takes_copies_away():
    assert list(accounts.unique([ids(2, 1), ids(2)])) == list(ids(1, 2))
    assert len(accounts.unique([])) == 0


def test_rejected_by_reason_orders_by_number_and_leaves_others_out():
    total = {"packets": 9, "rejected": 5, "rejected_late": 1, "rejected_not-ip": 4, "rejected_cut": 0}
    assert list(accounts.rejected_by_reason(total).items()) == [("not-ip", 4), ("late", 1)]


def test_the_meters_own_count_must_agree():
    assert accounts.counted(3, 3).closes
    assert not accounts.counted(3, 4).closes


def test_flows_in_the_quarantine_are_accounted_for() -> None:
    check = accounts.flows(ids(1, 2, 3), ids(1, 3), "lake", ids(2))
    assert check.closes
    assert check.text == "3 flows closed = 2 rows in lake + 1 in the quarantine, the same ids"
    assert accounts.flows(ids(1, 2, 3), ids(1, 2, 3), "lake", ids(2)).closes, "published again"
    assert not accounts.flows(ids(1, 2, 3), ids(1), "lake", ids(2)).closes
    assert accounts.flows(ids(1), ids(1), "lake", ids(9)).closes, "never closed: of another run"
