"""What is done against an attacker: the table ``blocks``, beside the alerts, and the memory of the rules that block by themselves.

One row an act or a refusal; who changed it when stands in the audit (:mod:`jobs.incidents.guards`). Actions there: :data:`BLOCKED`,
:data:`UNBLOCKED`, ``block.update`` (what came of it) and ``block.expire``.
"""

from __future__ import annotations

from typing import Literal, get_args

from schemas.incidents import INCIDENTS

BLOCKS = "blocks"
#: Alerts that a rule has decided about: each once, whatever is repeated.
DECISIONS = "block_decisions"
#: Up to which change of the alerts the rules have looked.
CURSOR = "block_cursor"

State = Literal["DRY_RUN", "ACTIVE", "EXPIRED", "LIFTED", "FAILED", "REFUSED"]
STATES: tuple[str, ...] = get_args(State)
#: Those that hold until their time is over.
HOLDING: tuple[str, ...] = ("ACTIVE", "DRY_RUN")
#: Actions of the audit.
BLOCKED, UNBLOCKED = "BLOCK_IP", "UNBLOCK_IP"
#: What an alert's ``action_taken`` says after a block, and after a dry run.
TAKEN_BLOCKED, TAKEN_LOGGED = "BLOCKED", "LOGGED"


def _words(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def of_alerts(table: str) -> tuple[str, ...]:
    """Statements of the version of the alerts' tables that brought blocks; ``table``: that of the alerts."""
    return (
        f"CREATE TABLE IF NOT EXISTS {BLOCKS} (id uuid PRIMARY KEY, address inet NOT NULL, "
        "asked_at timestamptz NOT NULL DEFAULT clock_timestamp(), asked_by text NOT NULL, rule text NOT NULL DEFAULT '', "
        f"why text NOT NULL DEFAULT '', alert_id uuid REFERENCES {table} ON DELETE SET NULL, "
        f"incident_id uuid REFERENCES {INCIDENTS} ON UPDATE CASCADE ON DELETE SET NULL, "
        "blocked_from timestamptz NOT NULL, blocked_until timestamptz NOT NULL, "
        f"state text NOT NULL CHECK (state IN ({_words(STATES)})), responder text NOT NULL, error text NOT NULL DEFAULT '', "
        # applied_at: when the responder had done it; asks: how often it was asked for while it held; reach: what it touched before.
        "applied_at timestamptz, lifted_by text, asks integer NOT NULL DEFAULT 1, reach jsonb NOT NULL DEFAULT '{}')",
        # Whoever comes second finds the row of the first.
        f"CREATE UNIQUE INDEX IF NOT EXISTS {BLOCKS}_holding ON {BLOCKS} (address, responder) WHERE state IN ({_words(HOLDING)})",
        f"CREATE INDEX IF NOT EXISTS {BLOCKS}_time ON {BLOCKS} (asked_at DESC)",
        f"CREATE INDEX IF NOT EXISTS {BLOCKS}_address ON {BLOCKS} (address, asked_at DESC)",
        f"CREATE INDEX IF NOT EXISTS {BLOCKS}_alert ON {BLOCKS} (alert_id)",
        f"CREATE INDEX IF NOT EXISTS {BLOCKS}_incident ON {BLOCKS} (incident_id)",
        f"CREATE TABLE IF NOT EXISTS {DECISIONS} (alert_id uuid PRIMARY KEY REFERENCES {table} ON DELETE CASCADE, rule text NOT NULL, "
        f"block_id uuid REFERENCES {BLOCKS} ON DELETE SET NULL, decided_at timestamptz NOT NULL DEFAULT clock_timestamp())",
        f"CREATE TABLE IF NOT EXISTS {CURSOR} (one boolean PRIMARY KEY DEFAULT true CHECK (one), seen timestamptz NOT NULL)",
        f"CREATE INDEX IF NOT EXISTS {table}_updated ON {table} (updated_at)",
    )
