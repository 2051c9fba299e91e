"""Spans and moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from infra.console.times import moment, span
from infra.errors import ConfigError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_spans() -> None:
    assert [span(text, "--for") for text in ("15m", "2h", "7d", "2w", "+30s")] == [
        timedelta(minutes=15), timedelta(hours=2), timedelta(days=7), timedelta(days=14), timedelta(seconds=30),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "0h", "-2h", "2", "2y", "1.5h", "999999w", "\u0667d"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ConfigError, match="is no span of time"):
        span(text, "--for")


def test_moments() -> None:
    assert moment("now", "--from", NOW) == NOW
    assert moment("+2h", "--from", NOW) == NOW + timedelta(hours=2)
    assert moment("2026-07-01T02:00", "--from", NOW) == datetime(2026, 7, 1, 2, tzinfo=UTC)
    assert moment("2026-07-01T02:00", "--from", NOW, ZoneInfo("Europe/Zurich")) == datetime(2026, 7, 1, 0, tzinfo=UTC)
    assert moment("2026-07-01T02:00+05:00", "--from", NOW, ZoneInfo("Europe/Zurich")) == datetime(2026, 6, 30, 21, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "0001-01-01T00:00+14:00", "9999-12-31", "1969-12-31", "+2"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ConfigError):
        moment(text, "--until", NOW)
