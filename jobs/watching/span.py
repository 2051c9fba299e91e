"""Spans of event time, as commands name them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from infra.console import times
from infra.errors import ConfigError

HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class EventSpan:
    """From a moment up to another, which is not in it; UTC."""

    first: datetime
    until: datetime

    def __str__(self) -> str:
        return f"{self.first:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"

    @property
    def days(self) -> tuple[date, date]:
        """First and last UTC day that it touches."""
        return self.first.date(), (self.until - timedelta(microseconds=1)).date()

    @property
    def hours(self) -> range:
        """Its hours, since 1970."""
        first, until = ((moment - _EPOCH) // timedelta(microseconds=1) for moment in (self.first, self.until))
        return range(first // HOUR_US, -(-until // HOUR_US))


def whole_hours(span: EventSpan) -> EventSpan:
    """The span widened to whole hours."""
    hours = span.hours
    return EventSpan(*(_EPOCH + timedelta(hours=hour) for hour in (hours.start, hours.stop)))


def between(first: str | None, until: str | None, default: EventSpan, names: tuple[str, str] = ("--from", "--to")) -> EventSpan:
    """The span of two options: ISO 8601 (a day is its beginning), or so long ago (``7d``); what is not given, is the default's.

    Raises
    ------
    ConfigError
        One is no time, or they are in the wrong order.
    """
    begin, end = times.since(first, names[0]) or default.first, times.since(until, names[1]) or default.until
    for name, moment in zip(names, (begin, end), strict=True):
        if not _EPOCH <= moment <= _LAST:
            raise ConfigError(f"{name} {moment:%Y-%m-%d} is not between 1970 and 9999", "name a time of which there may be rows")
    if begin >= end:
        raise ConfigError(
            f"{names[0]} {begin:%Y-%m-%dT%H:%M} is not before {names[1]} {end:%Y-%m-%dT%H:%M}",
            "a day means its beginning: one day is --from 2026-03-01 --to 2026-03-02",
        )
    return EventSpan(begin, end)
