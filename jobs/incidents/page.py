"""An alert with all that is known of it: its row, its incident, what its label says, what was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.errors import ConfigError, StoreError
from jobs.incidents import ids, people
from jobs.sinks.grants import may_read
from schemas import techniques
from schemas.alerts import TABLE
from schemas.incidents import ACTIONS, INCIDENTS, UNDONE
from schemas.labels import Label, kind_named

COLUMNS = (
    "id::text, timestamp, host(src_ip) AS src_ip, host(dst_ip) AS dst_ip, attack_type, kind, severity, confidence, "
    "flow_count, first_seen, last_seen, action_taken, details, resolved_at, resolved_by, "
    "incident_id::text, domain, sensor_id, model_version, record_type, suppressed_by, created_at, updated_at"
)


def alert(cursor: Any, given: str) -> dict[str, Any]:
    """Row of an alert, by its id or the beginning of one.

    Raises
    ------
    ConfigError
        The id names none, or several.
    """
    cursor.execute(f"SELECT {COLUMNS} FROM {TABLE} WHERE id = %s::uuid", (ids.alert(cursor, given),))
    row = dict(cursor.fetchone())
    return {**row, "kind": kind_named(row["kind"])}


def read(cursor: Any, given: str, labels: Mapping[str, Label]) -> dict[str, Any]:
    """What the page of an alert shows: columns of the row, and ``incident``, ``description``, ``technique``, ``check``, ``history``.

    Parameters
    ----------
    cursor
        In a transaction of :func:`jobs.incidents.people.acting`.
    given
        The alert's id, or its beginning.
    labels
        What the sources say about attack types.

    Returns
    -------
    dict
        ``incident``: id, title, status, priority, assigned_to, or None. ``technique``: id, name, url, or None. ``history``: rows of the
        audit, oldest first; None where this user may not read it.

    Raises
    ------
    ConfigError
        The id names none, or several.
    """
    row = alert(cursor, given)
    label = labels.get(row["attack_type"])
    return {
        **row,
        "description": label.description if label else "",
        "technique": technique(label.technique) if label and label.technique else None,
        "check": label.check if label else "",
        "incident": _incident(cursor, row["incident_id"]),
        "history": people.told(cursor, [f"alert:{row['id']}"]) if may_read(cursor, ACTIONS) else None,
    }


def technique(key: str) -> dict[str, str]:
    """A technique of MITRE ATT&CK: id, name (empty where it is not known), url."""
    return {"id": key, "name": techniques.NAMES.get(key, ""), "url": techniques.url(key)}


def _incident(cursor: Any, key: str | None) -> dict[str, Any] | None:
    if key is None:
        return None
    cursor.execute(f"SELECT id::text, title, status, priority, assigned_to FROM {INCIDENTS} WHERE id = %s::uuid", (key,))
    found = cursor.fetchone()
    return dict(found) if found else None


def resolve(cursor: Any, given: str, by: str, action: str | None = None) -> dict[str, Any]:
    """Mark an alert as resolved; returns id, attack_type, resolved_at and resolved_by.

    Of two who do so at the same time the database lets one go first; the other is told who.

    Parameters
    ----------
    cursor
        In a transaction of :func:`jobs.incidents.people.acting`, so that the audit knows who acts.
    by
        Who resolves it.
    action
        What was done; None leaves what is written there.

    Raises
    ------
    ConfigError
        The id names none, or several; or ``action`` is empty.
    StoreError
        Somebody has resolved it before.
    """
    key = ids.alert(cursor, given)
    done = people.text(action, "--action", people.MAX_NOTE) if action is not None else None
    cursor.execute(
        f"UPDATE {TABLE} SET resolved_at = clock_timestamp(), resolved_by = %s, action_taken = coalesce(%s, action_taken) "
        "WHERE id = %s::uuid AND resolved_at IS NULL RETURNING id::text, attack_type, resolved_at, resolved_by",
        (people.text(by, "--by", people.MAX_NAME), done, key),
    )
    if rows := cursor.fetchall():
        return dict(rows[0])
    cursor.execute(f"SELECT resolved_by, resolved_at FROM {TABLE} WHERE id = %s::uuid", (key,))
    if before := cursor.fetchone():
        when = f"{before['resolved_at']:%Y-%m-%d %H:%M:%S %Z}"
        raise StoreError(
            f"alert {key} was resolved before, by {before['resolved_by'] or 'nobody named'} at {when}",
            f"flowlake alerts show {key[:8]} tells what was done",
        )
    raise ConfigError(f"there is no alert {key}", "it was deleted a moment ago")


def left_open(cursor: Any, alert: str) -> dict[str, Any] | None:
    """The incident of an alert where it is open and none of its alerts is any more: id, title, status."""
    cursor.execute(
        f"SELECT i.id::text, i.title, i.status FROM {INCIDENTS} i JOIN {TABLE} a ON a.incident_id = i.id WHERE a.id = %s::uuid "
        f"AND i.status = ANY(%s) AND NOT EXISTS (SELECT FROM {TABLE} o WHERE o.incident_id = i.id AND o.resolved_at IS NULL "
        "AND o.suppressed_by IS NULL)",
        (alert, list(UNDONE)),
    )
    found = cursor.fetchone()
    return dict(found) if found else None
