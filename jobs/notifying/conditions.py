"""Conditions of the platform itself, such as a model that drifts: put beside the alerts, told by the same channels, until they are over.

A job that looks at something says each time what it has found. A condition that is new, comes again, rises or ends goes into the outbox,
in the same transaction; one that merely goes on does not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from infra.sections import PostgresSettings
from jobs.sinks.transaction import transaction
from schemas.notifications import CONDITION, CONDITIONS, OUTBOX, THREADS

#: Of the ids: arbitrary, ours.
_NAMESPACE = UUID("8d4b2d52-6f5e-5c8e-9a0b-3e1f0c7a9d11")
#: Characters of a name.
_MOST = 300


@dataclass(frozen=True)
class Condition:
    """Something that is wrong.

    ``kind`` is a word that channels filter by (``MODEL_DRIFT``), ``name`` what it is about, one condition each; ``source`` where it comes
    from (a sensor), ``level`` how urgent it is, 0 (LOW) .. 3 (CRITICAL); it was wrong from ``first`` to ``last``, event time.
    """

    kind: str
    name: str
    title: str
    description: str
    source: str
    level: int
    first: datetime
    last: datetime

    @property
    def id(self) -> UUID:
        """The same whenever it comes."""
        return identity(self.kind, self.name)


def identity(kind: str, name: str) -> UUID:
    """Id of a condition."""
    return uuid5(_NAMESPACE, f"{kind}|{name[:_MOST]}")


def say(settings: PostgresSettings, kind: str, scope: str, wrong: Sequence[Condition], unknown: Collection[str]) -> tuple[int, int]:
    """Say what was found of one kind; how many conditions are news, and how many are over.

    Parameters
    ----------
    settings
        The database of the alerts.
    kind
        Of all that was looked at.
    scope
        What the names of all that was looked at begin with. Conditions of this scope that are not in ``wrong`` are over: what they were
        about is right again, or is no more.
    wrong
        What is wrong now.
    unknown
        Names of what nobody can say anything of yet; they stay as they are.

    Raises
    ------
    StoreError
        The database is away or refuses: nothing was changed.
    """
    with transaction(settings) as cursor:
        news = sum(_put(cursor, one) for one in sorted(wrong, key=lambda one: one.id))  # all in one order: two at once wait, and go on
        return news, _over(cursor, kind, scope, [*(one.name for one in wrong), *unknown])


def _put(cursor: Any, one: Condition) -> bool:
    cursor.execute(f"SELECT level, over_at FROM {CONDITIONS} WHERE id = %s FOR UPDATE", (str(one.id),))
    before = cursor.fetchone()
    told = _told(cursor, str(one.id))
    cursor.execute(
        f"INSERT INTO {CONDITIONS} AS known (id, kind, name, title, description, source, level, first_seen, last_seen) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET title = excluded.title, "
        "description = excluded.description, source = excluded.source, level = excluded.level, last_seen = excluded.last_seen, "
        "first_seen = CASE WHEN known.over_at IS NULL THEN least(known.first_seen, excluded.first_seen) ELSE excluded.first_seen END, "
        "over_at = NULL, updated_at = clock_timestamp()",
        (str(one.id), one.kind, one.name[:_MOST], one.title, one.description, one.source, one.level, one.first, one.last),
    )
    news = before is None or before["over_at"] is not None or one.level > before["level"]
    if news or not told:  # held back, or the channels were away for long: it is still so
        _tell(cursor, f"{CONDITIONS} WHERE id = %s", (str(one.id),))
    return news


def _told(cursor: Any, key: str) -> bool:
    """Whether some channel knows of it."""
    cursor.execute(f"SELECT 1 FROM {THREADS} WHERE subject_id = %s AND NOT done LIMIT 1", (key,))
    return cursor.fetchone() is not None


def _over(cursor: Any, kind: str, scope: str, stay: Collection[str]) -> int:
    cursor.execute(
        f"UPDATE {CONDITIONS} SET over_at = clock_timestamp(), updated_at = clock_timestamp() WHERE kind = %s AND over_at IS NULL "
        "AND starts_with(name, %s) AND id <> ALL(%s::uuid[]) RETURNING id::text",
        (kind, scope, [str(identity(kind, name)) for name in stay]),
    )
    ended = [row["id"] for row in cursor.fetchall()]
    if ended:
        _tell(cursor, f"{CONDITIONS} WHERE id = ANY(%s::uuid[])", (ended,))
    return len(ended)


def _tell(cursor: Any, which: str, values: tuple[Any, ...]) -> None:
    cursor.execute(
        f"INSERT INTO {OUTBOX} AS waiting (subject, subject_id, level, kind, source) "
        f"SELECT '{CONDITION}', id, level, kind, source FROM {which} ORDER BY id "
        # Not DO NOTHING: it would not wait for a notifier that has the row in its hands.
        "ON CONFLICT (subject_id) DO UPDATE SET level = greatest(waiting.level, excluded.level)",
        values,
    )
