"""What was done, in words and not in columns; whatever stands in the audit is a line."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.incidents.changes import told

ONE, OTHER = "98408a1c-3f1c-5d2e-9a53-d5a3a9a0c7de", "77aa01d2-3f1c-5d2e-9a53-d5a3a9a0c7de"
T0 = "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"incident_id": [None, ONE]}, "put into incident 98408a1c"),
        ({"incident_id": [ONE, None]}, "taken out of incident 98408a1c"),
        ({"incident_id": [ONE, OTHER], "grouped_by": ["rule", "person"]},
         "by hand: the rule leaves it there, moved from incident 98408a1c to 77aa01d2"),
        ({"id": [ONE, OTHER]}, "its id is 77aa01d2, no longer 98408a1c"),
        ({"assigned_to": [None, "anna"], "status": ["OPEN", "INVESTIGATING"]}, "assigned to anna, status OPEN -> INVESTIGATING"),
        ({"assigned_to": ["anna", "ben"]}, "assigned to ben, no longer to anna"),
        ({"assigned_to": ["anna", None]}, "assigned to nobody, no longer to anna"),
        ({"status": ["OPEN", "RESOLVED"], "closed_at": [None, T0], "closed_by": [None, "anna"], "touched_at": [None, T0]},
         "closed by anna, status OPEN -> RESOLVED"),
        ({"status": ["RESOLVED", "INVESTIGATING"], "closed_at": [T0, None], "closed_by": ["anna", None]},
         "status RESOLVED -> INVESTIGATING"),
        ({"resolved_at": [None, T0], "resolved_by": [None, "anna"], "action_taken": ["none", "told the owner"]},
         "action taken: told the owner, resolved by anna"),
        ({"action_taken": ["BLOCKED", "none"]}, "action taken: none, no longer BLOCKED"),
        ({"action_taken": ["a", "b"]}, "action taken: b, before: a"),
        ({"resolved_at": [None, T0]}, "resolved by nobody named"),
        ({"resolved_at": [T0, None], "resolved_by": ["anna", None]}, "no longer resolved"),
        ({"suppressed_by": [None, 8], "suppressed_at": [None, T0]}, "silenced by entry 8"),
        ({"suppressed_by": [8, None]}, "told: entry 8 silences it no longer"),
        ({"title": ["", "SYN scan"]}, "called 'SYN scan'"),
        ({"title": ["SYN scan", "Test of March"]}, "called 'Test of March', before: 'SYN scan'"),
        ({"severity": [3, 5], "notified_severity": [3, 5]}, "told as severity 5, severity 3 -> 5"),
        ({"model_version": ["6", None]}, "model version 6 -> none"),
        ({"metadata": [{}, {"a": 1}], "touched_at": [None, T0]}, "touched"),
        ({"odd": 7, "title": ["x"]}, "touched"),
        ({}, "touched"),
    ],
)  # fmt: skip
def test_a_change(details: dict[str, Any], words: str) -> None:
    assert told("alert.update", details) == words


def test_beginnings_and_ends() -> None:
    assert [told(action, {"title": "x"}) for action in ("alert.insert", "incident.insert", "incident.delete", "alert.delete", "other")] == [
        "raised", "made", "merged into another", "deleted", "other",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["title", "incident_id", "assigned_to", "status", "action_taken", "odd_column"])
def test_hostile_text_is_one_short_line(name: str) -> None:
    text = told("incident.update", {name: ["\x1b[2J\n" * 100, "\u2028\x07" * 100]})
    assert not [c for c in text if not c.isprintable()]
    assert len(text) < 200
