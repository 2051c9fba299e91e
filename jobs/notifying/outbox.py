"""Into the outbox: alerts that are in no incident. Incidents are put there by a trigger (:mod:`jobs.notifying.triggers`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from jobs.notifying.facts import SUPPRESSED
from schemas.alerts import TABLE
from schemas.notifications import ALERT, OUTBOX


def put_alerts(cursor: Any, changed: Collection[UUID]) -> None:
    """Put those of some alerts into the outbox that are in no incident: a person has taken them out of theirs, or removed it.

    Parameters
    ----------
    cursor
        Of the transaction that has written them, and grouped them.
    changed
        Their ids.
    """
    cursor.execute(
        f"INSERT INTO {OUTBOX} AS waiting (subject, subject_id, level, kind, source) "
        # Degrees of priority as schemas.incidents.priority has them.
        f"SELECT '{ALERT}', id, greatest(severity - 2, 0), attack_type, coalesce(host(src_ip), '') FROM {TABLE} a "
        "WHERE id = ANY(%s::uuid[]) AND incident_id IS NULL AND resolved_at IS NULL "
        # A database may have no such column; those that are suppressed are in no incident either, and may be many.
        f"AND to_jsonb(a) ->> '{SUPPRESSED}' IS NULL ORDER BY id "
        # Not DO NOTHING: it would not wait for a notifier that has the row in its hands.
        "ON CONFLICT (subject_id) DO UPDATE SET level = greatest(waiting.level, excluded.level)",
        ([str(i) for i in changed],),
    )
