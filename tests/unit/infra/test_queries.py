"""What a checkpoint's offsets mean for the topic as it stands on the broker."""

from __future__ import annotations

import json

import pytest

from infra.kafka import progress as queries
from infra.kafka.topics import Extent

ENTRY = "\n".join(["v1", '{"batchWatermarkMs":0,"conf":{"spark.sql.shuffle.partitions":"2"}}', '{"a":{"0":10,"1":3},"b":{"0":7}}', "17"])


def extent(known: str = "one", first: int = 0, end: int = 10, partitions: int = 2) -> Extent:
    return Extent(known, dict.fromkeys(range(partitions), first), dict.fromkeys(range(partitions), end))


def test_another_id_is_another_topic_wherever_it_ends() -> None:
    why = queries.misfit("raw", "one", {0: 5, 1: 5}, extent("two"))
    for word in ("raw", "one", "two", "made anew"):
        assert word in why


@pytest.mark.parametrize(("known", "there"), [("", "two"), ("one", ""), ("", ""), ("one", "one")])
def test_without_both_ids_the_end_decides(known: str, there: str) -> None:
    assert queries.misfit("raw", known, {0: 10, 1: 0}, extent(there)) == ""
    assert "partition 0 was read to offset 11 and ends at 10" in queries.misfit("raw", known, {0: 11, 1: 0}, extent(there))
    assert "partition 2 was read to offset 1 and ends at 0" in queries.misfit("raw", known, {0: 1, 2: 1}, extent(there)), "fewer partitions"


def test_of_a_topic_of_which_nothing_was_read_nothing_is_missed() -> None:
    assert queries.misfit("raw", "one", {}, extent("two")) == ""
    assert queries.gone({}, extent(first=5), {}) == {}


def test_gone_is_what_lies_before_the_beginning_and_was_not_read_nor_counted() -> None:
    assert queries.gone({0: 2, 1: 9}, extent(first=6), {}) == {0: 4}
    assert queries.gone({0: 2, 1: 9}, extent(first=6), {0: 5}) == {0: 1}
    assert queries.gone({0: 6, 1: 6}, extent(first=6), {}) == {}


def test_a_partition_that_was_added_is_no_gap_unless_it_lost_messages() -> None:
    assert queries.gone({0: 10}, extent(first=0), {}) == {}
    grown = Extent("one", {0: 0, 1: 4}, {0: 10, 1: 9})
    assert queries.gone({0: 10}, grown, {}) == {1: 4}


def test_offsets_of_an_entry_of_the_log() -> None:
    assert queries.logged_offsets(ENTRY) == {("a", 0): 10, ("a", 1): 3, ("b", 0): 7}
    assert queries.logged_offsets('\0v1\n{"a":{"0":4}}') == {("a", 0): 4}, "as a source notes where it begins"
    for cut in ("", "v1", 'v1\n{"a":{"0":', "v1\n[1]", 'v1\n{"a":{"x":1}}', 'v1\n{"a":{"0":"1"}}'):
        assert queries.logged_offsets(cut) == {}


def test_other_offsets_of_one_topic_leave_the_rest_of_the_entry_as_it_was() -> None:
    changed = queries.relogged(ENTRY, "a", {0: 0, 1: 0, 2: 0})
    assert queries.logged_offsets(changed) == {("a", 0): 0, ("a", 1): 0, ("a", 2): 0, ("b", 0): 7}
    before, after = ENTRY.split("\n"), changed.split("\n")
    assert [before[i] for i in (0, 1, 3)] == [after[i] for i in (0, 1, 3)]
    assert queries.relogged(ENTRY, "elsewhere", {0: 0}) == ENTRY


def test_the_account_survives_its_note_and_a_note_without_one() -> None:
    account = queries.Account({"a": "one"}, {("a", 0): 3, ("a", 11): 4}, {("a", 0): 9})
    note = json.loads(json.dumps({"id": "x", "input": queries.account_json(account)}))
    assert queries.account_of(note) == account
    for odd in (
        None,
        3,
        [],
        {},
        {"input": 3},
        {"input": {"ids": 3}},
        {"input": {"skipped": {"a": 3}}},
        {"input": {"counted": {"a": {"x": 1}}}},
    ):
        assert queries.account_of(odd) == queries.Account({}, {}, {})
