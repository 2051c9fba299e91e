"""What was held back: counted by kind, priority and source, and told as one digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from psycopg2.extras import execute_values

from infra.channels import ChannelSettings
from infra.plurals import counted
from jobs.notifying.decide import wants_kind
from jobs.notifying.notice import MAX_NAMES, Notice, iso
from schemas.incidents import PRIORITIES
from schemas.notifications import ANY_CHANNEL, HELD, MAX_HELD_ROWS, MESSAGES, OTHER_KIND, WAITING

#: Kinds and sources that a digest names; the rest is a number.
_NAMED = 10
#: (kind, level, source) -> how many.
Counts = Counter[tuple[str, int, str]]


def add(cursor: Any, channel: str, counts: Counts) -> None:
    """Count what was held back from a channel, in a bounded number of rows."""
    if not counts:
        return
    cursor.execute(f"SELECT kind, level, source FROM {HELD} WHERE channel = %s", (channel,))
    known: set[tuple[str, int, str]] = set(cursor.fetchall())
    rows = Counts()
    for row, count in counts.most_common():
        kind, level, _ = row
        if row not in known and len(known) >= MAX_HELD_ROWS:
            row = (kind if any(kind == k for k, _, _ in known) else OTHER_KIND, level, "")
        known.add(row)
        rows[row] += count
    execute_values(
        cursor,
        f"INSERT INTO {HELD} AS h (channel, kind, level, source, count) VALUES %s ON CONFLICT (channel, kind, level, source) "
        "DO UPDATE SET count = h.count + EXCLUDED.count, last_at = clock_timestamp()",
        [(channel, *row, count) for row, count in rows.items()],
    )


def share_out(cursor: Any, channels: Mapping[str, ChannelSettings], classes: dict[str, str]) -> int:
    """Give each channel its part of what the database itself has counted; returns how many there were."""
    cursor.execute(
        f"WITH taken AS (SELECT ctid FROM {HELD} WHERE channel = %s FOR UPDATE SKIP LOCKED) "
        f"DELETE FROM {HELD} WHERE ctid = ANY(ARRAY(SELECT ctid FROM taken)) RETURNING kind, level, source, count",
        (ANY_CHANNEL,),
    )
    rows = cursor.fetchall()
    for name, channel in channels.items():
        least = PRIORITIES.index(channel.min_priority)
        mine = Counts()
        for kind, level, source, count in rows:
            if level >= least and (kind == OTHER_KIND or wants_kind(channel, (kind,), classes)):
                mine[kind, level, source] += count
        add(cursor, name, mine)
    return sum(count for *_, count in rows)


def digest(cursor: Any, channel: str, after_s: float) -> Notice | None:
    """The digest of what a channel was not told, once the first of it is old enough; it is no longer held then."""
    cursor.execute(
        f"DELETE FROM {HELD} WHERE channel = %s AND EXISTS (SELECT FROM {HELD} h WHERE h.channel = %s "
        "AND h.first_at <= clock_timestamp() - %s * interval '1 second') "
        # One waits for its receiver at most: what comes meanwhile is in the next.
        f"AND NOT EXISTS (SELECT FROM {MESSAGES} m WHERE m.channel = %s AND m.state = '{WAITING}' AND m.news = 'digest') "
        "RETURNING kind, level, source, count, first_at, last_at, "
        "clock_timestamp()",
        (channel, channel, after_s, channel),
    )
    rows = cursor.fetchall()
    if not rows:
        return None
    kinds, levels, sources = Counter[str](), Counter[int](), Counter[str]()
    for kind, level, source, count, *_ in rows:
        kinds[kind or OTHER_KIND] += count
        levels[level] += count
        if source:
            sources[source] += count
    total = kinds.total()
    counts = {
        "kinds": _most(kinds, "other kinds"),
        "priorities": {PRIORITIES[level]: levels[level] for level in sorted(levels, reverse=True)},
        "sources": _most(sources, "other sources"),
    }
    first, last = min(row[4] for row in rows), max(row[5] for row in rows)
    return Notice(
        id=str(uuid4()), key=str(uuid4()), news="digest", subject="digest", subject_id="", at=iso(rows[0][6]),
        title=f"{counted(total, 'message')} held back: {', '.join(f'{kind} {n:,}' for kind, n in kinds.most_common(3))}",
        description="There were more messages than this channel takes. `flowlake incidents list --open` shows all incidents.",
        priority=PRIORITIES[max(levels)], severity=max(levels) + 2, kinds=tuple(kind for kind, _ in kinds.most_common(MAX_NAMES)),
        sources=tuple(source for source, _ in sources.most_common(MAX_NAMES)), first_seen=iso(first), last_seen=iso(last), counts=counts,
    )  # fmt: skip


def _most(counts: Counter[str], rest: str) -> dict[str, int]:
    most = dict(counts.most_common(_NAMED))
    left = counts.total() - sum(most.values())
    return {**most, rest: left} if left else most
