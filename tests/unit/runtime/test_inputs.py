"""What a progress report says of messages that did not come."""

from __future__ import annotations

from typing import Any

import pytest

from infra.kafka.topics import Extent
from jobs.runtime.inputs import Short, short, skipped


def progress(rows: int, start: dict[str, int] | None, end: dict[str, int]) -> dict[str, Any]:
    kafka = {"startOffset": start and {"raw": start}, "endOffset": {"raw": end}, "numInputRows": rows}
    return {"name": "q", "sources": [kafka, {"description": "RateStreamV2", "startOffset": "16", "endOffset": "17", "numInputRows": 1}]}


def extent(*first: int) -> Extent:
    return Extent("", dict(enumerate(first)), {})


def test_a_batch_that_brought_all_is_not_short() -> None:
    assert short(progress(15, {"0": 10, "1": 0}, {"0": 20, "1": 5}), "raw") is None
    assert short(progress(9, {"0": 10}, {"0": 15, "1": 4}), "raw") is None, "the topic has grown by a partition"
    assert short(progress(3, None, {"0": 20}), "raw") is None, "the first one begins where the topic did"
    assert short(progress(0, {"0": 10}, {"0": 20}), "other") is None


def test_one_that_brought_less_says_how_much() -> None:
    assert short(progress(12, {"0": 10, "1": 0}, {"0": 20, "1": 5}), "raw") == Short("q", {0: (10, 20), 1: (0, 5)}, 3)
    assert short(progress(30, {"0": 10}, {"0": 20}), "raw") == Short("q", {0: (10, 20)}, None), "read more than once: cannot tell"


@pytest.mark.parametrize(
    ("missing", "first", "counted", "lost"),
    [
        (3, (13, 0), {}, {0: 3}),
        (3, (18, 0), {}, {0: 3}),  # the topic moved on after the batch was read
        (3, (0, 0), {}, {}),  # holes of transactions: nothing is gone
        (10, (90, 0), {}, {0: 10}),  # not what lies behind the batch
        (12, (90, 2), {}, {0: 10, 1: 2}),
        (10, (20, 0), {0: 20}, {}),  # all counted at the start
        (10, (20, 0), {0: 15}, {0: 5}),
        (None, (13, 0), {}, {0: 3}),
    ],
)
def test_gone_is_what_is_missing_and_lies_before_the_beginning(
    missing: int | None, first: tuple[int, int], counted: dict[int, int], lost: dict[int, int]
) -> None:
    assert skipped(Short("q", {0: (10, 20), 1: (0, 5)}, missing), extent(*first), counted) == lost
