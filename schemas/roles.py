"""Roles of the databases, and what each may do: no more than its part needs.

They are group roles without a login and so without a password: whoever administers the server makes a login for a person or a program, and
grants it one of these (``GRANT flowlake_responder TO anna``).
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas import alerts, archive, countries, hot, incidents
from schemas.migrations import LEDGER
from schemas.records import HotTable

#: The jobs: write records, alerts, incidents. May not read who did what, nor write into it by itself.
WRITER = "flowlake_writer"
#: Reads flows, what is computed of them, alerts and incidents. Changes nothing.
ANALYST = "flowlake_analyst"
#: On call: reads all of it and the audit; resolves alerts, works on incidents. May not change evidence, nor delete an alert.
RESPONDER = "flowlake_responder"
#: Does what all of these may, and gives it to others. Not the owner of the tables: the audit is append-only for it too.
ADMIN = "flowlake_admin"
ROLES: tuple[str, ...] = (WRITER, ANALYST, RESPONDER, ADMIN)
#: The members of a role may do what it may.
MEMBERS: Mapping[str, tuple[str, ...]] = {ADMIN: (WRITER, ANALYST, RESPONDER)}

#: Table -> role -> privileges, columns in parentheses.
Grants = Mapping[str, Mapping[str, tuple[str, ...]]]

_ALL_ROWS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_READ = ("SELECT",)
_RESOLVED = "UPDATE (resolved_at, resolved_by, action_taken, incident_id, grouped_by, updated_at)"

#: Of the tables of the alerts.
OF_ALERTS: Grants = {
    LEDGER: dict.fromkeys((WRITER, ANALYST, RESPONDER), _READ),
    alerts.TABLE: {WRITER: ("SELECT", "INSERT", "UPDATE"), ANALYST: _READ, RESPONDER: ("SELECT", _RESOLVED)},
    alerts.STATE: {WRITER: _ALL_ROWS},
    alerts.FLOWS: {WRITER: _ALL_ROWS},
    alerts.OUTBOX: {WRITER: _ALL_ROWS},
    alerts.CANDIDATES: {WRITER: _ALL_ROWS},
    incidents.INCIDENTS: {WRITER: _ALL_ROWS, ANALYST: _READ, RESPONDER: _ALL_ROWS},
    incidents.ALIASES: {WRITER: _ALL_ROWS, ANALYST: _READ, RESPONDER: _ALL_ROWS},
    incidents.NOTES: {WRITER: ("SELECT (incident_id)", "UPDATE (incident_id)"), RESPONDER: ("SELECT", "INSERT", "UPDATE (incident_id)")},
    incidents.ACTIONS: {RESPONDER: ("SELECT", "INSERT (user_id, action, target, details)")},
    incidents.AUDIT_HEAD: {RESPONDER: _READ},
}

_READERS = dict.fromkeys((ANALYST, RESPONDER), _READ)
#: Of the archive's book: what is archived is no secret, who archives owns the tables.
OF_ARCHIVE: Grants = {archive.BOOK: _READERS}
#: Of the countries of networks.
OF_COUNTRIES: Grants = {countries.COUNTRIES: _READERS, countries.LOADED: _READERS}


def of_hot(table: HotTable) -> Grants:
    """Of a hot table: its rows, and what is computed of them."""
    return {
        LEDGER: {WRITER: _READ, **_READERS},
        table.name: {WRITER: _ALL_ROWS, **_READERS},
        hot.LEDGER: {WRITER: _ALL_ROWS},
        hot.TOUCHED: {WRITER: _ALL_ROWS},
        **{rollup.name: {WRITER: _ALL_ROWS, **_READERS} for rollup in table.rollups},
    }
