"""The list of alerts at a terminal: one line each, and whole addresses as long as there is room."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ops.cli.alertlines import in_lines
from tests.unit.ops.cli.test_incident_lines import wide

ALERT: dict[str, Any] = {
    "id": "0b4c1f6e-3f1c-5d2e-9a53-d5a3a9a0c7de", "timestamp": datetime(2026, 3, 1, 12, 5, tzinfo=UTC), "severity": 4,
    "attack_type": "SSH_BRUTE_FORCE", "src_ip": "10.212.142.123", "dst_ip": "10.212.142.201", "details": {}, "flow_count": 1_200_300,
    "confidence": 0.931, "resolved_by": None, "suppressed_by": None,
}  # fmt: skip
CROWD = {**ALERT, "src_ip": None, "details": {"sources": [f"192.0.2.{n}" for n in range(20)], "distinct_sources": 300}}


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_an_alert_is_a_line(width: int) -> None:
    rows = in_lines([ALERT, CROWD], width)
    assert wide(rows) <= width
    assert (rows[0]["id"], rows[0]["timestamp"], rows[0]["sev"]) == ("0b4c1f6e", "03-01 12:05", 4)
    assert rows[1]["who"] == "300 hosts -> 10.212.142.201"
    if width >= 100:
        assert rows[0]["who"] == "10.212.142.123 -> 10.212.142.201"
    assert [name for name in ("flows", "conf") if name in rows[0]] == {80: [], 100: ["flows"]}.get(width, ["flows", "conf"])


def test_what_says_least_goes_first() -> None:
    assert [name for name in ("flows", "conf") if name in in_lines([{**ALERT, "attack_type": "SYN_SCAN"}], 94)[0]] == ["flows"]


def test_who_resolved_and_what_silences_is_told_where_it_is_so() -> None:
    (row,) = in_lines([ALERT], 120)
    assert not {"resolved_by", "suppressed_by"} & set(row)
    rows = in_lines([ALERT, {**ALERT, "resolved_by": "\x1b[2Janna"}, {**ALERT, "suppressed_by": 8}], 160)
    assert [(row["resolved_by"], row["suppressed_by"]) for row in rows] == [("", ""), (r"\x1b[2Janna", ""), ("", "8")]


@pytest.mark.parametrize(
    ("details", "who"),
    [
        ({"sources": ["10.0.0.1", "10.0.0.2"], "distinct_sources": 2}, "10.0.0.1, 10.0.0.2 -> many hosts"),
        ({"targets": ["10.0.0.1"] * 3, "distinct_targets": "x"}, "many hosts -> 10.0.0.1"),
        ({"sources": [], "targets": "7"}, ""),
        ({"device": "d7"}, ""),
        ({"sources": ["10.0.0.1"], "distinct_sources": 1, "targets": [], "distinct_targets": 0}, "10.0.0.1"),
    ],
)
def test_who_as_far_as_it_is_known(details: dict[str, Any], who: str) -> None:
    assert in_lines([{**ALERT, "src_ip": None, "dst_ip": None, "details": details}], 120)[0]["who"] == who
    assert in_lines([], 80) == []
