"""When a maintenance window that comes again comes next: by the wall clock of its time zone, as the condition in SQL has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_PERIODS = {"day": timedelta(days=1), "week": timedelta(days=7)}


def current_or_next(entry: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime | None]:
    """Begin and end of the occurrence that is, or else of the one to come; of an entry that does not repeat, its own.

    Where none comes any more, those of the last one.

    Parameters
    ----------
    entry
        Columns starts_at, ends_at, repeats, repeats_until, ended_at and timezone.
    now
        With a time zone.
    """
    starts, ends = entry["starts_at"], entry["ends_at"]
    period, zone = _PERIODS.get(entry["repeats"]), _zone(entry["timezone"])
    if period is None or zone is None:
        return starts, ends
    first, lasts = _wall(starts, zone), _wall(ends, zone) - _wall(starts, zone)
    stops = min((moment for moment in (entry["repeats_until"], entry["ended_at"]) if moment is not None), default=None)
    number = max(0, (_wall(now, zone) - first - lasts) // period)
    # The clock of the wall may go back: what seems over by it is compared as the moment that it is.
    while _moment(first + number * period + lasts, zone) <= now:
        number += 1
    if stops is not None:
        number = min(number, max(0, -((first - _wall(stops, zone)) // period) - 1))
    begins = first + number * period
    return _moment(begins, zone), _moment(begins + lasts, zone)


def _zone(name: str) -> ZoneInfo | None:
    """None: the database knows zones that Python does not, and whoever writes by psql may name them."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return None


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _moment(wall: datetime, zone: ZoneInfo) -> datetime:
    return wall.replace(tzinfo=zone).astimezone(UTC)
