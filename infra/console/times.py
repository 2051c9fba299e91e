"""Spans and moments as people write them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from infra.errors import ConfigError, one_line

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: Longer is a slip of the keyboard.
_LONGEST = timedelta(days=3660)


def span(text: str, option: str) -> timedelta:
    """``15m``, ``2h``, ``7d``, ``2w``.

    Raises
    ------
    ConfigError
        It is no span, is nothing, or longer than ten years.
    """
    match = re.fullmatch(r"\+?([0-9]{1,6})([smhdw])", text.strip())
    found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta(0)
    if not timedelta(0) < found <= _LONGEST:
        raise ConfigError(f"{option} {one_line(text, 60)!r} is no span of time", "write 15m, 2h, 7d or 2w; ten years at most")
    return found


def moment(text: str, option: str, now: datetime, zone: tzinfo = UTC) -> datetime:
    """``now``, ``+2h`` from now, or ISO 8601 (in ``zone`` unless it says otherwise), as UTC.

    Raises
    ------
    ConfigError
        It is none of these.
    """
    given = text.strip()
    if given == "now":
        return now
    if given.startswith("+"):
        return now + span(given, option)
    try:
        found = datetime.fromisoformat(given)
        found = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as e:  # of 0001-01-01T00:00+14:00 UTC has no time
        raise ConfigError(f"{option} {one_line(text, 60)!r} is no time", "write now, +2h or 2026-03-01T12:00 (UTC)") from e
    if not 1970 <= found.year < 9999:
        raise ConfigError(f"{option} {one_line(text, 60)!r} is in the year {found.year}", "write now, +2h or 2026-03-01T12:00 (UTC)")
    return found
