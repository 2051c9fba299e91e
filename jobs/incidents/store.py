"""Alerts are put into incidents, in the transaction that writes them: whoever sees an alert sees its incident.

What people have done holds: an alert that a person has put somewhere stays there, an incident that a person has acted on keeps its id, and
one that is closed takes no new alert (a new incident says which one it follows).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from jobs.incidents.hosts import is_address
from jobs.incidents.stories import Sighting, near, sighting, stories, story_id
from jobs.incidents.summary import tell
from schemas.alerts import TABLE
from schemas.incidents import ALIASES, BY_PERSON, INCIDENTS, NOTES, UNDONE
from schemas.labels import Label

_US = "(extract(epoch FROM {0}) * 1000000)::bigint"
#: A parameter in microseconds since the epoch.
_MOMENT = "timestamptz 'epoch' + %s * interval '1 microsecond'"
_COLUMNS = (
    f"id::text, attack_type, kind, domain, {_US.format('first_seen')} AS first_seen, {_US.format('last_seen')} AS last_seen, "
    "host(src_ip) AS src_ip, host(dst_ip) AS dst_ip, jsonb_build_object('sources', details->'sources', 'targets', details->'targets', "
    "'distinct_sources', details->'distinct_sources', 'distinct_targets', details->'distinct_targets') AS details, "
    "incident_id::text, grouped_by"
)


@dataclass(frozen=True)
class _Member:
    """An alert, and where it is."""

    seen: Sighting
    incident: UUID | None
    by_person: bool


@dataclass(frozen=True)
class _Held:
    """An incident as it stands: whether a person has acted on it, whether it is closed."""

    id: UUID
    touched: bool
    closed: bool


def group(
    cursor: Any, changed: Collection[UUID], labels: Mapping[str, Label], window_s: float, longer: Mapping[UUID, int] = MappingProxyType({})
) -> int:
    """Put alerts into incidents, and tell anew those that they are in.

    The stories of all incidents that are concerned are found afresh from their alerts as these are now, so what comes out does not depend
    on what the alerts were in between: a relation that no longer holds parts an incident that nobody has acted on.

    Parameters
    ----------
    cursor
        Of the transaction that has written them.
    changed
        Their ids.
    labels
        What is known about attack types.
    window_s
        Seconds of event time between two alerts of one story at most.
    longer
        When those of them were last seen before (us) of which nothing else has changed by which they are related
        (:func:`jobs.incidents.stories.only_longer`). Most changes are such, and need no story to be found: where the window has long
        reached beyond the newest alert, no other is nearer now than it was.

    Returns
    -------
    int
        Incidents that are new.
    """
    window_us = round(window_s * 1e6)
    staying = _staying(cursor, {key: longer[key] for key in changed if key in longer}, window_us)
    made, concerned = _regroup(cursor, set(changed) - staying.keys(), labels, window_us)
    tell(cursor, sorted(concerned | set(staying.values())), labels)
    return made


def _staying(cursor: Any, longer: Mapping[UUID, int], window_us: int) -> dict[UUID, UUID]:
    """Those that no alert can be near to which was not so before, and their incidents."""
    if not longer:
        return {}
    newest = f"(SELECT {_US.format('max(timestamp)')} FROM {TABLE})"  # when it was first seen; the index has it
    ids = [str(key) for key in longer]
    cursor.execute(
        f"SELECT id::text, incident_id::text, {newest} FROM {TABLE} WHERE id = ANY(%s::uuid[]) AND incident_id IS NOT NULL "
        # one that a person has opened again may have to take in what came meanwhile
        f"AND NOT EXISTS (SELECT FROM {INCIDENTS} i WHERE i.id = incident_id AND i.touched_at IS NOT NULL)",
        (ids,),
    )
    return {UUID(key): UUID(incident) for key, incident, newest_us in cursor.fetchall() if longer[UUID(key)] + window_us >= newest_us}


def _regroup(cursor: Any, changed: Collection[UUID], labels: Mapping[str, Label], window_us: int) -> tuple[int, set[UUID]]:
    """Returns how many incidents are new, and those that are to be told."""
    if not changed:
        return 0, set()
    members = _concerned(cursor, changed, labels, window_us)
    held = _incidents(cursor, {m.incident for m in members.values() if m.incident})
    free = {key: m for key, m in members.items() if not m.by_person and not (m.incident and held[m.incident].closed)}
    kept = defaultdict(list)
    for key, member in free.items():
        if member.incident and held[member.incident].touched:
            kept[member.incident].append(key)
    found = stories((m.seen for m in free.values()), window_us, kept.values())
    plan = _Regrouping([_Story(story, _name(story, free, held)) for story in found], free, held)
    made = plan.carry_out(cursor)
    for incident, story in plan.new:
        _follows(cursor, incident, story, [m for m in members.values() if m.incident and held[m.incident].closed], window_us)
    grown = {m.incident for key, m in members.items() if key in changed and m.incident and m.incident in plan.left}
    return made, plan.touched | grown


def _concerned(cursor: Any, changed: Collection[UUID], labels: Mapping[str, Label], window_us: int) -> dict[UUID, _Member]:
    """The alerts, all that have an address in common with one of them and are near enough in time, and the rest of their incidents."""
    found = _members(cursor, "id = ANY(%(ids)s::uuid[])", {"ids": [str(i) for i in changed]}, labels)
    seen = [m.seen for m in found.values()]
    if addresses := sorted({address for s in seen for address in s.sources | s.targets}):
        around = {
            "addresses": addresses, "hosts": [one for one in addresses if is_address(one)],
            "domains": sorted({s.domain for s in seen}),
            "after": min(s.first_seen for s in seen) - window_us, "before": max(s.last_seen for s in seen) + window_us,
        }  # fmt: skip
        moment = "timestamptz 'epoch' + %({0})s * interval '1 microsecond'"
        around["known"] = [str(key) for key in found]
        where = (
            "id <> ALL(%(known)s::uuid[]) AND domain = ANY(%(domains)s) AND "
            f"last_seen >= {moment.format('after')} AND first_seen <= {moment.format('before')} "
            "AND (src_ip = ANY(%(hosts)s::inet[]) OR dst_ip = ANY(%(hosts)s::inet[]) "
            "OR details -> 'sources' ?| %(addresses)s OR details -> 'targets' ?| %(addresses)s)"
        )
        found |= _members(cursor, where, around, labels)
    if incidents := sorted({str(m.incident) for m in found.values() if m.incident}):
        rest = {"incidents": incidents, "known": [str(key) for key in found]}
        found |= _members(cursor, "incident_id = ANY(%(incidents)s::uuid[]) AND id <> ALL(%(known)s::uuid[])", rest, labels)
    return found


def _members(cursor: Any, where: str, values: Mapping[str, Any], labels: Mapping[str, Label]) -> dict[UUID, _Member]:
    cursor.execute(f"SELECT {_COLUMNS} FROM {TABLE} WHERE suppressed_by IS NULL AND ({where})", values)
    names = [column.name for column in cursor.description]
    found = {}
    for values_ in cursor.fetchall():
        row = dict(zip(names, values_, strict=True))
        row["id"] = UUID(row["id"])
        row["details"] = {name: value for name, value in row["details"].items() if value is not None}
        incident = UUID(row["incident_id"]) if row["incident_id"] else None
        found[row["id"]] = _Member(sighting(row, labels), incident, row["grouped_by"] == BY_PERSON)
    return found


def _incidents(cursor: Any, ids: Iterable[UUID]) -> dict[UUID, _Held]:
    cursor.execute(
        f"SELECT id::text, touched_at IS NOT NULL, status <> ALL(%s) FROM {INCIDENTS} WHERE id = ANY(%s::uuid[]) FOR UPDATE",
        (list(UNDONE), [str(i) for i in ids]),
    )
    return {UUID(key): _Held(UUID(key), touched, closed) for key, touched, closed in cursor.fetchall()}


@dataclass(frozen=True)
class _Story:
    """Alerts that belong together, and the id of their incident."""

    alerts: Sequence[Sighting]
    incident: UUID


def _name(story: Sequence[Sighting], free: Mapping[UUID, _Member], held: Mapping[UUID, _Held]) -> UUID:
    """Id of a story's incident: that of one that a person has acted on - the earliest of several - or by its earliest alert."""
    for one in story:
        incident = free[one.id].incident
        if incident and held[incident].touched:
            return incident
    return story_id(story[0].id)


