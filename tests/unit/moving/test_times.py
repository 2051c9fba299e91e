"""Times as other systems write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from infra.errors import ConfigError
from jobs.moving.times import Clock, times


def read(*texts: str, clock: Clock | None = None) -> list[datetime | None]:
    us, good = times(pa.array(texts, pa.string()), clock or Clock())
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [epoch + timedelta(microseconds=value) if fine else None for value, fine in zip(us.tolist(), good.tolist(), strict=True)]


AT = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T12:30:45.123456", AT),
        (" 2026-03-01 12:30:45.123456 ", AT),
        ("2026-03-01 12:30:45,123456", AT),
        ("2026-03-01T12:30:45.123456789", AT),
        ("2026-03-01T12:30:45.123456Z", AT),
        ("2026-03-01T12:30:45.123456 Z", AT),
        ("2026-03-01T14:30:45.123456+02:00", AT),
        ("2026-03-01T14:30:45.123456+0200", AT),
        ("2026-03-01T12:30:45", AT.replace(microsecond=0)),
        ("2026-03-01T12:30", AT.replace(second=0, microsecond=0)),
        ("1772368245", AT.replace(microsecond=0)),
        ("1772368245.5", AT.replace(microsecond=500_000)),
        ("1772368245123", AT.replace(microsecond=123_000)),
        ("1772368245123456", AT),
        ("1772368245123456789", AT),
        ("1.772368245e9", AT.replace(microsecond=0)),
    ],
)
def test_forms(text: str, expected: datetime) -> None:
    assert read(text) == [expected]
    assert read(text, "2026-03-01T12:30:45.123456", "never", text) == [expected, AT, None, expected], "mixed in one column"


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01T00:00:00", "2026-02-30T00:00:00", "2026-03-01", "12:30", "-5", "1e40", "2026-03-01T25:00:00"]
)
def test_what_is_no_time(text: str) -> None:
    assert read(text) == [None]


@pytest.mark.parametrize(
    ("text", "day_first", "month_first"),
    [
        ("03/07/2017 08:55:58 AM", datetime(2017, 7, 3, 8, 55, 58), datetime(2017, 3, 7, 8, 55, 58)),
        ("3/7/2017 8:55", datetime(2017, 7, 3, 8, 55), datetime(2017, 3, 7, 8, 55)),
        ("03/07/2017 12:00:00 AM", datetime(2017, 7, 3, 0), datetime(2017, 3, 7, 0)),
        ("03/07/2017 12:10:00 pm", datetime(2017, 7, 3, 12, 10), datetime(2017, 3, 7, 12, 10)),
        ("03/07/2017 11:59:59.25 PM", datetime(2017, 7, 3, 23, 59, 59, 250_000), datetime(2017, 3, 7, 23, 59, 59, 250_000)),
        ("31/12/2017 23:00", datetime(2017, 12, 31, 23), None),
        ("30/02/2017 23:00", None, None),
        ("29/02/2016 23:00", datetime(2016, 2, 29, 23), None),
        ("03/07/2017 13:00:00 PM", None, None),
        ("03/07/2017 00:00:00 AM", None, None),
    ],
)
def test_dates_with_slashes(text: str, day_first: datetime | None, month_first: datetime | None) -> None:
    def utc(moment: datetime | None) -> list[datetime | None]:
        return [moment.replace(tzinfo=UTC) if moment else None]

    assert read(text, clock=Clock(day_first=True)) == utc(day_first)
    assert read(text, clock=Clock(day_first=False)) == utc(month_first)


def test_who_does_not_say_which_is_the_day_is_asked() -> None:
    with pytest.raises(ConfigError, match=r"'03/07/2017 08:55:58 AM': is the day first, or the month\?"):
        read("03/07/2017 08:55:58 AM")


def test_zones() -> None:
    berlin = Clock("Europe/Berlin")
    assert read("2026-07-01T14:00:00", "2026-01-01T13:00:00", "1772368245", clock=berlin) == [
        datetime(2026, 7, 1, 12, tzinfo=UTC),
        datetime(2026, 1, 1, 12, tzinfo=UTC),
        AT.replace(microsecond=0),
    ]
    assert read("2026-07-01T14:00:00+05:00", clock=berlin) == [datetime(2026, 7, 1, 14, tzinfo=timezone(timedelta(hours=5)))]
    twice, left_out = read("2026-10-25T02:30:00", "2026-03-29T02:30:00", clock=berlin)
    assert twice == datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "the first of both"
    assert left_out == datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "the end of the hour that was left out"
    with pytest.raises(ConfigError, match="no such time zone"):
        Clock("Berlin")
