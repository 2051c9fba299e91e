"""What is known and need not be told: entries of the whitelist and maintenance windows, a table beside ``alerts``.

An entry is never deleted: who silenced what, and until when, matters later. The condition that it states is evaluated in the database
alone (:mod:`jobs.suppression.conditions`).
"""

from __future__ import annotations

from typing import Literal, get_args

TABLE = "suppressions"

#: A whitelist entry holds from when it is made, by the clock; a maintenance window is a span of event time.
Sort = Literal["whitelist", "maintenance"]
SORTS: tuple[str, ...] = get_args(Sort)
#: Which side of an alert the network is.
Direction = Literal["source", "target", "either"]
DIRECTIONS: tuple[str, ...] = get_args(Direction)
#: How often a maintenance window comes again, by the wall clock of its time zone.
Repeat = Literal["", "day", "week"]
REPEATS: tuple[str, ...] = get_args(Repeat)
#: Columns that state the condition of an entry.
CONDITIONS: tuple[str, ...] = ("network", "direction", "kind", "attack_type", "port_low", "port_high", "sensor_id", "domain")


def _words(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


#: Statements of the version of the alerts' tables that brought it (:data:`schemas.alerts.MIGRATIONS`).
STATEMENTS: tuple[str, ...] = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    f"sort text NOT NULL CHECK (sort IN ({_words(SORTS)})), "
    f"network cidr, direction text NOT NULL DEFAULT 'either' CHECK (direction IN ({_words(DIRECTIONS)})), "
    "kind text, attack_type text, port_low integer CHECK (port_low BETWEEN 0 AND 65535), "
    "port_high integer CHECK (port_high BETWEEN port_low AND 65535), sensor_id text, domain text, "
    "starts_at timestamptz NOT NULL DEFAULT clock_timestamp(), ends_at timestamptz CHECK (ends_at > starts_at), "
    f"repeats text NOT NULL DEFAULT '' CHECK (repeats IN ({_words(REPEATS)})), repeats_until timestamptz, "
    # A zone that the server does not know is refused here: asked for later, it would stop whoever asks.
    "timezone text NOT NULL DEFAULT 'UTC' CHECK ((timestamptz 'epoch' AT TIME ZONE timezone) IS NOT NULL), "
    "reason text NOT NULL CHECK (reason <> ''), created_by text NOT NULL CHECK (created_by <> ''), "
    "created_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
    # ended_at: when somebody ended it before its time; withdrawn: what it had silenced was told after all.
    "ended_at timestamptz, ended_by text, end_reason text, withdrawn boolean NOT NULL DEFAULT false, "
    "hits bigint NOT NULL DEFAULT 0, last_hit timestamptz, updated_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
    "CHECK (sort = 'whitelist' OR ends_at IS NOT NULL), CHECK ((port_low IS NULL) = (port_high IS NULL)))",
    f"CREATE INDEX IF NOT EXISTS {TABLE}_standing ON {TABLE} (id) WHERE NOT withdrawn AND (ended_at IS NULL OR sort = 'maintenance')",
)


def of_alerts(table: str) -> tuple[str, ...]:
    """What the table of the alerts gets for it."""
    return (
        f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS suppressed_by bigint",
        f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS suppressed_at timestamptz",
        f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_suppressed",
        f"ALTER TABLE {table} ADD CONSTRAINT {table}_suppressed FOREIGN KEY (suppressed_by) REFERENCES {TABLE}",
        f"CREATE INDEX IF NOT EXISTS {table}_suppressed ON {table} (suppressed_by) WHERE suppressed_by IS NOT NULL",
    )
