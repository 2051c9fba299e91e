"""Moments as whole numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from infra.times import EPOCH, micros


@pytest.mark.parametrize("year", [1, 1969, 1970, 2026, 9999])
def test_every_microsecond_of_every_year_is_one_number(year: int) -> None:
    moment = datetime(year, 12, 31, 23, 59, 59, 999_999, UTC)
    assert EPOCH + timedelta(microseconds=micros(moment)) == moment
    assert micros(moment) - micros(moment - timedelta(microseconds=1)) == 1


def test_a_moment_is_the_same_in_every_zone() -> None:
    there = datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert micros(there) == micros(datetime(2026, 3, 1, 12, tzinfo=UTC))
