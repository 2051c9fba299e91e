"""Assets: hosts and networks by name, and how much each matters; a table beside ``alerts``.

Of several that hold an address the longest prefix counts.
A removed asset stays, with who removed it. ``assets_version`` grows with every statement that changes the list, by whatever way: by it
the stream sees whether it has to read the list again.
"""

from __future__ import annotations

from typing import Literal, get_args

TABLE = "assets"
VERSION = "assets_version"

Importance = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
#: From 1 on.
IMPORTANCES: tuple[str, ...] = get_args(Importance)
#: Importance of a host that no asset names: it changes no severity.
UNKNOWN = 2

#: Statements of the version of the alerts' tables that brought them (:data:`schemas.alerts.MIGRATIONS`).
STATEMENTS: tuple[str, ...] = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, network cidr NOT NULL, "
    "name text NOT NULL CHECK (name <> ''), importance smallint NOT NULL CHECK (importance BETWEEN 1 AND 4), "
    "owner text NOT NULL DEFAULT '', notes text NOT NULL DEFAULT '', "
    "changed_by text NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
    "removed_at timestamptz, removed_by text, updated_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    f"CREATE UNIQUE INDEX IF NOT EXISTS {TABLE}_network ON {TABLE} (network) WHERE removed_at IS NULL",
    f"CREATE INDEX IF NOT EXISTS {TABLE}_within ON {TABLE} USING gist (network inet_ops) WHERE removed_at IS NULL",
    f"CREATE TABLE IF NOT EXISTS {VERSION} (one boolean PRIMARY KEY DEFAULT true CHECK (one), version bigint NOT NULL)",
    f"INSERT INTO {VERSION} (version) VALUES (0) ON CONFLICT DO NOTHING",
)
