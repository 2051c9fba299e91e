"""Lengths of time as people write them: the one reading for options and addresses of pages."""

from __future__ import annotations

import re
from datetime import timedelta

from infra.errors import ConfigError, one_line

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"([0-9]{1,9})(min|[smhdw])")
_WRITTEN = re.compile(rf"\+?(?:{_PART.pattern})+")
#: Longer is a slip of the keyboard.
LONGEST = timedelta(days=3660)
_HINT = "write 90s, 15m (or 15min), 2h, 1h30m, 7d or 2w"


def read(text: str) -> float | None:
    """Seconds of ``90s``, ``15m``, ``15min``, ``2h``, ``1h30m``, ``7d`` or ``2w``; None: it is none of these.

    Small and capital letters are the same, and a ``+`` before it changes nothing.

    Examples
    --------
    >>> read("1h30m"), read("2 fortnights")
    (5400.0, None)
    """
    given = text.strip().lower()
    if not _WRITTEN.fullmatch(given):
        return None
    return float(sum(int(number) * _SECONDS[unit[0]] for number, unit in _PART.findall(given)))


def seconds(text: str, option: str) -> float:
    """Seconds of a length of time (:func:`read`); how long it may be is for the caller to say.

    Raises
    ------
    ConfigError
        It is none, or nothing long; names ``option``.

    Examples
    --------
    >>> seconds("1h30m", "--for")
    5400.0
    """
    found = read(text) or 0.0
    if found <= 0:
        raise ConfigError(f"{option} {one_line(text, 60)!r} is no length of time", _HINT)
    return found


def span(text: str, option: str) -> timedelta:
    """The same as a difference of times.

    Raises
    ------
    ConfigError
        It is none, nothing long, or longer than ten years; names ``option``.
    """
    found = seconds(text, option)
    if found > LONGEST.total_seconds():
        raise ConfigError(f"{option} {one_line(text, 60)!r} is longer than ten years", _HINT)
    return timedelta(seconds=found)


def words(given: float) -> str:
    """The same in two units at most.

    >>> words(5400)
    '1h30m'
    """
    left, parts = max(0, round(given)), list[str]()
    for unit, size in sorted(_SECONDS.items(), key=lambda item: -item[1]):
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join(parts) or "0s"
