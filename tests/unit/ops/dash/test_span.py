"""The time and the sensors that an address names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from infra.errors import ConfigError
from ops.dash import span

NOW = datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC)
WHOLE = NOW.replace(microsecond=0)


@pytest.mark.parametrize(
    ("since", "until", "start", "end"),
    [
        ("", "", WHOLE - timedelta(hours=1), WHOLE),
        ("now-6h", "now", WHOLE - timedelta(hours=6), WHOLE),
        ("7d", "now-1d", WHOLE - timedelta(days=7), WHOLE - timedelta(days=1)),
        ("2026-02-01", "2026-02-02T03:04", datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, 3, 4, tzinfo=UTC)),
        ("2026-02-01T01:00:00+01:00", "now", datetime(2026, 2, 1, tzinfo=UTC), WHOLE),
        ("1772323200000", "1772326800000", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_as_grafana_and_people_write_them(since: str, until: str, start: datetime, end: datetime) -> None:
    found = span.read(since, until, now=NOW)
    assert (found.start, found.end) == (start, end)


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("yesterday", "now"), ("now", "now"), ("now-1h", "now-2h"), ("now-1", "now"), ("now-999999999w", "now"), ("0001-01-01", "now"),
        ("99999999999999", "now"), ("now-1h'; DROP TABLE alerts", "now"), ("now-20000d", "now"), ("0001-01-01T00:00+14:00", "now"),
    ],
)  # fmt: skip
def test_what_is_no_range_is_refused_with_a_way_out(since: str, until: str) -> None:
    with pytest.raises(ConfigError) as refused:
        span.read(since, until, now=NOW)
    assert refused.value.hint


def test_sensors_are_a_set_of_names() -> None:
    assert span.read("", "", ["b", "a", "", "b"], NOW).sensors == ("a", "b")
    for names in (["x\0"], ["x" * 300], [f"s{i}" for i in range(101)]):
        with pytest.raises(ConfigError):
            span.read("", "", names, NOW)


def test_the_address_says_the_same_again() -> None:
    one = span.read("6h", "", ["a&b=c", "d"], NOW)
    asked = parse_qs(one.query)
    assert asked == {"from": ["now-6h"], "to": ["now"], "sensor": ["a&b=c", "d"]}
    assert span.read(asked["from"][0], asked["to"][0], asked["sensor"], NOW) == one


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("1h", "", "Last hour"), ("3h", "", "Last 3 hours"), ("1d", "", "Last day"), ("2026-03-01", "", "Since 2026-03-01 00:00 UTC"),
        ("24h", "now-1h", "2026-02-28 12:00 to 2026-03-01 11:00 UTC"),
    ],
)  # fmt: skip
def test_ranges_have_names(since: str, until: str, words: str) -> None:
    assert span.name(span.read(since, until, now=NOW)) == words


def test_only_what_ends_now_goes_on() -> None:
    assert span.read("1h", "now", now=NOW).live
    assert not span.read("2026-02-01", "2026-02-02", now=NOW).live
