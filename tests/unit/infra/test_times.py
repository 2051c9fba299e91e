"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from infra.console.times import moment, since
from infra.errors import ConfigError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_moments() -> None:
    assert moment("now", "--from", NOW) == NOW
    assert moment("+2h", "--from", NOW) == NOW + timedelta(hours=2)
    assert moment("+1h30min", "--from", NOW) == NOW + timedelta(minutes=90)
    assert moment("2026-07-01T02:00", "--from", NOW) == datetime(2026, 7, 1, 2, tzinfo=UTC)
    assert moment("2026-07-01T02:00", "--from", NOW, ZoneInfo("Europe/Zurich")) == datetime(2026, 7, 1, 0, tzinfo=UTC)
    assert moment("2026-07-01T02:00+05:00", "--from", NOW, ZoneInfo("Europe/Zurich")) == datetime(2026, 6, 30, 21, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "0001-01-01T00:00+14:00", "9999-12-31", "1969-12-31", "+2"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--until"):
        moment(text, "--until", NOW)


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("15m", 900), ("15min", 900), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600)])
def test_so_long_ago(text: str, ago: float) -> None:
    before = datetime.now(UTC)
    found = since(text)
    assert found is not None
    assert before <= found + timedelta(seconds=ago) <= datetime.now(UTC)


def test_since_a_moment() -> None:
    assert since(None) is None
    assert since("2026-03-01T12:00") == NOW
    assert since("2026-03-01T13:00+01:00") == NOW


@pytest.mark.parametrize("text", ["", "+2h", "2", "yesterday", "2y", "999999999w" * 20])
def test_what_is_no_time_names_its_option(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--from .* is no time") as refused:
        since(text, "--from")
    assert "2w" in refused.value.hint
