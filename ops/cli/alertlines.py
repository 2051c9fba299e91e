"""Alerts at a terminal: one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.console import looks
from jobs.incidents.hosts import SideHosts, between
from ops.cli import lines


def ends(alert: Mapping[str, Any]) -> str:
    """Who did it to whom: ``192.0.2.1 -> 29 hosts``; nothing where the alert is about no hosts."""
    return between(SideHosts.of_alert(alert, "source"), SideHosts.of_alert(alert, "target"), {})


def in_lines(rows: Sequence[Mapping[str, Any]], width: int, moment: str = "timestamp") -> list[dict[str, Any]]:
    """Alerts, one line each, with the beginning of the id; where the terminal is narrow, without what says least.

    Parameters
    ----------
    rows
        At least columns id, severity, attack_type, src_ip, dst_ip, details, flow_count, confidence, resolved_by and ``moment``.
    width
        Columns of the terminal.
    moment
        Column of the time that is shown.
    """
    told = lines.differing([{"suppressed_by": None, **row} for row in rows], {"resolved_by": None, "suppressed_by": None})
    found = [
        {
            "id": row["id"][:8],
            moment: lines.minute(row[moment]),
            "sev": row["severity"],
            "attack_type": looks.word(row["attack_type"], 24),
            "flows": row["flow_count"],
            "conf": f"{row['confidence']:.2f}",
            **{name: "" if row[name] is None else looks.word(row[name], 16) for name in told},
        }
        for row in rows
    ]
    return lines.in_lines(found, [ends(row) for row in rows], width, "who", ("flows", "conf"))
