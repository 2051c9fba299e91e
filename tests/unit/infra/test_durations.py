"""Durations as people write them."""

from __future__ import annotations

import pytest

from infra.durations import seconds, words
from infra.errors import ConfigError


@pytest.mark.parametrize(("text", "found"), [("2s", 2), ("15m", 900), ("2h", 7200), (" 1H30M ", 5400), ("7d", 604_800), ("2w", 1_209_600)])
def test_read(text: str, found: float) -> None:
    assert seconds(text, "--for") == found


@pytest.mark.parametrize("text", ["", "2", "0s", "-2h", "h", "2 h", "2y", "1e3s", "two hours", "9999999999h", "2h;"])
def test_what_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--for"):
        seconds(text, "--for")


@pytest.mark.parametrize(("given", "text"), [(0, "0s"), (59.6, "1m"), (5400, "1h30m"), (90_061, "1d1h"), (604_800, "1w")])
def test_written(given: float, text: str) -> None:
    assert words(given) == text
