"""Incidents and what people do about them: tables beside ``alerts``, in the same database.

An incident is a story of alerts (:mod:`jobs.incidents.stories`). ``user_actions`` is the audit: append-only and hash-chained by the
database itself (:mod:`jobs.incidents.guards`), whoever writes.
"""

from __future__ import annotations

from typing import Literal, get_args

INCIDENTS = "incidents"
#: Ids that incidents once had: before an earlier alert was found, or before they were merged.
ALIASES = "incident_aliases"
NOTES = "incident_notes"
ACTIONS = "user_actions"
#: Number and hash of the newest row of the audit.
AUDIT_HEAD = "user_actions_head"

Status = Literal["OPEN", "INVESTIGATING", "RESOLVED", "FALSE_POSITIVE"]
STATUSES: tuple[str, ...] = get_args(Status)
#: Somebody still has to see to it.
UNDONE: tuple[str, ...] = ("OPEN", "INVESTIGATING")
Priority = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
PRIORITIES: tuple[str, ...] = get_args(Priority)
#: Who put an alert into its incident: the rule, or a person, whom the rule does not contradict.
BY_RULE, BY_PERSON = "rule", "person"


def priority(severity: int, stages: int = 1) -> Priority:
    """Priority of an incident.

    Parameters
    ----------
    severity
        The highest of its alerts, 1 (low) .. 5 (critical).
    stages
        Stages of an attack that it shows (:data:`schemas.labels.STAGES`): from two on it is one degree more urgent. Single flows of what
        is only an attack when it is repeated (:func:`schemas.alerts.severity`) show none.
    """
    degree = {1: 0, 2: 0, 3: 1, 4: 2, 5: 3}[min(5, max(1, severity))]
    found: Priority = get_args(Priority)[min(3, degree + (stages > 1))]
    return found


def _words(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


#: Order of incidents ``i``: those first that want somebody, by priority, then the newest.
MOST_URGENT_FIRST = (
    f"i.status NOT IN ({_words(UNDONE)}), array_position(ARRAY[{_words(PRIORITIES)}], i.priority) DESC, i.last_seen DESC, i.id"
)
#: Statements of the version of the alerts' tables that brought incidents (:data:`schemas.alerts.MIGRATIONS`).
STATEMENTS: tuple[str, ...] = (
    f"CREATE TABLE IF NOT EXISTS {INCIDENTS} (id uuid PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
    "title text NOT NULL, description text NOT NULL DEFAULT '', "
    f"status text NOT NULL DEFAULT 'OPEN' CHECK (status IN ({_words(STATUSES)})), "
    f"assigned_to text, priority text NOT NULL DEFAULT 'LOW' CHECK (priority IN ({_words(PRIORITIES)})), "
    "metadata jsonb NOT NULL DEFAULT '{}', first_seen timestamptz NOT NULL, last_seen timestamptz NOT NULL, "
    # touched_at: when a person first acted on it; from then on its id and what it consists of are that person's.
    "touched_at timestamptz, closed_at timestamptz, closed_by text, updated_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    f"CREATE INDEX IF NOT EXISTS {INCIDENTS}_undone ON {INCIDENTS} (last_seen DESC) WHERE status IN ({_words(UNDONE)})",
    f"CREATE INDEX IF NOT EXISTS {INCIDENTS}_time ON {INCIDENTS} (last_seen DESC)",
    f"CREATE TABLE IF NOT EXISTS {ALIASES} (alias uuid PRIMARY KEY, "
    f"incident_id uuid NOT NULL REFERENCES {INCIDENTS} ON UPDATE CASCADE ON DELETE CASCADE)",
    f"CREATE TABLE IF NOT EXISTS {NOTES} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    f"incident_id uuid NOT NULL REFERENCES {INCIDENTS} ON UPDATE CASCADE ON DELETE CASCADE, "
    "at timestamptz NOT NULL DEFAULT clock_timestamp(), author text NOT NULL, note text NOT NULL)",
    f"CREATE INDEX IF NOT EXISTS {NOTES}_incident ON {NOTES} (incident_id, id)",
    f"CREATE TABLE IF NOT EXISTS {ACTIONS} (id bigint PRIMARY KEY, timestamp timestamptz NOT NULL, user_id text NOT NULL, "
    "action text NOT NULL, target text NOT NULL, details jsonb NOT NULL DEFAULT '{}', db_user text NOT NULL, "
    "previous bytea NOT NULL, hash bytea NOT NULL)",
    f"CREATE INDEX IF NOT EXISTS {ACTIONS}_target ON {ACTIONS} (target, id)",
    f"CREATE INDEX IF NOT EXISTS {ACTIONS}_time ON {ACTIONS} (timestamp DESC)",
    f"CREATE TABLE IF NOT EXISTS {AUDIT_HEAD} (one boolean PRIMARY KEY DEFAULT true CHECK (one), id bigint NOT NULL, hash bytea NOT NULL)",
    f"INSERT INTO {AUDIT_HEAD} (id, hash) VALUES (0, '') ON CONFLICT DO NOTHING",
)


def of_alerts(table: str) -> tuple[str, ...]:
    """What the table of the alerts gets for it."""
    return (
        f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS grouped_by text NOT NULL DEFAULT '{BY_RULE}'",
        # Whoever filled the column by hand keeps what he wrote.
        f"INSERT INTO {INCIDENTS} (id, title, first_seen, last_seen) SELECT incident_id, 'Incident from before', min(first_seen), "
        f"max(last_seen) FROM {table} WHERE incident_id IS NOT NULL GROUP BY 1 ON CONFLICT DO NOTHING",
        f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_incident",
        f"ALTER TABLE {table} ADD CONSTRAINT {table}_incident FOREIGN KEY (incident_id) REFERENCES {INCIDENTS} "
        "ON UPDATE CASCADE ON DELETE SET NULL",
        f"CREATE INDEX IF NOT EXISTS {table}_incident ON {table} (incident_id)",
        f"CREATE INDEX IF NOT EXISTS {table}_last ON {table} (last_seen)",
        f"CREATE INDEX IF NOT EXISTS {table}_sources ON {table} USING gin ((details -> 'sources'))",
        f"CREATE INDEX IF NOT EXISTS {table}_targets ON {table} USING gin ((details -> 'targets'))",
    )