class _Regrouping:
    """What is to change so that each story is one incident.

    Several incidents of one story that people act on stay several: it is theirs to merge them.
    """

    def __init__(self, found: Sequence[_Story], free: Mapping[UUID, _Member], held: Mapping[UUID, _Held]) -> None:
        self._stories = found
        self._free = free
        self._held = held
        self.new: list[tuple[UUID, Sequence[Sighting]]] = []
        self.touched: set[UUID] = set()
        self.left = set(held)

    def carry_out(self, cursor: Any) -> int:
        """Returns how many incidents are new."""
        there = set(self._held)
        wanted = {story.incident for story in self._stories}
        for story in self._stories:
            moving = [one for one in story.alerts if self._moves(one, story.incident)]
            if story.incident not in there and _exists(cursor, story.incident):
                there.add(story.incident)  # without an alert: those that it had were deleted
            elif story.incident not in there:
                # An incident that this one grew out of, and that no other story is, goes on under the new id.
                before = next((i for one in story.alerts if (i := self._free[one.id].incident) in there - wanted and i is not None), None)
                if before is None:
                    _insert(cursor, story)
                    self.new.append((story.incident, story.alerts))
                else:
                    _renamed(cursor, before, story.incident)
                    there.discard(before)
                    self.left.discard(before)
                    moving = [one for one in moving if self._free[one.id].incident != before]
                there.add(story.incident)
            if moving:
                texts = [str(one.id) for one in moving]
                cursor.execute(f"UPDATE {TABLE} SET incident_id = %s WHERE id = ANY(%s::uuid[])", (str(story.incident), texts))
            if moving or story.incident not in self._held:
                self.touched |= {story.incident, *(i for one in moving if (i := self._free[one.id].incident))}
        self._empty(cursor, there - wanted)
        self.touched &= there
        return len(self.new)

    def _moves(self, one: Sighting, incident: UUID) -> bool:
        now = self._free[one.id].incident
        return now != incident and not (now and self._held[now].touched)

    def _empty(self, cursor: Any, ids: set[UUID]) -> None:
        """Incidents that have no alert any more lead to the one that has the earliest of those that they had."""
        cursor.execute(
            f"SELECT i.id::text FROM {INCIDENTS} i WHERE i.id = ANY(%s::uuid[]) AND i.touched_at IS NULL "
            f"AND NOT EXISTS (SELECT FROM {TABLE} a WHERE a.incident_id = i.id)",
            ([str(i) for i in ids],),
        )
        for (key,) in cursor.fetchall():
            gone = UUID(key)
            heir = next((s.incident for s in self._stories for one in s.alerts if self._free[one.id].incident == gone), None)
            if heir is not None:
                merge(cursor, [gone], heir)
            self.touched.discard(gone)
            self.left.discard(gone)


