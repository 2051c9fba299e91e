"""What people do with incidents: take, note, close, merge, split. Each act is one transaction, and who did it stands in the audit.

Two people at once: the second is told what the first has done, and nothing of his act happens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from infra.config import Settings
from infra.errors import ConfigError, StoreError, one_line
from infra.names import valid_text
from infra.sections import PostgresSettings
from jobs.incidents import changes, guards, ids, store, summary
from jobs.sinks.grants import may_read
from jobs.sinks.transaction import transaction
from schemas.alerts import TABLE
from schemas.incidents import ACTIONS, ALIASES, BY_PERSON, INCIDENTS, MOST_URGENT_FIRST, NOTES, PRIORITIES, UNDONE, Status
from schemas.labels import Label

#: Characters of a name, and of a note.
MAX_NAME, MAX_NOTE = 100, 10_000
_IDS = "flowlake incidents list shows the ids in its first column"
_SHOWN = (
    "i.id::text, i.title, i.status, i.priority, i.assigned_to, i.first_seen, i.last_seen, i.created_at, i.updated_at, i.closed_at, "
    "i.closed_by, i.description, i.metadata"
)


@contextmanager
def acting(settings: PostgresSettings, by: str) -> Iterator[Any]:
    """A cursor in a transaction in which ``by`` acts.

    Raises
    ------
    ConfigError
        That is no name.
    StoreError
        The database is away or refuses; nothing was done.
    """
    name = text(by, "--by", MAX_NAME)
    with transaction(settings) as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", (guards.ACTOR, name))
        yield cursor


def text(given: str, what: str, most: int) -> str:
    """A name or note as it is stored: valid, without what a terminal or a table would take for something else than text.

    Raises
    ------
    ConfigError
        It is empty or too long.
    """
    kept = "".join(c if c == "\n" or c.isprintable() else " " for c in valid_text(given)).strip()
    if not kept or len(kept) > most:
        raise ConfigError(f"{what} {one_line(given, 60)!r}: 1 to {most:,} characters", "say it in words")
    return kept


def find(cursor: Any, given: str) -> dict[str, Any]:
    """The incident that an id names: its own, one that it had before, or the beginning of one.

    Raises
    ------
    ConfigError
        It names none, or several.
    """
    first, last = ids.span(given, "incident", _IDS)
    cursor.execute(
        f"SELECT DISTINCT i.id::text, i.title FROM {INCIDENTS} i LEFT JOIN {ALIASES} a ON a.incident_id = i.id "
        "WHERE i.id BETWEEN %(first)s::uuid AND %(last)s::uuid OR a.alias BETWEEN %(first)s::uuid AND %(last)s::uuid "
        "ORDER BY 1 LIMIT %(most)s",
        {"first": first, "last": last, "most": ids.NAMED + 1},
    )
    found = [(row["id"], one_line(row["title"], 60)) for row in cursor.fetchall()]
    key = ids.one(found, given, "incident", _IDS if found else ids.other(cursor, TABLE, "alert", (first, last)) or _IDS)
    cursor.execute(f"SELECT {_SHOWN} FROM {INCIDENTS} i WHERE i.id = %s::uuid", (key,))
    return dict(cursor.fetchone())


def listed(
    cursor: Any, *, undone: bool = False, status: str | None = None, assigned: str | None = None, since: Any = None, limit: int = 20
) -> tuple[list[dict[str, Any]], int]:
    """Incidents, those first that want somebody: by priority, then the newest; and how many there are without the limit."""
    where, values = ["true"], list[Any]()
    for condition, value in (("i.status = ANY(%s)", list(UNDONE) if undone else None), ("i.status = %s", status),
                             ("i.assigned_to = %s", assigned), ("i.last_seen >= %s", since)):  # fmt: skip
        if value is not None:
            where.append(condition)
            values.append(value)
    those = f"FROM {INCIDENTS} i WHERE {' AND '.join(where)}"
    cursor.execute(f"SELECT {_SHOWN} {those} ORDER BY {MOST_URGENT_FIRST} LIMIT %s", [*values, limit])
    rows = [dict(row) for row in cursor.fetchall()]
    if len(rows) < limit:
        return rows, len(rows)
    cursor.execute(f"SELECT count(*) AS there {those}", values)
    return rows, cursor.fetchone()["there"]


def count(cursor: Any) -> int:
    """How many incidents there are."""
    cursor.execute(f"SELECT count(*) AS there FROM {INCIDENTS}")
    return int(cursor.fetchone()["there"])


def notes_of(cursor: Any, incident: str) -> list[dict[str, Any]] | None:
    """Notes of an incident in the order of time; None where this user may not read them."""
    if not may_read(cursor, NOTES):
        return None
    cursor.execute(f"SELECT at, author, note FROM {NOTES} WHERE incident_id = %s ORDER BY id", (incident,))
    return [dict(row) for row in cursor.fetchall()]


def alerts_of(cursor: Any, incident: str) -> list[dict[str, Any]]:
    """Alerts of an incident in the order of time; whoever reads alerts may ask."""
    cursor.execute(
        "SELECT id::text, first_seen, last_seen, severity, attack_type, kind, host(src_ip) AS src_ip, host(dst_ip) AS dst_ip, flow_count, "
        f"confidence, record_type, domain, details, resolved_at, resolved_by, grouped_by, updated_at FROM {TABLE} WHERE incident_id = %s "
        "ORDER BY first_seen, id",
        (incident,),
    )
    return [dict(row) for row in cursor.fetchall()]


def history(cursor: Any, incident: str) -> list[dict[str, Any]]:
    """What the audit says was done to an incident, under whatever id, in the order of time."""
    cursor.execute(f"SELECT alias::text FROM {ALIASES} WHERE incident_id = %s::uuid", (incident,))
    return told(cursor, [f"incident:{one}" for one in (incident, *(row["alias"] for row in cursor.fetchall()))])


def told(cursor: Any, targets: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the audit about ``targets`` (``alert:<id>``, ``incident:<id>``), in their order, and what each is in words (``what``)."""
    cursor.execute(
        f"SELECT timestamp, user_id, action, details FROM {ACTIONS} WHERE target = ANY(%s) ORDER BY id",
        (list(targets),),
    )
    return [{**row, "what": changes.told(row["action"], row["details"])} for row in cursor.fetchall()]


