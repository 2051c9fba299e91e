"""Values as people read them, and as programs do: units by the names that Grafana has for them. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from infra.names import visible

#: Characters of a cell at most; the rest is left out, and said to be.
MAX_TEXT = 2000
_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))
_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
_DECIMAL_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_BITS = ((1e12, "Tbit"), (1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit"))
_SPANS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
#: What stands behind a number of a unit.
_BEHIND = {
    "reqps": "/s", "ops": "/s", "pps": " packets/s", "cps": "/s", "cpm": "/min", "rps": "/s", "wps": "/s", "opm": "/min", "rpm": "/min",
    "percent": " %",
}  # fmt: skip


def text(value: Any, unit: str = "") -> str:
    """A value in words: nothing for None, times in UTC, numbers short and in their unit."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, timedelta):
        return number(value.total_seconds(), "s")
    if isinstance(value, int | float | Decimal):
        return number(float(value), unit) if math.isfinite(float(value)) else "–"
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        words = json.dumps(plain(value), ensure_ascii=False)
    else:
        words = str(value)
    words = visible(words)
    return words if len(words) <= MAX_TEXT else f"{words[:MAX_TEXT]}… ({len(words) - MAX_TEXT:,} characters more)"


def number(value: float, unit: str = "") -> str:
    """A number in its unit.

    Examples
    --------
    >>> number(1536, "bytes"), number(0.256, "percentunit"), number(90, "s"), number(12_500), number(0.0042, "s")
    ('1.5 KiB', '25.6 %', '1.5 min', '12.5k', '4.2 ms')
    """
    if unit in ("bytes", "Bps", "binBps"):
        return _scaled(value, _BYTES, "B") + ("" if unit == "bytes" else "/s")
    if unit == "decbytes":
        return _scaled(value, _DECIMAL_BYTES, "B")
    if unit in ("bps", "binbps"):
        return _scaled(value, _BITS, "bit") + "/s"
    if unit == "percentunit":
        return f"{100 * value:.3g} %" if abs(value) < 1 else f"{100 * value:.4g} %"
    if unit == "ms":
        return _span(value / 1000)
    if unit in ("s", "dtdurations"):
        return _span(value)
    if unit.startswith("dateTime"):
        return text(datetime.fromtimestamp(value / 1000, UTC))
    return _short(value) + _BEHIND.get(unit, "")


def plain(value: Any) -> Any:
    """A value for JSON: times as ISO 8601 in UTC, exact numbers as numbers, whatever JSON has no form for as text or null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(float(value)) else None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return str(value)


def sortable(value: Any) -> str:
    """What a column is sorted by, as text: numbers and times as numbers."""
    if isinstance(value, datetime):
        return repr(value.timestamp())
    if isinstance(value, timedelta):
        return repr(value.total_seconds())
    if isinstance(value, bool | int | float | Decimal):
        return repr(float(value))
    return text(value)[:200]


def _short(value: float) -> str:
    for limit, sign in _SCALES:
        if abs(value) >= limit:
            scaled = value / (1e3 if sign == "k" else limit)
            return f"{scaled:.3g}{sign}" if abs(scaled) < 1000 else f"{scaled:,.0f}{sign}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _scaled(value: float, scale: Sequence[tuple[float, str]], least: str) -> str:
    for limit, sign in scale:
        if abs(value) >= limit:
            return f"{value / limit:.3g} {sign}" if abs(value / limit) < 1000 else f"{value / limit:,.0f} {sign}"
    return f"{value:,.3g} {least}" if value < 1000 else f"{value:,.0f} {least}"


def _span(seconds: float) -> str:
    size = abs(seconds)
    if 0 < size < 1:
        return f"{seconds * 1e6:.3g} µs" if size < 1e-3 else f"{seconds * 1e3:.3g} ms"
    for limit, sign in _SPANS:
        if size >= limit:
            return f"{seconds / limit:.3g} {sign}" if size / limit < 1000 else f"{seconds / limit:,.0f} {sign}"
    return "0 s"