def silence(cursor: Any, alerts: Collection[UUID], entry: int, by: str, why: str) -> list[UUID]:
    """Alerts that are silenced from now on count in their incidents no longer.

    They leave an incident that is about more; one that is about nothing else keeps them and is closed, with a note.

    Returns
    -------
    list of UUID
        Alerts that are left in the former: they are to be grouped afresh (:func:`group`).
    """
    texts = [str(i) for i in alerts]
    cursor.execute(
        f"SELECT i.id::text, array_agg(o.id::text) FILTER (WHERE o.suppressed_by IS NULL) FROM {INCIDENTS} i "
        f"JOIN {TABLE} o ON o.incident_id = i.id WHERE i.status = ANY(%s) "
        f"AND i.id IN (SELECT incident_id FROM {TABLE} WHERE id = ANY(%s::uuid[])) GROUP BY i.id",
        (list(UNDONE), texts),
    )
    found = cursor.fetchall()
    going_on = [key for key, left in found if left]
    cursor.execute(f"UPDATE {TABLE} SET incident_id = NULL WHERE id = ANY(%s::uuid[]) AND incident_id = ANY(%s::uuid[])", (texts, going_on))
    for key in (key for key, left in found if not left):
        cursor.execute(
            f"UPDATE {INCIDENTS} SET status = 'RESOLVED', closed_at = clock_timestamp(), closed_by = %s, updated_at = clock_timestamp(), "
            "metadata = metadata || %s::jsonb WHERE id = %s",
            (by, json.dumps({"silenced_by": entry}), key),
        )
        cursor.execute(f"INSERT INTO {NOTES} (incident_id, author, note) VALUES (%s, %s, %s)", (key, by, why))
    return [UUID(one) for _, left in found if left for one in left]


