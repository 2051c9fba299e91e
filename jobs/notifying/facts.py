"""How incidents, alerts and conditions of the platform stand now, as far as notifications tell of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from jobs.notifying.notice import MAX_NAMES, names
from schemas.alerts import TABLE
from schemas.incidents import ALIASES, INCIDENTS, NOTES, PRIORITIES, UNDONE, priority
from schemas.notifications import ALERT, CONDITION, CONDITIONS, INCIDENT

#: Column of the alerts that says by what one is suppressed; a database may have none.
SUPPRESSED = "suppressed_by"


@dataclass(frozen=True)
class Facts:
    """One incident, alert or condition; ``quiet``: nobody wants to be told of it, all of its alerts are suppressed."""

    subject: str
    id: str
    level: int
    severity: int
    status: str
    title: str
    description: str
    kinds: tuple[str, ...]
    first_seen: datetime
    last_seen: datetime
    alerts: int = 1
    flows: int = 0
    stages: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    assigned_to: str = ""
    closed_by: str = ""
    note: str = ""
    quiet: bool = False

    @property
    def done(self) -> bool:
        """Somebody has closed it."""
        return self.status not in UNDONE


def incidents(cursor: Any, ids: Collection[str]) -> dict[str, Facts]:
    """Those of some incidents that are there, by id."""
    cursor.execute(
        f"SELECT i.id::text, i.priority, i.status, i.title, i.description, i.metadata, i.first_seen, i.last_seen, "
        "coalesce(i.assigned_to, ''), coalesce(i.closed_by, ''), a.severity, a.alerts, a.quiet, "
        f"CASE WHEN i.closed_at IS NULL THEN '' ELSE coalesce((SELECT n.note FROM {NOTES} n WHERE n.incident_id = i.id "
        "ORDER BY n.id DESC LIMIT 1), '') END "
        f"FROM {INCIDENTS} i CROSS JOIN LATERAL (SELECT coalesce(max(severity), 0) AS severity, count(*) AS alerts, "
        f"count(*) > 0 AND coalesce(bool_and({_suppressed(cursor)}), false) AS quiet FROM {TABLE} WHERE incident_id = i.id) a "
        "WHERE i.id = ANY(%s::uuid[])",
        (list(ids),),
    )
    found = {}
    for key, degree, status, title, text, about, first, last, who, closed, severity, alerts, quiet, note in cursor.fetchall():
        about = about if isinstance(about, dict) else {}  # whoever writes by psql may write anything
        found[key] = Facts(
            INCIDENT, key, PRIORITIES.index(degree), severity, status, title, text, names(about.get("attack_types")), first, last,
            alerts, _count(about.get("flows")), names(about.get("stages")), names(about.get("techniques")), names(about.get("sources")),
            names(about.get("targets")), who, closed, note, quiet,
        )  # fmt: skip
    return found


def alerts(cursor: Any, ids: Collection[str]) -> dict[str, Facts]:
    """Those of some alerts that are there and in no incident, by id."""
    cursor.execute(
        "SELECT id::text, attack_type, severity, resolved_at IS NOT NULL, coalesce(resolved_by, ''), first_seen, last_seen, "
        f"flow_count, host(src_ip), host(dst_ip), details -> 'sources', details -> 'targets', coalesce({_suppressed(cursor)}, false) "
        f"FROM {TABLE} WHERE id = ANY(%s::uuid[]) AND incident_id IS NULL",
        (list(ids),),
    )
    found = {}
    for key, kind, severity, done, by, first, last, flows, source, target, sources, targets, quiet in cursor.fetchall():
        of = Facts(
            ALERT, key, PRIORITIES.index(priority(severity)), severity, "RESOLVED" if done else "OPEN", kind, "", (kind,), first, last,
            1, flows, (), (), (names(sources) or _one(source))[:MAX_NAMES], (names(targets) or _one(target))[:MAX_NAMES],
            "", by, "", quiet,
        )  # fmt: skip
        found[key] = replace(of, title=f"{kind}: {_some(of.sources)} -> {_some(of.targets)}")
    return found


def conditions(cursor: Any, ids: Collection[str]) -> dict[str, Facts]:
    """Those of some conditions of the platform that are there, by id. They have no severity: that is of attacks."""
    cursor.execute(
        f"SELECT id::text, level, over_at IS NOT NULL, title, description, kind, first_seen, last_seen FROM {CONDITIONS} "
        "WHERE id = ANY(%s::uuid[])",
        (list(ids),),
    )
    return {
        # Where it comes from is no source: those are attackers, whom a receiver may block.
        key: Facts(CONDITION, key, level, 0, "RESOLVED" if over else "OPEN", title, text, (kind,), first, last, alerts=0)
        for key, level, over, title, text, kind, first, last in cursor.fetchall()
    }


def heirs(cursor: Any, ids: Collection[str]) -> dict[str, str]:
    """Of incidents that are no more, those that they were merged into."""
    cursor.execute(f"SELECT alias::text, incident_id::text FROM {ALIASES} WHERE alias = ANY(%s::uuid[])", (list(ids),))
    return dict(cursor.fetchall())


def _suppressed(cursor: Any) -> str:
    """Condition on an alert: it is suppressed."""
    cursor.execute("SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped", (TABLE, SUPPRESSED))
    return f"{SUPPRESSED} IS NOT NULL" if cursor.fetchone() else "false"


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _one(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()


def _some(values: tuple[str, ...]) -> str:
    return ", ".join(values[:3]) + (f" and {len(values) - 3} more" if len(values) > 3 else "") if values else "unknown"