def labels_of(settings: Settings) -> dict[str, Label]:
    """What all sources say about their attack types."""
    return {name: label for record in settings.catalogue.records if record.alerts for name, label in record.alerts.by_name.items()}


def assign(cursor: Any, given: str, who: str) -> dict[str, Any]:
    """Give an incident to somebody (``""``: to nobody); one that nobody had begun is being investigated then.

    Raises
    ------
    StoreError
        It is closed: whom it is given to would not see it among the open ones.
    """
    incident = find(cursor, given)
    to = text(who, "--to", MAX_NAME) if who else None
    begun = "assigned_to = %s, status = CASE WHEN status = 'OPEN' AND %s THEN 'INVESTIGATING' ELSE status END"
    return _changed(cursor, incident, begun, [to, bool(to)], "status = ANY(%s)", [list(UNDONE)])


def note(cursor: Any, given: str, by: str, words: str) -> dict[str, Any]:
    """Write something down."""
    incident = find(cursor, given)
    cursor.execute(
        f"INSERT INTO {NOTES} (incident_id, author, note) VALUES (%s, %s, %s)",
        (incident["id"], text(by, "--by", MAX_NAME), text(words, "the note", MAX_NOTE)),
    )
    return _changed(cursor, incident, "", [])


def close(cursor: Any, given: str, by: str, status: Status, why: str = "") -> dict[str, Any]:
    """Close an incident as ``RESOLVED`` or ``FALSE_POSITIVE``, and its alerts with it.

    Raises
    ------
    StoreError
        Somebody has closed it before.
    """
    incident = find(cursor, given)
    name = text(by, "--by", MAX_NAME)
    if why:
        cursor.execute(
            f"INSERT INTO {NOTES} (incident_id, author, note) VALUES (%s, %s, %s)",
            (incident["id"], name, text(why, "the reason", MAX_NOTE)),
        )
    done = _changed(
        cursor, incident, "status = %s, closed_at = clock_timestamp(), closed_by = %s", [status, name], "status = ANY(%s)", [list(UNDONE)]
    )
    cursor.execute(
        f"UPDATE {TABLE} SET resolved_at = clock_timestamp(), resolved_by = %s WHERE incident_id = %s AND resolved_at IS NULL",
        (name, done["id"]),
    )
    return done


def reopen(cursor: Any, given: str) -> dict[str, Any]:
    """Open a closed incident again; its alerts stay as they are."""
    incident = find(cursor, given)
    return _changed(
        cursor, incident, "status = 'INVESTIGATING', closed_at = NULL, closed_by = NULL", [], "status <> ALL(%s)", [list(UNDONE)]
    )


def merge(cursor: Any, given: Sequence[str], labels: Mapping[str, Label]) -> dict[str, Any]:
    """Put incidents into the first of them; their ids lead there.

    Raises
    ------
    ConfigError
        They are the same one; or the first is closed, and another is not.
    """
    into, *others = [find(cursor, one) for one in given]
    merged = list(dict.fromkeys(one["id"] for one in others if one["id"] != into["id"]))
    if not merged:
        raise ConfigError(f"there is nothing to merge: all of these are incident {into['id']}", "name another incident")
    if into["status"] not in UNDONE and (undone := [one["id"] for one in others if one["status"] in UNDONE]):
        raise ConfigError(
            f"incident {into['id']} is closed, and {undone[0]} is not: merged into it, nobody would see its open alerts",
            f"name the open one first, or open the other again: flowlake incidents reopen {into['id'][:8]}",
        )
    # What a person has put together, the rule does not take apart: the alerts are his now.
    cursor.execute(f"UPDATE {TABLE} SET grouped_by = %s WHERE incident_id = ANY(%s::uuid[])", (BY_PERSON, merged))
    with cursor.connection.cursor() as plain:
        store.merge(plain, [UUID(one) for one in merged], UUID(into["id"]))
        summary.tell(plain, [UUID(into["id"])], labels)
    return _changed(cursor, into, "", [])


