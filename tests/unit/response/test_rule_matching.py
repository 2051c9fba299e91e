"""Which alerts a rule means."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from infra.sections import BlockRule, ResponseSettings
from jobs.response.rules import matching

GUESSING = BlockRule(name="guessing", kinds=("brute-force",), min_severity=3, min_confidence=0.9)
SCANS = BlockRule(name="scans", kinds=("SYN_SCAN",), min_severity=1, min_confidence=0.5)
ALERT: dict[str, Any] = {"kind": "brute-force", "attack_type": "SSH_BRUTE_FORCE", "severity": 3, "confidence": 0.8999999761581421}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, "guessing"),
        ({"severity": 2}, None),
        ({"confidence": 0.89}, None),
        ({"kind": "scan", "attack_type": "SYN_SCAN"}, "scans"),
        ({"kind": "scan", "attack_type": "UDP_SCAN"}, None),
        ({"kind": "guessing"}, "guessing"),  # by its former name
    ],
)
def test_kind_severity_and_confidence(change: dict[str, Any], rule: str | None) -> None:
    found = matching([GUESSING, SCANS], {**ALERT, **change})
    assert (found.name if found else None) == rule


@pytest.mark.parametrize(
    "section",
    [
        {"rules": [{"name": "x", "kinds": []}]},
        {"rules": [{"name": "", "kinds": ["scan"]}]},
        {"rules": [{"name": "x", "kinds": ["scan"], "min_confidence": 1.5}]},
        {"rules": [{"name": "x", "kinds": ["scan"], "for": "2h"}]},
        {"protected": ["10.0.0.1/8"]},
        {"inside": ["home"]},
        {"responder": "iptables"},
        {"webhook_url": "ftp://host/x"},
        {"webhook_url": "https://me:secret@host/x"},
    ],
)
def test_settings_that_make_no_sense_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ResponseSettings(**section)


def test_nothing_blocks_by_itself_unless_it_is_told_to() -> None:
    made = ResponseSettings()
    assert (made.rules, made.responder) == ((), "dry-run")
