"""The outbox, as the database keeps it: triggers on incidents put a row where one is news, in the transaction that makes it so.

An incident is news when it is told for the first time, when its priority rises, when its status changes, and when it is no more (merged
into another). By whatever way that comes about: the stream, ``flowlake incidents``, psql. Evidence that only grows is none.

Another trigger keeps the outbox small, whoever writes into it: beyond :data:`schemas.notifications.MAX_WAITING` rows only a count is kept,
by kind, priority and source. All of them work once a statement, not once a row: the stream tells all incidents of a batch in one, and a row
of counts that one transaction changed thousands of times would be searched for among as many dead ones.
"""

from __future__ import annotations

from jobs.sinks.triggers import TriggerLayout
from schemas.incidents import INCIDENTS, PRIORITIES
from schemas.notifications import ANY_CHANNEL, HELD, INCIDENT, MAX_HELD_ROWS, MAX_WAITING, OTHER_KIND, OUTBOX, THREADS

_LEVEL = "array_position('{{" + ",".join(PRIORITIES) + "}}'::text[], {0}.priority) - 1"


def _put(alias: str, behind: str) -> str:
    """Statement that puts incidents into the outbox; one that waits there already keeps its place.

    DO UPDATE, not DO NOTHING: it waits for a notifier that has the row in its hands, and finds it gone then.
    """
    return f"""
    INSERT INTO {OUTBOX} AS waiting (subject, subject_id, level, kind, source)
    SELECT '{INCIDENT}', {alias}.id, {_LEVEL.format(alias)}, coalesce({alias}.metadata -> 'attack_types' ->> 0, ''),
        coalesce({alias}.metadata -> 'sources' ->> 0, '')
    {behind} ORDER BY {alias}.id
    ON CONFLICT (subject_id) DO UPDATE SET level = greatest(waiting.level, excluded.level);"""


_FUNCTIONS: dict[str, str] = {
    # Without a title an incident is not written to its end yet.
    "flowlake_notify_made": f"""
BEGIN{_put("made", "FROM made WHERE made.title <> ''")}
    RETURN NULL;
END""",
    "flowlake_notify_changed": f"""
BEGIN{
        _put(
            "after",
            "FROM after JOIN before USING (id) WHERE after.title <> '' AND (before.title = '' OR before.status <> after.status "
            f"OR {_LEVEL.format('after')} > {_LEVEL.format('before')})",
        )
    }
    RETURN NULL;
END""",
    "flowlake_notify_gone": f"""
BEGIN
    DELETE FROM {OUTBOX} o USING gone WHERE o.subject_id = gone.id  -- nobody was told of it
        AND NOT EXISTS (SELECT FROM {THREADS} t WHERE t.subject_id = gone.id);{
        _put("gone", f"FROM gone WHERE EXISTS (SELECT FROM {THREADS} t WHERE t.subject_id = gone.id)")
    }
    RETURN NULL;
END""",
    # The same incident under another id: what it was told as goes on.
    "flowlake_notify_renamed": f"""
BEGIN
    IF OLD.id <> NEW.id THEN
        DELETE FROM {THREADS} WHERE subject_id = NEW.id;
        UPDATE {THREADS} SET subject_id = NEW.id WHERE subject_id = OLD.id;
        DELETE FROM {OUTBOX} WHERE subject_id = NEW.id;
        UPDATE {OUTBOX} SET subject_id = NEW.id WHERE subject_id = OLD.id;
    END IF;
    RETURN NULL;
END""",
    "flowlake_notify_bounded": f"""
DECLARE
    -- Rows leave in the order of their numbers, nearly: the span is their count, and costs two looks at an index.
    excess bigint := (SELECT max(seq) - min(seq) + 1 FROM {OUTBOX}) - {MAX_WAITING};
    room integer;
BEGIN
    IF coalesce(excess, 0) <= 0 THEN
        RETURN NULL;
    END IF;
    room := greatest({MAX_HELD_ROWS} - (SELECT count(*) FROM {HELD} WHERE channel = '{ANY_CHANNEL}'), 0);
    WITH chosen AS (SELECT seq FROM fresh ORDER BY level, seq DESC LIMIT excess),
    moved AS (DELETE FROM {OUTBOX} o USING chosen WHERE o.seq = chosen.seq RETURNING o.kind, o.level, o.source),
    groups AS (SELECT m.kind, m.level, m.source, count(*) AS number FROM moved m GROUP BY 1, 2, 3),
    ranked AS (SELECT g.*, h.channel IS NOT NULL AS known,
            row_number() OVER (PARTITION BY h.channel IS NULL ORDER BY g.number DESC) AS place
        FROM groups g LEFT JOIN {HELD} h ON (h.channel, h.kind, h.level, h.source) = ('{ANY_CHANNEL}', g.kind, g.level, g.source)),
    kinds AS (SELECT kind FROM ranked WHERE known OR place <= room UNION SELECT kind FROM {HELD} WHERE channel = '{ANY_CHANNEL}'),
    folded AS (SELECT CASE WHEN kind IN (SELECT kind FROM kinds) THEN kind ELSE '{OTHER_KIND}' END AS kind, level,
            CASE WHEN known OR place <= room THEN source ELSE '' END AS source, number
        FROM ranked)
    INSERT INTO {HELD} AS held (channel, kind, level, source, count)
    SELECT '{ANY_CHANNEL}', kind, level, source, sum(number) FROM folded GROUP BY 2, 3, 4 ORDER BY 2, 3, 4
    ON CONFLICT (channel, kind, level, source) DO UPDATE SET count = held.count + excluded.count, last_at = clock_timestamp();
    RETURN NULL;
END""",
}

_EACH = "FOR EACH STATEMENT EXECUTE FUNCTION"
_TRIGGERS: dict[tuple[str, str], str] = {
    (INCIDENTS, "flowlake_notify_made"): f"AFTER INSERT ON {INCIDENTS} REFERENCING NEW TABLE AS made {_EACH} flowlake_notify_made()",
    (INCIDENTS, "flowlake_notify_changed"): (
        f"AFTER UPDATE ON {INCIDENTS} REFERENCING OLD TABLE AS before NEW TABLE AS after {_EACH} flowlake_notify_changed()"
    ),
    (INCIDENTS, "flowlake_notify_gone"): f"AFTER DELETE ON {INCIDENTS} REFERENCING OLD TABLE AS gone {_EACH} flowlake_notify_gone()",
    (INCIDENTS, "flowlake_notify_renamed"): (f"AFTER UPDATE OF id ON {INCIDENTS} FOR EACH ROW EXECUTE FUNCTION flowlake_notify_renamed()"),
    (OUTBOX, "flowlake_bounded"): f"AFTER INSERT ON {OUTBOX} REFERENCING NEW TABLE AS fresh {_EACH} flowlake_notify_bounded()",
}


class OutboxTriggers(TriggerLayout):
    """Functions and triggers of the outbox of notifications."""

    def __init__(self) -> None:
        super().__init__("notifications", _FUNCTIONS, _TRIGGERS)
