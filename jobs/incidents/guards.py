"""The audit, as the database keeps it: functions and triggers on the tables of alerts and incidents.

``user_actions`` takes rows and gives none back: UPDATE, DELETE and TRUNCATE are refused to every role, its owner among them. Each row holds
the hash of the one before it, so that whoever gets round the triggers is found out (:mod:`jobs.incidents.audit`). The number, the time, the
hash and the role of the session are the database's, whatever an INSERT says.

Every change of an alert or an incident leaves a row, by whatever way it is made, since triggers write it. One thing leaves none: evidence
that the stream adds in a transaction that says so (``flowlake.evidence``), and that only grows; it is counted in the alert itself. Only of
who may change an alert's evidence is it believed.
"""

from __future__ import annotations

from jobs.sinks.triggers import TriggerLayout
from schemas import assets, suppression
from schemas.alerts import TABLE
from schemas.incidents import ACTIONS, AUDIT_HEAD, INCIDENTS, NOTES
from schemas.responses import BLOCKED, BLOCKS, UNBLOCKED

#: Who acts, for the audit: ``SET LOCAL flowlake.actor = 'anna'``. Without it, the role of the session.
ACTOR = "flowlake.actor"
#: ``on`` in a transaction of the stream; believed of those who may write evidence.
EVIDENCE = "flowlake.evidence"
#: Changes with every batch.
_ALERTS_GROW = (
    "last_seen",
    "first_seen",
    "timestamp",
    "flow_count",
    "confidence",
    "details",
    "updated_at",
    "notified_severity",
    "model_version",
)
_SUPPRESSIONS_GROW = ("hits", "last_hit", "updated_at")
_INCIDENTS_GROW = ("first_seen", "last_seen", "title", "description", "metadata", "updated_at")

#: What a hash is of (SHA-256): the one before it, and each field behind its length, so that no two rows are the same bytes.
_HASHED = (
    "{0}previous || convert_to(concat_ws(' ', {0}id, (extract(epoch FROM {0}timestamp) * 1000000)::bigint, octet_length({0}user_id), "
    "{0}user_id, octet_length({0}action), {0}action, octet_length({0}target), {0}target, octet_length({0}details::text), {0}details::text, "
    "{0}db_user), 'UTF8')"
)

