"""Moments as people write them on a command line. Lengths of time: :mod:`infra.durations`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from infra import durations
from infra.errors import ConfigError, one_line

_AHEAD = "write now, +2h or 2026-03-01T12:00 (UTC)"
_AGO = "write 15m, 2h, 7d, 2w or 2026-03-01T12:00:00"


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
        return now + durations.span(given, option)
    found = _written(given, option, text, zone, _AHEAD)
    if not 1970 <= found.year < 9999:
        raise ConfigError(f"{option} {one_line(text, 60)!r} is in the year {found.year}", _AHEAD)
    return found


def since(text: str | None, option: str = "--since") -> datetime | None:
    """A moment: so long ago as :func:`infra.durations.read` reads it, or ISO 8601 (UTC unless it says otherwise); None of None.

    Raises
    ------
    ConfigError
        It is neither; names ``option``.
    """
    if text is None:
        return None
    given = text.strip()
    ago = None if given.startswith("+") else durations.read(given)  # +2h lies ahead everywhere else
    if ago is None:
        return _written(given, option, text, UTC, _AGO)
    try:
        return datetime.now(UTC) - timedelta(seconds=ago)
    except OverflowError as e:
        raise ConfigError(f"{option} {one_line(text, 60)!r} is no time: it would be before the year 1", _AGO) from e


def _written(given: str, option: str, text: str, zone: tzinfo, hint: str) -> datetime:
    try:
        found = datetime.fromisoformat(given)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as e:  # of 0001-01-01T00:00+14:00 UTC has no time
        raise ConfigError(f"{option} {one_line(text, 60)!r} is no time", hint) from e
