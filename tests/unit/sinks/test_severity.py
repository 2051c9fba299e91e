"""Severity: the stated formula, its bounds, and that more of anything never makes it less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import LOW_CONFIDENCE, MANY_FLOWS, severity
from schemas.labels import ATTACKS, BY_NAME, LABELS, Label


@pytest.mark.parametrize(
    ("attack", "confidence", "flows", "importance", "expected"),
    [
        ("SYN_SCAN", 0.9, 10, 2, 2),
        ("SYN_SCAN", 0.9, 10, 1, 1),
        ("SYN_SCAN", 0.9, 10, 3, 3),
        ("SYN_SCAN", 0.9, 10, 4, 4),
        ("SYN_SCAN", 0.9, MANY_FLOWS, 4, 5),
        ("SYN_SCAN", LOW_CONFIDENCE - 0.01, MANY_FLOWS, 2, 2),
        ("SYN_SCAN", 0.1, 1, 1, 1),
        ("SYN_FLOOD", 0.9, 10, 4, 5),
        ("SYN_FLOOD", 0.9, 10, 1, 4),
        ("BOTNET_BEACON", 0.9, 1, 2, 4),
        ("BOTNET_BEACON", 0.9, 2, 2, 5),
        ("BOTNET_BEACON", LOW_CONFIDENCE - 0.01, 1, 1, 2),
        ("BOTNET_BEACON", 0.9, 1, 4, 5),
        ("EXFILTRATION", 0.9, 1, 2, 5),
        ("WEB_INJECTION", 0.9, 1, 2, 3),
        ("NOBODY_DECLARED_IT", 0.9, 1, 2, 3),
        ("NOBODY_DECLARED_IT", 0.9, 1, 99, 5),
    ],
)
def test_formula(attack: str, confidence: float, flows: int, importance: int, expected: int) -> None:
    assert severity(attack, confidence, flows, BY_NAME, importance) == expected


@pytest.mark.parametrize("label", [label for label in LABELS if label.severity], ids=lambda label: label.name)
def test_one_flow_says_less_of_what_is_repeated_alone(label: Label) -> None:
    one, two = (severity(label.name, 0.9, flows, BY_NAME) for flows in (1, 2))
    assert (one, two) == (label.severity - label.by_repetition, label.severity)


CASES = st.tuples(st.floats(0, 1), st.integers(1, 10_000_000), st.integers(1, 4))


@given(attack=st.sampled_from([*ATTACKS, "OTHER"]), a=CASES, b=CASES)
def test_more_of_anything_is_never_less(attack: str, a: tuple[float, int, int], b: tuple[float, int, int]) -> None:
    low, high = ([pick(x, y) for x, y in zip(a, b, strict=True)] for pick in (min, max))
    less, more = (severity(attack, confidence, flows, BY_NAME, importance) for confidence, flows, importance in (low, high))
    assert 1 <= less <= more <= 5