_FUNCTIONS: dict[str, str] = {
    "flowlake_audit_chain": f"""
BEGIN
    SELECT h.id + 1, h.hash INTO NEW.id, NEW.previous FROM {AUDIT_HEAD} h FOR UPDATE;
    IF NEW.id IS NULL THEN
        RAISE EXCEPTION '{AUDIT_HEAD} is empty: the audit cannot go on' USING HINT = 'flowlake audit verify';
    END IF;
    NEW.timestamp := clock_timestamp();
    NEW.db_user := session_user;
    NEW.user_id := coalesce(nullif(current_setting('{ACTOR}', true), ''), session_user);
    NEW.details := coalesce(NEW.details, '{{}}');
    NEW.hash := sha256({_HASHED.format("NEW.")});
    UPDATE {AUDIT_HEAD} SET id = NEW.id, hash = NEW.hash;
    RETURN NEW;
END""",
    "flowlake_audit_keep": f"""
BEGIN
    RAISE EXCEPTION '{ACTIONS} is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END""",
    "flowlake_audit_change": """
DECLARE
    subject text := TG_ARGV[0];
    grows text[] := TG_ARGV[1]::text[];
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    now_is jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    changed jsonb;
    -- Who may not write evidence cannot claim that it is: his change of an incident's title would leave no row.
    stream boolean := coalesce(current_setting('flowlake.evidence', true), '') = 'on'
        AND has_column_privilege(session_user, 'alerts', 'flow_count', 'UPDATE');
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(n.key, jsonb_build_array(o.value, n.value)) INTO changed
        FROM jsonb_each(now_is) n JOIN jsonb_each(was) o USING (key)
        WHERE n.value IS DISTINCT FROM o.value AND n.key <> 'updated_at'
            AND NOT (stream AND n.key = ANY(grows) AND NOT (n.key = ANY('{flow_count,severity,confidence,hits}')
                AND n.value < o.value));  -- evidence grows: whoever makes it less is no stream
        IF changed IS NULL THEN
            RETURN NULL;
        END IF;
    ELSE
        SELECT jsonb_object_agg(e.key, e.value) INTO changed FROM jsonb_each(coalesce(now_is, was)) e
        WHERE e.value <> 'null' AND NOT (TG_OP = 'INSERT' AND stream AND e.key = ANY(grows));
    END IF;
    INSERT INTO user_actions (action, target, details)
    VALUES (subject || '.' || lower(TG_OP), subject || ':' || (coalesce(now_is, was) ->> 'id'), coalesce(changed, '{}'));
    RETURN NULL;
END""".replace("user_actions", ACTIONS)
    .replace("flowlake.evidence", EVIDENCE)
    .replace("'alerts'", f"'{TABLE}'"),
    # Not of the audit, but kept by the same means: whoever changes the list, the stream reads it again.
    "flowlake_assets_changed": f"""
BEGIN
    UPDATE {assets.VERSION} SET version = version + 1;
    RETURN NULL;
END""",
    "flowlake_audit_block": f"""
DECLARE
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    now_is jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    subject jsonb := coalesce(now_is, was);
    changed jsonb;
    act text := 'block.' || lower(TG_OP);
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(n.key, jsonb_build_array(o.value, n.value)) INTO changed
        FROM jsonb_each(now_is) n JOIN jsonb_each(was) o USING (key) WHERE n.value IS DISTINCT FROM o.value;
        IF changed IS NULL THEN
            RETURN NULL;
        END IF;
        IF changed -> 'state' ->> 1 = 'LIFTED' THEN
            act := '{UNBLOCKED}';
        ELSIF changed -> 'state' ->> 1 = 'EXPIRED' THEN
            act := 'block.expire';
        ELSIF changed ? 'asks' THEN
            act := '{BLOCKED}';
        END IF;
    ELSE
        SELECT jsonb_object_agg(e.key, e.value) INTO changed FROM jsonb_each(subject) e WHERE e.value <> 'null' AND e.key <> 'id';
        IF TG_OP = 'INSERT' THEN
            act := '{BLOCKED}';
        END IF;
    END IF;
    INSERT INTO {ACTIONS} (action, target, details)
    VALUES (act, 'ip:' || (subject ->> 'address'), changed || jsonb_build_object('block', subject ->> 'id'));
    RETURN NULL;
END""",
    "flowlake_audit_emptied": f"""
BEGIN
    INSERT INTO {ACTIONS} (action, target, details) VALUES (TG_ARGV[0] || '.truncate', TG_TABLE_NAME, '{{}}');
    RETURN NULL;
END""",
}


def _triggers() -> dict[tuple[str, str], str]:
    """(table, trigger) -> what stands behind its name in CREATE TRIGGER."""
    found = {
        (ACTIONS, "flowlake_chain"): f"BEFORE INSERT ON {ACTIONS} FOR EACH ROW EXECUTE FUNCTION flowlake_audit_chain()",
        (ACTIONS, "flowlake_keep"): f"BEFORE UPDATE OR DELETE ON {ACTIONS} FOR EACH ROW EXECUTE FUNCTION flowlake_audit_keep()",
        (ACTIONS, "flowlake_keep_all"): f"BEFORE TRUNCATE ON {ACTIONS} FOR EACH STATEMENT EXECUTE FUNCTION flowlake_audit_keep()",
    }
    audited: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        (TABLE, "alert", _ALERTS_GROW),
        (INCIDENTS, "incident", _INCIDENTS_GROW),
        (NOTES, "note", ()),
        (suppression.TABLE, "suppression", _SUPPRESSIONS_GROW),
        (assets.TABLE, "asset", ()),
    )
    for table, subject, grows in audited:
        found[table, "flowlake_audit"] = (
            f"AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION "
            f"flowlake_audit_change('{subject}', '{{{','.join(grows)}}}')"
        )
        found[table, "flowlake_emptied"] = (
            f"AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION flowlake_audit_emptied('{subject}')"
        )
    found[assets.TABLE, "flowlake_version"] = (
        f"AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {assets.TABLE} FOR EACH STATEMENT EXECUTE FUNCTION flowlake_assets_changed()"
    )
    found[BLOCKS, "flowlake_audit"] = f"AFTER INSERT OR UPDATE OR DELETE ON {BLOCKS} FOR EACH ROW EXECUTE FUNCTION flowlake_audit_block()"
    found[BLOCKS, "flowlake_emptied"] = f"AFTER TRUNCATE ON {BLOCKS} FOR EACH STATEMENT EXECUTE FUNCTION flowlake_audit_emptied('block')"
    return found


class AuditGuards(TriggerLayout):
    """Functions and triggers of the audit."""

    def __init__(self) -> None:
        super().__init__("audit", _FUNCTIONS, _triggers(), always=True)
