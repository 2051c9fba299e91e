"""Rows of the audit about an alert or an incident, in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from infra.errors import one_line
from infra.names import printable
from schemas.incidents import BY_PERSON

#: Change of a column: what it was, and what it is.
Changed = Mapping[str, tuple[Any, Any]]
#: What says nothing to a person, or is said with another column of the same change.
_LEFT_OUT = frozenset({"touched_at", "metadata", "description", "closed_at", "suppressed_at"})
_MADE = {"alert.insert": "raised", "alert.delete": "deleted", "incident.delete": "merged into another"}
_NO_ACTION = (None, "", "none")
_SHORT_ID = 8


def told(action: str, details: Mapping[str, Any]) -> str:
    """What was done, such as ``put into incident 98408a1c, status OPEN -> RESOLVED``.

    Parameters
    ----------
    action
        ``alert.update``, ``incident.insert``, ...
    details
        As the audit has them: column -> what it was and what it is, where it was an update.
    """
    if not action.endswith(".update"):
        return _MADE.get(action) or {"insert": "made", "delete": "deleted"}.get(action.partition(".")[2], action)
    changed = {name: (pair[0], pair[1]) for name, pair in details.items() if isinstance(pair, list) and len(pair) == 2}
    said = [text for name in sorted(changed) if (text := _WORDS.get(name, _any_other)(name, changed))]
    return ", ".join(said) or "touched"


def _any_other(name: str, changed: Changed) -> str:
    was, now = changed[name]
    return "" if name in _LEFT_OUT else f"{name.replace('_', ' ')} {_short(was)} -> {_short(now)}"


def _incident(name: str, changed: Changed) -> str:
    was, now = changed[name]
    if was is None:
        return f"put into incident {_id(now)}"
    return f"moved from incident {_id(was)} to {_id(now)}" if now is not None else f"taken out of incident {_id(was)}"


def _renamed(name: str, changed: Changed) -> str:
    was, now = changed[name]
    return f"its id is {_id(now)}, no longer {_id(was)}"


def _grouped(name: str, changed: Changed) -> str:
    return "by hand: the rule leaves it there" if changed[name][1] == BY_PERSON else "the rule may move it again"


def _assigned(name: str, changed: Changed) -> str:
    was, now = changed[name]
    before = f", no longer to {_short(was)}" if was is not None else ""
    return f"assigned to {'nobody' if now is None else _short(now)}{before}"


def _resolved(name: str, changed: Changed) -> str:
    now = changed[name][1]
    return "no longer resolved" if now is None else f"resolved by {_short(now)}"


def _when_resolved(name: str, changed: Changed) -> str:
    """Who says more than when, which the row itself says."""
    return "" if "resolved_by" in changed else _resolved(name, {name: (None, changed[name][1] and "nobody named")})


def _closed(name: str, changed: Changed) -> str:
    now = changed[name][1]
    return "" if now is None else f"closed by {_short(now)}"


def _action(name: str, changed: Changed) -> str:
    was, now = changed[name]
    if now in _NO_ACTION:
        return f"action taken: none, no longer {_short(was)}"
    return f"action taken: {_short(now)}" + ("" if was in _NO_ACTION else f", before: {_short(was)}")


def _silenced(name: str, changed: Changed) -> str:
    was, now = changed[name]
    return f"silenced by entry {_short(now)}" if now is not None else f"told: entry {_short(was)} silences it no longer"


def _title(name: str, changed: Changed) -> str:
    was, now = changed[name]
    return f"called {_short(now)!r}" + (f", before: {_short(was)!r}" if was else "")


def _told_of(name: str, changed: Changed) -> str:
    return f"told as severity {_short(changed[name][1])}"


_WORDS: dict[str, Callable[[str, Changed], str]] = {
    "incident_id": _incident, "id": _renamed, "grouped_by": _grouped, "assigned_to": _assigned, "resolved_by": _resolved,
    "resolved_at": _when_resolved, "closed_by": _closed, "action_taken": _action, "suppressed_by": _silenced, "title": _title,
    "notified_severity": _told_of,
}  # fmt: skip


def _id(value: Any) -> str:
    return _short(str(value)[:_SHORT_ID])


def _short(value: Any) -> str:
    return "none" if value is None else printable(one_line(str(value), 60))
