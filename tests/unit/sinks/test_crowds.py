"""Many sources or targets in words."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import crowds
from schemas.alerts import SKETCH_SIZE


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 source"), (2, "2 sources"), (SKETCH_SIZE - 1, "1,023 sources"), (SKETCH_SIZE, "about 1,024 sources"),
        (2_744_000, "about 2,744,000 sources"), (2744.0, "about 2,744 sources"), (0, ""), (-1, ""), (None, ""), ("many", ""), (True, ""),
        ([3], ""),
    ],
)  # fmt: skip
def test_beyond_the_sketch_a_number_is_an_estimate(count: Any, said: str) -> None:
    assert crowds.several({"distinct_sources": count}, "source") == said


@pytest.mark.parametrize(
    ("source", "target", "details", "said"),
    [
        ("10.0.0.1", None, {"distinct_targets": 39}, "10.0.0.1 to 39 targets"), ("10.0.0.1", None, {}, "10.0.0.1 to many targets"),
        (None, "10.0.0.2", {"distinct_sources": 5000}, "about 5,000 sources to 10.0.0.2"), (None, None, {"device": "d7"}, ""),
        ("10.0.0.1", None, {"distinct_targets": 0}, "10.0.0.1"), (None, None, {"distinct_sources": 2, "distinct_targets": 0}, "2 sources"),
        ("10.0.0.1", None, {"flow_id": "0b4c"}, "10.0.0.1"),
    ],
)  # fmt: skip
def test_who_is_at_both_ends(source: str | None, target: str | None, details: dict[str, Any], said: str) -> None:
    assert crowds.ends({"src_ip": source, "dst_ip": target, "details": details}) == said
