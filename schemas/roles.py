"""Roles of the databases, and what each may do: no more than its part needs.

They are group roles without a login and so without a password: whoever administers the server makes a login for a person or a program, and
grants it one of these (``GRANT flowlake_responder TO anna``).
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas import alerts, archive, assets, countries, hot, incidents, notifications, responses, suppression
from schemas.migrations import LEDGER
from schemas.records import HotTable

#: The jobs: write records, alerts, incidents. May not read who did what, nor write into it by itself.
WRITER = "flowlake_writer"
#: Reads flows, what is computed of them, alerts and incidents. Changes nothing.
ANALYST = "flowlake_analyst"
#: On call: reads all of it and the audit; resolves alerts, works on incidents. May not change evidence, nor delete an alert.
RESPONDER = "flowlake_responder"
#: Tells of incidents (``flowlake notify run``): reads alerts, incidents and their notes, keeps the messages. Changes nothing else.
NOTIFIER = "flowlake_notifier"
#: Does what all of these may, and gives it to others. Not the owner of the tables: the audit is append-only for it too.
ADMIN = "flowlake_admin"
ROLES: tuple[str, ...] = (WRITER, ANALYST, RESPONDER, NOTIFIER, ADMIN)
#: The members of a role may do what it may.
MEMBERS: Mapping[str, tuple[str, ...]] = {ADMIN: (WRITER, ANALYST, RESPONDER, NOTIFIER)}

#: Table -> role -> privileges, columns in parentheses.
Grants = Mapping[str, Mapping[str, tuple[str, ...]]]

_ALL_ROWS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_READ = ("SELECT",)
_RESOLVED = (
    "UPDATE (resolved_at, resolved_by, action_taken, incident_id, grouped_by, suppressed_by, suppressed_at, notified_severity, updated_at)"
)
#: Of what silences: to make it and to end it, not to change what it was about.
_ENDED = "UPDATE (ended_at, ended_by, end_reason, withdrawn, hits, last_hit, updated_at)"
_OF_BLOCKS = "UPDATE (blocked_until, state, error, applied_at, lifted_by, asks, why, alert_id, incident_id)"

#: Of the tables of the alerts.
OF_ALERTS: Grants = {
    LEDGER: dict.fromkeys((WRITER, ANALYST, RESPONDER), _READ),
    alerts.TABLE: {
        WRITER: ("SELECT", "INSERT", "UPDATE"),
        ANALYST: _READ,
        RESPONDER: ("SELECT", _RESOLVED),
        NOTIFIER: _READ,
    },
    alerts.STATE: {WRITER: _ALL_ROWS},
    alerts.FLOWS: {WRITER: _ALL_ROWS},
    alerts.OUTBOX: {WRITER: _ALL_ROWS, RESPONDER: ("INSERT",)},
    alerts.CANDIDATES: {WRITER: _ALL_ROWS},
    incidents.INCIDENTS: {WRITER: _ALL_ROWS, ANALYST: _READ, RESPONDER: _ALL_ROWS, NOTIFIER: _READ},
    incidents.ALIASES: {WRITER: _ALL_ROWS, ANALYST: _READ, RESPONDER: _ALL_ROWS, NOTIFIER: _READ},
    incidents.NOTES: {
        WRITER: ("SELECT (incident_id)", "UPDATE (incident_id)"),
        RESPONDER: ("SELECT", "INSERT", "UPDATE (incident_id)"),
        NOTIFIER: _READ,
    },
    suppression.TABLE: {
        WRITER: ("SELECT", "UPDATE (hits, last_hit, updated_at)"),
        ANALYST: _READ,
        RESPONDER: ("SELECT", "INSERT", _ENDED),
    },
    assets.TABLE: {WRITER: _READ, ANALYST: _READ, RESPONDER: ("SELECT", "INSERT", "UPDATE")},
    assets.VERSION: {WRITER: _READ},
    incidents.ACTIONS: {RESPONDER: ("SELECT", "INSERT (user_id, action, target, details)")},
    incidents.AUDIT_HEAD: {RESPONDER: _READ},
    # What was asked for is not changed: only what came of it, and until when it holds.
    responses.BLOCKS: {ANALYST: _READ, RESPONDER: ("SELECT", "INSERT", _OF_BLOCKS)},
    responses.DECISIONS: {RESPONDER: ("SELECT", "INSERT")},
    responses.CURSOR: {RESPONDER: ("SELECT", "INSERT", "UPDATE")},
    # The outbox is filled by a trigger, with its owner's rights; only alerts without an incident and conditions are put there by the jobs.
    notifications.OUTBOX: {WRITER: ("INSERT", "SELECT (subject_id, level)", "UPDATE (level)"), RESPONDER: _READ, NOTIFIER: _ALL_ROWS},
    notifications.CONDITIONS: {WRITER: ("SELECT", "INSERT", "UPDATE"), ANALYST: _READ, RESPONDER: _READ, NOTIFIER: _READ},
    notifications.THREADS: {WRITER: ("SELECT (subject_id, done)",), NOTIFIER: _ALL_ROWS},
    notifications.MESSAGES: {RESPONDER: ("SELECT", "UPDATE (state, attempts, due_at, done_at)"), NOTIFIER: _ALL_ROWS},
    notifications.HELD: {RESPONDER: _READ, NOTIFIER: _ALL_ROWS},
}

_READERS = dict.fromkeys((ANALYST, RESPONDER), _READ)
#: Of the archive's book: what is archived is no secret, who archives owns the tables.
OF_ARCHIVE: Grants = {archive.BOOK: _READERS}
#: Of the countries of networks.
OF_COUNTRIES: Grants = {countries.COUNTRIES: _READERS, countries.LOADED: _READERS}


def least(table: str, privilege: str) -> str:
    """The role of the fewest rights that may do something with a table of ours; of the hot store's, whatever their names, too.

    Parameters
    ----------
    table
        Its name.
    privilege
        ``SELECT`` of all columns, or ``INSERT``, ``UPDATE`` or ``DELETE`` of some.
    """
    rights = {**OF_ALERTS, **OF_ARCHIVE, **OF_COUNTRIES}.get(table)
    if rights is None:
        return ANALYST if privilege == "SELECT" else WRITER
    for role in (ANALYST, RESPONDER, NOTIFIER, WRITER):
        if any(right == privilege or (privilege != "SELECT" and right.startswith(f"{privilege} (")) for right in rights.get(role, ())):
            return role
    return ADMIN


def of_hot(table: HotTable) -> Grants:
    """Of a hot table: its rows, and what is computed of them."""
    return {
        LEDGER: {WRITER: _READ, **_READERS},
        table.name: {WRITER: _ALL_ROWS, **_READERS},
        hot.LEDGER: {WRITER: _ALL_ROWS},
        hot.TOUCHED: {WRITER: _ALL_ROWS},
        **{rollup.name: {WRITER: _ALL_ROWS, **_READERS} for rollup in table.rollups},
    }
