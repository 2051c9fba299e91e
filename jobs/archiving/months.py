"""Calendar months, by UTC: the pieces in which rows leave the hot store."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from infra.errors import ConfigError

Month = date  # its first day
_FORM = re.compile(r"(\d{4})-(\d{2})")


def parse(text: str, option: str) -> Month:
    """``YYYY-MM`` as a month.

    Parameters
    ----------
    text
        As it was given.
    option
        Where: named in the error.

    Raises
    ------
    ConfigError
        It is no month of the years 1 to 9999.
    """
    found = _FORM.fullmatch(text)
    try:
        return date(int(found[1]), int(found[2]), 1) if found else _refuse(text, option)
    except ValueError:
        return _refuse(text, option)


def _refuse(text: str, option: str) -> Month:
    raise ConfigError(f"{option} {text!r} is no month", "write it as YYYY-MM, such as 2026-03")


def text(month: Month) -> str:
    """``YYYY-MM``."""
    return f"{month.year:04}-{month.month:02}"


def of(when: datetime) -> Month:
    """The month of an instant."""
    return when.astimezone(UTC).date().replace(day=1)


def following(month: Month) -> Month:
    """The month after; the last of year 9999 has none and is its own."""
    if (month.year, month.month) == (9999, 12):
        return month
    return (month + timedelta(days=31)).replace(day=1)


def bounds(month: Month) -> tuple[str, str]:
    """Its first instant and the first after it, as PostgreSQL reads them (Python's times end with year 9999)."""
    start = f"{month.isoformat()} 00:00:00+00"
    if (month.year, month.month) == (9999, 12):
        return start, "10000-01-01 00:00:00+00"
    return start, f"{following(month).isoformat()} 00:00:00+00"


def ended_before(now: datetime, after_days: int) -> Month:
    """The first month that may not be archived yet: its last row is not ``after_days`` old, or it is the current one."""
    try:
        oldest = now - timedelta(days=after_days)
    except OverflowError:
        return date.min
    return min(of(oldest), of(now))
