"""Rules of the settings: what they may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from infra.sections import BlockRule, ResponseSettings
from jobs.response import rules


def test_kinds_by_all_their_names() -> None:
    assert rules.spellings(["brute-force", "SYN_SCAN"]) == ["SYN_SCAN", "brute-force", "guessing"]


def test_a_kind_that_nobody_knows_is_told() -> None:
    made = BlockRule(name="x", kinds=("brute-force", "guessing", "SYN_SCAN", "brute_force", "syn_scan"))
    assert rules.unknown([made]) == ["brute_force", "syn_scan"]


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
