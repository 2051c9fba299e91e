"""Ids as people type them."""

from __future__ import annotations

import pytest

from infra.errors import ConfigError
from jobs.incidents import ids

WHOLE = "0b4c1f6e-3f1c-5d2e-9a53-d5a3a9a0c7de"


@pytest.mark.parametrize("given", [WHOLE, WHOLE.upper(), WHOLE.replace("-", ""), f"{{{WHOLE}}}", f"urn:uuid:{WHOLE}", f" {WHOLE}\n"])
def test_a_whole_id_is_itself_however_it_is_written(given: str) -> None:
    assert ids.span(given, "alert", "") == (WHOLE, WHOLE)


@pytest.mark.parametrize("given", ["0b4c", "0b4c1f6e-3", "0B4C1F6E3f1c5", WHOLE[:-1]])
def test_a_beginning_spans_what_begins_so(given: str) -> None:
    first, last = ids.span(given, "alert", "")
    assert first <= WHOLE <= last
    assert first.startswith(given.lower()[:8])
    assert last.endswith("f")


@pytest.mark.parametrize("given", ["", "0b4", "0b-4", "0b4g", f"{WHOLE}0", "'; DROP TABLE alerts; --", "0b4%", "\x1b[2J"])
def test_anything_else_is_no_id(given: str) -> None:
    with pytest.raises(ConfigError, match="is no UUID, nor the beginning of one") as raised:
        ids.span(given, "alert", "here they are")
    assert "here they are" in raised.value.hint
    assert str(raised.value).isprintable()


def test_candidates_are_named_and_more_are_said_to_be_there() -> None:
    found = [(f"0b4c{n}", f"SCAN {n}") for n in range(ids.NAMED + 1)]
    with pytest.raises(ConfigError, match=r"several alerts begin with 0b4c: 0b4c0 \(SCAN 0\); .*0b4c4 \(SCAN 4\); and more"):
        ids.one(found, "0B4C", "alert", "")
    with pytest.raises(ConfigError, match="there is no alert 0b4c"):
        ids.one([], "0b4c", "alert", "")
    assert ids.one(found[:1], "0b4c", "alert", "") == "0b4c0"
