"""Why an alert, in words: one line a feature, from ``details.why`` (:mod:`schemas.alerts`). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.features import ALL_FEATURES
from schemas.windowrecords import WINDOW_TYPES
from schemas.windows import WINDOW_FEATURES

#: Features that have a title and a unit, by record type.
_DESCRIBED: dict[str, dict[str, tuple[str, str]]] = {
    "flows": {feature.name: (feature.cic, feature.unit) for feature in ALL_FEATURES},
    **{name: {feature.name: (feature.name.replace("_", " "), feature.unit) for feature in WINDOW_FEATURES} for name in WINDOW_TYPES},
}

_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_SPANS = ((86_400e6, "d"), (3_600e6, "h"), (60e6, "min"), (1e6, "s"), (1e3, "ms"))


@dataclass(frozen=True)
class Reason:
    """A feature that moved a score: by how much, and in words. ``unusual``: it moved none, but a detector of unknown attacks."""

    share: float
    text: str
    unusual: bool = False


def reasons(why: Any, record_type: str) -> list[Reason]:
    """Features of a ``details.why``: unusual ones, then those that did most; nothing where there are none.

    What else was written there is told as is.
    """
    features = why.get("features") if isinstance(why, Mapping) else None
    if not isinstance(features, list):
        return []
    found = [
        Reason(_share(one.get("contribution")), _told(one, record_type), one.get("contribution") == 0)
        for one in features
        if isinstance(one, Mapping)
    ]
    return sorted(found, key=lambda reason: (not reason.unusual, -abs(reason.share)))


def _told(entry: Mapping[str, Any], record_type: str) -> str:
    try:
        return feature_line(entry, record_type)
    except (KeyError, TypeError, ValueError, OverflowError):
        return f"{entry.get('feature')} = {entry.get('value')}"


def _share(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def feature_line(entry: Mapping[str, Any], record_type: str = "flows") -> str:
    """An entry of ``why.features`` as a person reads it: ``SYN Flag Count 3 packets, usually 0 to 2 packets, median 1 packets``.

    Parameters
    ----------
    entry
        ``feature``, ``value`` (null: not defined), ``usual`` and ``median`` (null: not known).
    record_type
        Of the alert; features of types that are not described have neither title nor unit.
    """
    name = entry["feature"]
    title, unit = _DESCRIBED.get(record_type, {}).get(name) or (str(name).replace("_", " "), "")
    value = "undefined" if entry["value"] is None else quantity(entry["value"], unit)
    return f"{title} {value}{_usual(entry.get('usual'), entry.get('median'), unit)}"


def quantity(value: float, unit: str) -> str:
    """A value with its unit, to three digits or four: ``1.5 s`` of 1,500,000 us, ``12 kB`` of 12,000 B."""
    if unit == "us":
        for size, name in _SPANS:
            if abs(value) >= size:
                return f"{_digits(value / size)} {name}"
        return f"{_digits(value)} us"
    if unit in ("B", "B/s"):
        for size, prefix in _STEPS:
            if abs(value) >= size:
                return f"{_digits(value / size)} {prefix}{unit}"
    return f"{_digits(value)} {unit}" if unit not in ("", "ratio", "raw 16 bit") else _digits(value)


def _usual(ends: Any, median: Any, unit: str) -> str:
    if ends is None:
        return ""
    low, high = (quantity(end, unit) for end in ends)
    if low == high:
        return f", usually {low}"
    number, _, same = low.partition(" ")
    short = number if number == "0" or high.endswith(f" {same}") else low  # one unit for both is enough
    middle = "" if median is None else f", median {quantity(median, unit)}"
    return f", usually {short} to {high}{middle}"


def _digits(value: float) -> str:
    """No more digits than say something, and no exponent where a person would not write one."""
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
