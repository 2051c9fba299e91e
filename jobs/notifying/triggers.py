"""The outbox, as the database keeps it: a trigger on incidents puts a row where one is news, in the transaction that makes it so.

An incident is news when it is told for the first time, when its priority rises, when its status changes, and when it is no more (merged
into another). By whatever way that comes about: the stream, ``flowlake incidents``, psql. Evidence that only grows is none.

A second trigger keeps the outbox small, whoever writes into it: an incident that waits already has its row, and beyond
:data:`schemas.notifications.MAX_WAITING` rows only a count is kept, by kind, priority and source.
"""

from __future__ import annotations

from jobs.sinks.triggers import TriggerLayout
from schemas.incidents import INCIDENTS, PRIORITIES
from schemas.notifications import ANY_CHANNEL, HELD, INCIDENT, MAX_HELD_ROWS, MAX_WAITING, OTHER_KIND, OUTBOX, THREADS

_LEVELS = "'{" + ",".join(PRIORITIES) + "}'::text[]"

_FUNCTIONS: dict[str, str] = {
    "flowlake_notify_incident": f"""
DECLARE
    about {INCIDENTS}%ROWTYPE;
    level integer := array_position({_LEVELS}, CASE WHEN TG_OP = 'DELETE' THEN OLD.priority ELSE NEW.priority END) - 1;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.id <> NEW.id THEN
        -- The same incident under another id: what it was told as goes on.
        DELETE FROM {THREADS} WHERE subject_id = NEW.id;
        UPDATE {THREADS} SET subject_id = NEW.id WHERE subject_id = OLD.id;
        DELETE FROM {OUTBOX} WHERE subject_id = NEW.id;
        UPDATE {OUTBOX} SET subject_id = NEW.id WHERE subject_id = OLD.id;
    END IF;
    IF TG_OP = 'DELETE' THEN
        about := OLD;
        IF NOT EXISTS (SELECT FROM {THREADS} WHERE subject_id = OLD.id) THEN
            DELETE FROM {OUTBOX} WHERE subject_id = OLD.id;  -- nobody was told of it
            RETURN NULL;
        END IF;
    ELSE
        about := NEW;
        -- Without a title it is not written to its end yet.
        IF NEW.title = '' OR TG_OP = 'UPDATE' AND OLD.title <> '' AND NEW.status = OLD.status
            AND level < array_position({_LEVELS}, OLD.priority) THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO {OUTBOX} (subject, subject_id, level, kind, source)
    VALUES ('{INCIDENT}', about.id, level, coalesce(about.metadata -> 'attack_types' ->> 0, ''),
        coalesce(about.metadata -> 'sources' ->> 0, ''))
    ON CONFLICT (subject_id) DO NOTHING;
    RETURN NULL;
END""",
    "flowlake_notify_bounded": f"""
BEGIN
    -- An UPDATE, not a look: it waits for a notifier that has the row in its hands, and finds it gone then.
    UPDATE {OUTBOX} SET level = greatest(level, NEW.level) WHERE subject_id = NEW.subject_id;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    -- Rows leave in the order of their numbers, nearly: the span is their count, and costs two looks at an index.
    IF coalesce((SELECT max(seq) - min(seq) FROM {OUTBOX}), 0) < {MAX_WAITING} THEN
        RETURN NEW;
    END IF;
    UPDATE {HELD} SET count = count + 1, last_at = clock_timestamp()
    WHERE channel = '{ANY_CHANNEL}' AND kind = NEW.kind AND level = NEW.level AND source = NEW.source;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    IF (SELECT count(*) FROM {HELD} WHERE channel = '{ANY_CHANNEL}') >= {MAX_HELD_ROWS} THEN
        NEW.source := '';
        IF NOT EXISTS (SELECT FROM {HELD} WHERE channel = '{ANY_CHANNEL}' AND kind = NEW.kind) THEN
            NEW.kind := '{OTHER_KIND}';
        END IF;
    END IF;
    INSERT INTO {HELD} AS h (channel, kind, level, source, count) VALUES ('{ANY_CHANNEL}', NEW.kind, NEW.level, NEW.source, 1)
    ON CONFLICT (channel, kind, level, source) DO UPDATE SET count = h.count + 1, last_at = clock_timestamp();
    RETURN NULL;
END""",
}

_TRIGGERS: dict[tuple[str, str], str] = {
    (INCIDENTS, "flowlake_notify"): (
        f"AFTER INSERT OR UPDATE OR DELETE ON {INCIDENTS} FOR EACH ROW EXECUTE FUNCTION flowlake_notify_incident()"
    ),
    (OUTBOX, "flowlake_bounded"): f"BEFORE INSERT ON {OUTBOX} FOR EACH ROW EXECUTE FUNCTION flowlake_notify_bounded()",
}


class OutboxTriggers(TriggerLayout):
    """Functions and triggers of the outbox of notifications."""

    def __init__(self) -> None:
        super().__init__("notifications", _FUNCTIONS, _TRIGGERS)
