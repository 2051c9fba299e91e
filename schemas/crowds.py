"""Many sources or targets of one alert, in words: how many there are, and whether that is an estimate (:mod:`schemas.alerts`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from schemas.alerts import SKETCH_SIZE

Side = Literal["source", "target"]
_COLUMNS: dict[Side, str] = {"source": "src_ip", "target": "dst_ip"}


def several(details: Mapping[str, Any], side: Side) -> str:
    """How many sources or targets an alert's details know; empty: they know none.

    Examples
    --------
    >>> several({"distinct_sources": 39}, "source"), several({"distinct_targets": 2744}, "target"), several({}, "source")
    ('39 sources', 'about 2,744 targets', '')
    """
    count = details.get(f"distinct_{side}s")
    if not isinstance(count, int | float) or isinstance(count, bool) or count < 1:
        return ""
    return f"{'about ' * (count >= SKETCH_SIZE)}{count:,.0f} {side}{'s' * (count != 1)}"


def ends(alert: Mapping[str, Any]) -> str:
    """From whom to whom an alert is; empty where it is about no hosts.

    Parameters
    ----------
    alert
        Its ``src_ip``, ``dst_ip`` and ``details``.
    """
    details = alert["details"]
    found = {side: alert[column] or several(details, side) for side, column in _COLUMNS.items()}
    told = [text or f"many {side}s" for side, text in found.items() if text or not _absent(details, side)]
    return " to ".join(told) if any(found.values()) else ""


def _absent(details: Mapping[str, Any], side: Side) -> bool:
    """Whether the records of an alert have no such side: what it counts there is none, or it is about one record."""
    return details.get(f"distinct_{side}s") == 0 or "flow_id" in details


def column(side: Side) -> str:
    """SQL over the table of alerts: the address, or how many there are; empty where the alert is about no hosts."""
    address, other = (_COLUMNS[side], next(name for key, name in _COLUMNS.items() if key != side))
    count = f"details -> 'distinct_{side}s'"
    known = f"(CASE WHEN jsonb_typeof({count}) = 'number' THEN ({count})::numeric END)"
    return (
        f"CASE WHEN {address} IS NOT NULL THEN host({address}) WHEN {known} = 1 THEN '1 {side}' WHEN {known} > 1 THEN "
        f"CASE WHEN {known} >= {SKETCH_SIZE} THEN 'about ' ELSE '' END || to_char({known}, 'FM999,999,999,999') || ' {side}s' "
        f"WHEN {other} IS NULL OR {known} = 0 OR details -> 'flow_id' IS NOT NULL THEN '' ELSE 'many {side}s' END"
    )
