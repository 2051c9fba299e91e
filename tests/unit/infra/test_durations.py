"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from infra.durations import read, seconds, span, words
from infra.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2s", 2), ("15m", 900), ("15min", 900), ("2h", 7200), (" 1H30M ", 5400), ("1h30min", 5400), ("+30s", 30), ("7d", 604_800),
        ("2w", 1_209_600), ("1w2d3h4m5s", 788_645),
    ],
)  # fmt: skip
def test_read(text: str, found: float) -> None:
    assert read(text) == seconds(text, "--for") == found
    assert span(text, "--for") == timedelta(seconds=found)


NONE = ["", "2", "0s", "-2h", "h", "2 h", "2y", "1.5h", "1e3s", "two hours", "9999999999h", "2h;", "2mi", "\u0667d", "+", "++2h"]


@pytest.mark.parametrize("text", NONE)
def test_what_is_none_is_told_with_its_option(text: str) -> None:
    for reading in (seconds, span):
        with pytest.raises(ConfigError, match=r"^--for .* is no length of time") as refused:
            reading(text, "--for")
        assert "1h30m" in refused.value.hint


@pytest.mark.parametrize("text", ["999999w", "999999999w" * 50])
def test_a_slip_of_the_keyboard(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--for .* is longer than ten years"):
        span(text, "--for")


@pytest.mark.parametrize(("given", "text"), [(0, "0s"), (59.6, "1m"), (5400, "1h30m"), (90_061, "1d1h"), (604_800, "1w")])
def test_written(given: float, text: str) -> None:
    assert words(given) == text
