"""The occurrence that is, or the next: by the wall clock, whatever is done to clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.suppression.occurrences import current_or_next


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


#: Sundays from 22:00 to 02:00 in Zurich, from 1 March 2026 on; clocks are put forward on 29 March.
WEEKLY: dict[str, Any] = {
    "starts_at": at("2026-03-01T21:00"), "ends_at": at("2026-03-02T01:00"), "repeats": "week", "repeats_until": None, "ended_at": None,
    "timezone": "Europe/Zurich",
}  # fmt: skip


@pytest.mark.parametrize(
    ("now", "starts", "ends"),
    [
        ("2026-02-01T00:00", "2026-03-01T21:00", "2026-03-02T01:00"),
        ("2026-03-01T23:00", "2026-03-01T21:00", "2026-03-02T01:00"),
        ("2026-03-02T01:00", "2026-03-08T21:00", "2026-03-09T01:00"),
        ("2026-03-25T12:00", "2026-03-29T20:00", "2026-03-30T00:00"),
        ("2026-06-10T12:00", "2026-06-14T20:00", "2026-06-15T00:00"),
        ("2026-12-30T12:00", "2027-01-03T21:00", "2027-01-04T01:00"),
    ],
)
def test_weekly(now: str, starts: str, ends: str) -> None:
    assert current_or_next(WEEKLY, at(now)) == (at(starts), at(ends))


def test_after_the_last_it_is_the_last() -> None:
    until = {**WEEKLY, "repeats_until": at("2026-03-15T21:00")}
    last = (at("2026-03-08T21:00"), at("2026-03-09T01:00"))
    assert current_or_next(until, at("2026-03-09T12:00")) == last == current_or_next(until, at("2027-01-01T00:00"))
    assert current_or_next({**WEEKLY, "ended_at": at("2026-03-01T22:00")}, at("2027-01-01T00:00"))[0] == WEEKLY["starts_at"]


def test_what_does_not_repeat_is_what_it_is() -> None:
    once = {**WEEKLY, "repeats": ""}
    assert current_or_next(once, at("2027-01-01T00:00")) == (once["starts_at"], once["ends_at"])
    assert current_or_next({**once, "ends_at": None}, at("2027-01-01T00:00")) == (once["starts_at"], None)
    assert current_or_next({**WEEKLY, "timezone": "Mars/Olympus"}, at("2027-01-01T00:00")) == (once["starts_at"], once["ends_at"])


@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    hours=st.integers(0, 23), lasts=st.integers(1, 24), repeats=st.sampled_from(["day", "week"]),
    zone=st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)  # fmt: skip
def test_it_is_not_over_and_keeps_its_hour(now: datetime, hours: int, lasts: int, repeats: str, zone: str) -> None:
    begins = datetime(2026, 2, 1, hours, 30, tzinfo=ZoneInfo(zone))
    entry = {**WEEKLY, "starts_at": begins.astimezone(UTC), "ends_at": begins.astimezone(UTC) + timedelta(hours=lasts),
             "repeats": repeats, "timezone": zone}  # fmt: skip
    starts, ends = current_or_next(entry, now)
    assert ends is not None
    assert ends > now
    assert starts >= entry["starts_at"]
    shift = starts.astimezone(ZoneInfo(zone)).replace(tzinfo=None) - begins.replace(tzinfo=None)
    # an hour that a change of clocks leaves out is the one behind it
    assert shift % timedelta(days=7 if repeats == "week" else 1) in (timedelta(), timedelta(hours=1), timedelta(minutes=30))