def open_again(cursor: Any, alerts: Collection[UUID]) -> None:
    """Incidents that were closed because all their alerts were silenced, and of which one is told after all."""
    if alerts:
        cursor.execute(
            f"UPDATE {INCIDENTS} SET status = 'OPEN', closed_at = NULL, closed_by = NULL, metadata = metadata - 'silenced_by', "
            f"updated_at = clock_timestamp() WHERE status = 'RESOLVED' AND metadata ? 'silenced_by' "
            f"AND id IN (SELECT incident_id FROM {TABLE} WHERE id = ANY(%s::uuid[]))",
            ([str(i) for i in alerts],),
        )


def _exists(cursor: Any, incident: UUID) -> bool:
    cursor.execute(f"SELECT 1 FROM {INCIDENTS} WHERE id = %s", (str(incident),))
    return cursor.fetchone() is not None


def _insert(cursor: Any, story: _Story) -> None:
    cursor.execute(
        f"INSERT INTO {INCIDENTS} (id, title, first_seen, last_seen) VALUES (%s, '', {_MOMENT}, {_MOMENT}) ON CONFLICT (id) DO NOTHING",
        (str(story.incident), story.alerts[0].first_seen, max(s.last_seen for s in story.alerts)),
    )
    cursor.execute(f"DELETE FROM {ALIASES} WHERE alias = %s", (str(story.incident),))


def _renamed(cursor: Any, old: UUID, new: UUID) -> None:
    cursor.execute(f"UPDATE {INCIDENTS} SET id = %s WHERE id = %s", (str(new), str(old)))
    cursor.execute(f"DELETE FROM {ALIASES} WHERE alias = %s", (str(new),))
    cursor.execute(f"INSERT INTO {ALIASES} (alias, incident_id) VALUES (%s, %s)", (str(old), str(new)))


def merge(cursor: Any, ids: Sequence[UUID], into: UUID) -> None:
    """Alerts, notes and former ids of incidents go to another; they are no more, and their ids lead to it."""
    if not ids:
        return
    texts = [str(i) for i in ids]
    for table in (TABLE, NOTES, ALIASES):
        cursor.execute(f"UPDATE {table} SET incident_id = %s WHERE incident_id = ANY(%s::uuid[])", (str(into), texts))
    cursor.execute(f"DELETE FROM {INCIDENTS} WHERE id = ANY(%s::uuid[])", (texts,))
    execute_values(cursor, f"INSERT INTO {ALIASES} (alias, incident_id) VALUES %s", [(i, str(into)) for i in texts], "(%s::uuid, %s::uuid)")


def _follows(cursor: Any, incident: UUID, story: Sequence[Sighting], done: Sequence[_Member], window_us: int) -> None:
    """Say which closed incidents, whose alerts are ``done``, it goes on: those with a host in common, near enough in time."""
    closed = sorted({str(m.incident) for m in done if any(near(m.seen, one, window_us) for one in story)})
    if closed:
        cursor.execute(
            f"UPDATE {INCIDENTS} SET metadata = metadata || %s::jsonb WHERE id = %s", (json.dumps({"follows": closed}), str(incident))
        )