def split(cursor: Any, alerts: Sequence[str], labels: Mapping[str, Label]) -> dict[str, Any]:
    """Take alerts out of their incidents into a new one.

    Raises
    ------
    ConfigError
        One is no alert, or they are all that an incident has.
    """
    chosen = [ids.alert(cursor, one) for one in alerts]
    cursor.execute(
        "SELECT id::text, incident_id::text, first_seen, last_seen, suppressed_by, resolved_at, resolved_by "
        f"FROM {TABLE} WHERE id = ANY(%s::uuid[]) FOR UPDATE",
        (chosen,),
    )
    found = cursor.fetchall()
    if silenced := [row for row in found if row["suppressed_by"]]:
        entry = silenced[0]["suppressed_by"]
        raise ConfigError(
            f"alert {silenced[0]['id']} is suppressed by {entry}: it is in no incident", f"flowlake whitelist remove {entry} --tell"
        )
    before = sorted({row["incident_id"] for row in found if row["incident_id"]})
    cursor.execute(
        f"SELECT i.id::text FROM {INCIDENTS} i WHERE i.id = ANY(%s::uuid[]) "
        f"AND NOT EXISTS (SELECT FROM {TABLE} a WHERE a.incident_id = i.id AND a.id <> ALL(%s::uuid[]))",
        (before, chosen),
    )
    if emptied := cursor.fetchall():
        raise ConfigError(f"nothing would be left of incident {emptied[0]['id']}", "leave one of its alerts, or merge it with another")
    fresh = str(uuid4())
    last = max(found, key=lambda row: row["resolved_at"] or datetime.max.replace(tzinfo=UTC))  # one that is open leaves all open
    cursor.execute(
        f"INSERT INTO {INCIDENTS} (id, title, status, closed_at, closed_by, first_seen, last_seen, metadata, touched_at) "
        "VALUES (%s, '', %s, %s, %s, %s, %s, %s, clock_timestamp())",
        (
            fresh,
            "RESOLVED" if last["resolved_at"] else "OPEN",
            last["resolved_at"],
            last["resolved_by"],
            min(row["first_seen"] for row in found),
            max(row["last_seen"] for row in found),
            json.dumps({"split_from": before}),
        ),
    )
    cursor.execute(f"UPDATE {TABLE} SET incident_id = %s, grouped_by = %s WHERE id = ANY(%s::uuid[])", (fresh, BY_PERSON, chosen))
    with cursor.connection.cursor() as plain:
        summary.tell(plain, [UUID(fresh), *map(UUID, before)], labels)
    for one in before:
        _changed(cursor, {"id": one}, "", [])
    return find(cursor, fresh)


def edit(cursor: Any, given: str, by: str, *, title: str = "", priority: str = "") -> dict[str, Any]:
    """Call an incident something else, or think it more or less urgent; the rule leaves it so.

    Raises
    ------
    ConfigError
        There is no such priority; or there is nothing to change.
    """
    if not title and not priority:
        raise ConfigError(f"nothing is said that incident {one_line(given, 60)} is to be", "say --title, --priority, or both")
    incident = find(cursor, given)
    name = text(by, "--by", MAX_NAME)
    if priority and priority.upper() not in PRIORITIES:
        raise ConfigError(f"--priority {priority!r}", f"one of: {', '.join(PRIORITIES)}")
    changes, values, marks = ["metadata = metadata || %s::jsonb"], list[Any](), dict[str, str]()
    if title:
        changes.append("title = %s")
        values.append(text(title, "--title", 300))
        marks["titled_by"] = name
    if priority:
        changes.append("priority = %s")
        values.append(priority.upper())
        marks["prioritised_by"] = name
    return _changed(cursor, incident, ", ".join(changes), [json.dumps(marks), *values])


def _changed(
    cursor: Any, incident: Mapping[str, Any], changes: str, values: Sequence[Any], only: str = "true", only_values: Sequence[Any] = ()
) -> dict[str, Any]:
    cursor.execute(
        f"UPDATE {INCIDENTS} SET {changes}{', ' if changes else ''}touched_at = coalesce(touched_at, clock_timestamp()), "
        "updated_at = clock_timestamp() "
        f"WHERE id = %s AND {only} RETURNING id::text",
        [*values, incident["id"], *only_values],
    )
    if not cursor.fetchall():
        now = find(cursor, incident["id"])
        if now["id"] != incident["id"]:
            raise StoreError(f"incident {incident['id']} was merged into {now['id']} meanwhile", "do it again: the former id leads there")
        how = now["status"].lower().replace("_", " ")
        if now["status"] in UNDONE:
            raise StoreError(f"incident {now['id']} is {how}: it was not closed", "flowlake incidents show tells how it stands")
        raise StoreError(
            f"incident {now['id']} was closed before: {how}, by {now['closed_by'] or 'nobody named'}",
            "flowlake incidents reopen opens it again",
        )
    return find(cursor, incident["id"])
