"""How notifications stand, for people; and messages that were given up, put back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from infra.errors import ConfigError
from schemas.incidents import ACTIONS
from schemas.notifications import FAILED, HELD, MESSAGES, OUTBOX, SENT, WAITING

_BY_CHANNEL = f"""
SELECT m.channel, count(*) FILTER (WHERE m.state = '{WAITING}') AS waiting, count(*) FILTER (WHERE m.state = '{FAILED}') AS failed,
    count(*) FILTER (WHERE m.state = '{SENT}' AND m.done_at > clock_timestamp() - interval '24 hours') AS sent_24h,
    max(m.done_at) FILTER (WHERE m.state = '{SENT}') AS last_sent,
    (array_agg(m.reason ORDER BY m.attempts = 0, coalesce(m.done_at, m.due_at) DESC)
        FILTER (WHERE m.state <> '{SENT}' AND m.reason <> ''))[1] AS reason
FROM {MESSAGES} m GROUP BY m.channel
"""
_LISTED = "seq, id::text, channel, state, news, body ->> 'title' AS title, attempts, reason, created_at, due_at, done_at"


def by_channel(cursor: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a channel: those of the settings, and those that only the database knows (``configured`` is false then)."""
    cursor.execute(_BY_CHANNEL)
    known = {row["channel"]: dict(row) for row in cursor.fetchall()}
    cursor.execute(f"SELECT channel, sum(count)::bigint AS held FROM {HELD} GROUP BY channel")
    held = {row["channel"]: row["held"] for row in cursor.fetchall()}
    empty = {"waiting": 0, "failed": 0, "sent_24h": 0, "last_sent": None, "reason": None}
    return [
        {**empty, **known.get(name, {}), "channel": name, "held": held.get(name, 0), "configured": name in names}
        for name in [*names, *sorted(set(known) - set(names))]
    ]


def outbox(cursor: Any) -> int:
    """Rows that no notifier has looked at yet."""
    cursor.execute(f"SELECT count(*) AS rows FROM {OUTBOX}")
    return int(cursor.fetchone()["rows"])


def undelivered(cursor: Any, limit: int) -> list[dict[str, Any]]:
    """Messages that were given up, and those that have been tried in vain so far; the newest first."""
    cursor.execute(
        f"SELECT {_LISTED} FROM {MESSAGES} WHERE state = '{FAILED}' OR state = '{WAITING}' AND attempts > 0 ORDER BY seq DESC LIMIT %s",
        (limit,),
    )
    return [dict(row) for row in cursor.fetchall()]


def retry(cursor: Any, channel: str | None, ids: Sequence[str]) -> int:
    """Put messages that were given up back; returns how many. Those that wait are sent at once.

    Raises
    ------
    ConfigError
        An id is none, or no message that was given up or waits has it.
    """
    conditions, values = ["(state = %s OR state = %s AND attempts > 0)"], [FAILED, WAITING]
    if channel is not None:
        conditions.append("channel = %s")
        values.append(channel)
    if ids:
        conditions.append("id = ANY(%s::uuid[])")
        values.append([_uuid(one) for one in ids])  # type: ignore[arg-type]
    cursor.execute(
        f"UPDATE {MESSAGES} SET state = '{WAITING}', attempts = 0, due_at = clock_timestamp(), done_at = NULL "
        f"WHERE {' AND '.join(conditions)} RETURNING id::text",
        values,
    )
    found = [row["id"] for row in cursor.fetchall()]
    if missing := sorted({_uuid(one) for one in ids} - set(found)):
        raise ConfigError(f"no message {missing[0]} was given up or waits", "flowlake notify status shows their ids")
    if found:
        cursor.execute(
            f"INSERT INTO {ACTIONS} (action, target, details) VALUES ('notify.retry', %s, jsonb_build_object('messages', %s))",
            (f"channel:{channel or '*'}", len(found)),
        )
    return len(found)


def _uuid(given: str) -> str:
    try:
        return str(UUID(given))
    except ValueError as e:
        raise ConfigError(f"message id {given!r} is no UUID", "flowlake notify status shows their ids") from e
