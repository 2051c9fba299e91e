"""Durations as people write them."""

from __future__ import annotations

import re

from infra.errors import ConfigError, one_line

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WRITTEN = re.compile(r"(?:[0-9]{1,9}[smhdw])+")


def seconds(text: str, option: str) -> float:
    """Seconds of ``90s``, ``15m``, ``2h``, ``1h30m``, ``7d`` or ``2w``.

    Raises
    ------
    ConfigError
        It is none of these, or nothing long; names ``option``.

    Examples
    --------
    >>> seconds("1h30m", "--for")
    5400.0
    """
    given = text.strip().lower()
    found = sum(int(part[:-1]) * _SECONDS[part[-1]] for part in re.findall(r"[0-9]+[smhdw]", given)) if _WRITTEN.fullmatch(given) else 0
    if found <= 0:
        raise ConfigError(f"{option} {one_line(text, 40)!r} is no duration", "write 90s, 15m, 2h, 1h30m or 7d")
    return float(found)


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
