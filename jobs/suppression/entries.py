"""What people silence and tell again. Each act is one transaction; who did it and why stands in the entry and in the audit.

They take turns with the stream (:data:`jobs.sinks.postgres.LOCK_ALERTS`): an alert is written before an entry is made or after, never half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from infra.errors import ConfigError, StoreError
from infra.networks import Network
from infra.sections import AlertSettings
from jobs.incidents import store as incidents
from jobs.incidents.people import MAX_NAME, MAX_NOTE, text
from jobs.sinks import alertstore, postgres
from jobs.suppression import conditions, occurrences
from schemas.alerts import TABLE as ALERTS
from schemas.labels import Label
from schemas.suppression import CONDITIONS, TABLE, Direction, Repeat, Sort

#: How far back is looked to see how much an entry would silence, and from how many alerts on that says something.
MEASURED_DAYS, MEASURED_ALERTS = 7, 20
_SHOWN = (
    "e.id, e.sort, e.network::text AS network, e.direction, e.kind, e.attack_type, e.port_low, e.port_high, e.sensor_id, e.domain, "
    "e.starts_at, e.ends_at, e.repeats, e.repeats_until, e.timezone, e.reason, e.created_by, e.created_at, e.ended_at, e.ended_by, "
    "e.end_reason, e.withdrawn, e.hits, e.last_hit, "
    "CASE WHEN e.ended_at IS NOT NULL THEN 'ended' WHEN e.starts_at > clock_timestamp() THEN 'to come' "
    "WHEN coalesce(CASE WHEN e.repeats = '' THEN e.ends_at ELSE e.repeats_until END, 'infinity') <= clock_timestamp() THEN 'over' "
    "ELSE 'in force' END AS state, statement_timestamp() AS now"
)
_NAMES = {"whitelist": "whitelist entry", "maintenance": "maintenance window"}


@dataclass(frozen=True)
class NewEntry:
    """What is to be silenced, why, and when: the columns of the table."""

    sort: Sort
    reason: str
    network: Network | None = None
    direction: Direction = "either"
    kind: str | None = None
    attack_type: str | None = None
    port_low: int | None = None
    port_high: int | None = None
    sensor_id: str | None = None
    domain: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    repeats: Repeat = ""
    repeats_until: datetime | None = None
    timezone: str = "UTC"

    def columns(self) -> dict[str, Any]:
        """What is to be written; a whitelist entry begins when it is."""
        values = {
            "sort": self.sort, "reason": self.reason, "network": str(self.network) if self.network else None, "direction": self.direction,
            "kind": self.kind, "attack_type": self.attack_type, "port_low": self.port_low, "port_high": self.port_high,
            "sensor_id": self.sensor_id, "domain": self.domain, "ends_at": self.ends_at, "repeats": self.repeats,
            "repeats_until": self.repeats_until, "timezone": self.timezone,
        }  # fmt: skip
        return values if self.starts_at is None else {**values, "starts_at": self.starts_at}


@dataclass(frozen=True)
class Acting:
    """With what alerts are put into incidents and told: their settings, and what is known about attack types."""

    settings: AlertSettings
    labels: Mapping[str, Label]

    def group(self, cursor: Any, ids: Sequence[UUID]) -> None:
        """Put alerts that are told into incidents."""
        if ids:
            incidents.group(cursor, set(ids), self.labels, self.settings.incident_window_s)


def add(cursor: Any, new: NewEntry, by: str, acting: Acting, *, everything: bool = False) -> tuple[dict[str, Any], tuple[int, int]]:
    """Make an entry.

    Returns
    -------
    tuple
        The entry, and of the alerts of the last :data:`MEASURED_DAYS` days those that fit what it states, and all.

    Raises
    ------
    ConfigError
        It silences too much, and that was not asked for; or there is one like it.
    """
    _lock(cursor)
    values = {**new.columns(), "reason": text(new.reason, "--why", MAX_NOTE), "created_by": text(by, "--by", MAX_NAME)}
    _no_twin(cursor, new)
    cursor.execute(f"INSERT INTO {TABLE} ({', '.join(values)}) VALUES ({', '.join(f'%({name})s' for name in values)}) RETURNING id", values)
    row = find(cursor, cursor.fetchone()["id"], new.sort)
    measured = conditions.share(cursor, row["id"], MEASURED_DAYS)
    _not_too_much(new, row, measured, acting.settings, everything)
    return row, measured


def _no_twin(cursor: Any, new: NewEntry) -> None:
    same = [*CONDITIONS] if new.sort == "whitelist" else [*CONDITIONS, "starts_at", "ends_at"]
    values = new.columns()
    cursor.execute(
        f"SELECT e.id FROM {TABLE} e WHERE e.sort = %(sort)s AND e.ended_at IS NULL AND {conditions.STANDING} AND "
        + " AND ".join(f"e.{name} IS NOT DISTINCT FROM %({name})s{'::cidr' if name == 'network' else ''}" for name in same),
        values,
    )
    if found := cursor.fetchone():
        name = "whitelist remove" if new.sort == "whitelist" else "maintenance end"
        raise ConfigError(
            f"{_NAMES[new.sort]} {found['id']} says the same already",
            f"to change how long it holds: flowlake {name} {found['id']}, then add",
        )


def _not_too_much(new: NewEntry, row: Mapping[str, Any], measured: tuple[int, int], settings: AlertSettings, everything: bool) -> None:
    why = _too_much(new, measured, settings)
    if not why:
        return
    hours = settings.everything_h
    if not everything:
        raise ConfigError(
            f"{why}: nearly nothing would be told",
            f"name a host, a smaller network, --kind or --port; if it must be: --yes-everything, for {hours:g} h at most",
        )
    if row["ends_at"] is None or new.repeats or row["ends_at"] - row["starts_at"] > timedelta(hours=hours):
        raise ConfigError(
            f"{why}: with --yes-everything it must end within {hours:g} h", f"--for {hours:g}h; alerts.everything_h is the bound"
        )


def _too_much(new: NewEntry, measured: tuple[int, int], settings: AlertSettings) -> str:
    """What makes an entry silence too much; empty: nothing does."""
    net = new.network
    if net is not None:
        widest = settings.widest_ipv4 if net.version == 4 else settings.widest_ipv6
        if net.prefixlen < widest:
            return f"{net} is wider than /{widest}"
    elif all(value is None for value in (new.kind, new.attack_type, new.port_low, new.sensor_id, new.domain)):
        return "an entry without a condition silences every alert"
    fitting, everything = measured
    if new.sort == "whitelist" and everything >= MEASURED_ALERTS and fitting > settings.most_suppressed * everything:
        return f"it fits {fitting} of the {everything} alerts of the last {MEASURED_DAYS} days, more than {settings.most_suppressed:.0%}"
    return ""


def find(cursor: Any, entry: int, sort: Sort) -> dict[str, Any]:
    """The entry of a number.

    Raises
    ------
    ConfigError
        There is none.
    """
    cursor.execute(f"SELECT {_SHOWN} FROM {TABLE} e WHERE e.id = %s AND e.sort = %s", (entry, sort))
    row = cursor.fetchone()
    if row is None:
        raise ConfigError(f"there is no {_NAMES[sort]} {entry}", f"flowlake {sort} list --all shows the numbers in its first column")
    return _with_times(row)


def listed(cursor: Any, sort: Sort, *, ended: bool = False) -> list[dict[str, Any]]:
    """Entries of a sort, the newest first; with ``ended`` those that hold no longer too."""
    which = "" if ended else "WHERE state IN ('in force', 'to come')"
    cursor.execute(f"SELECT * FROM (SELECT {_SHOWN} FROM {TABLE} e WHERE e.sort = %s) e {which} ORDER BY id DESC", (sort,))
    return [_with_times(row) for row in cursor.fetchall()]


def _with_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with the times of the occurrence that is, or is the next (``next_start``, ``next_end``); before it, it is to come."""
    starts, ends = occurrences.current_or_next(row, row["now"])
    state = "to come" if row["repeats"] and row["state"] == "in force" and starts > row["now"] else row["state"]
    return {**{name: value for name, value in row.items() if name != "now"}, "state": state, "next_start": starts, "next_end": ends}


def silence_told(cursor: Any, entry: Mapping[str, Any], by: str, acting: Acting) -> list[UUID]:
    """Silence the open alerts that have been told and that an entry fits; returns them. Incidents about nothing else are closed."""
    _lock(cursor)
    ids = conditions.matching(cursor, entry["id"])
    if ids:
        with cursor.connection.cursor() as plain:
            plain.execute(
                f"UPDATE {ALERTS} SET suppressed_by = %s, suppressed_at = clock_timestamp(), updated_at = clock_timestamp() "
                "WHERE id = ANY(%s::uuid[])",
                (entry["id"], [str(one) for one in ids]),
            )
            conditions.count(plain, [entry["id"]] * len(ids))
            why = f"silenced by {_NAMES[entry['sort']]} {entry['id']}: {entry['reason']}"
            acting.group(plain, incidents.silence(plain, ids, entry["id"], text(by, "--by", MAX_NAME), why))
    return ids


def end(cursor: Any, number: int, sort: Sort, by: str, why: str, acting: Acting, *, tell: bool = False) -> tuple[dict[str, Any], int]:
    """End an entry; with ``tell`` what it has silenced is told after all.

    Returns
    -------
    tuple
        The entry, and how many alerts are told.

    Raises
    ------
    StoreError
        It was ended before, or is over, and nothing is to be told.
    """
    _lock(cursor)
    before = find(cursor, number, sort)
    if before["state"] in ("ended", "over") and not tell:
        ended = f"was ended before, by {before['ended_by']}" if before["state"] == "ended" else "is over"
        raise StoreError(f"{_NAMES[sort]} {number} {ended}", "what it silenced stays silenced; --tell tells it after all")
    cursor.execute(
        f"UPDATE {TABLE} SET ended_at = coalesce(ended_at, clock_timestamp()), ended_by = coalesce(ended_by, %s), "
        "end_reason = coalesce(end_reason, %s), withdrawn = withdrawn OR %s, updated_at = clock_timestamp() WHERE id = %s",
        (text(by, "--by", MAX_NAME), text(why, "--why", MAX_NOTE) if why else None, tell, number),
    )
    told = _told_after_all(cursor, number, acting) if tell else 0
    return find(cursor, number, sort), told


def _told_after_all(cursor: Any, entry: int, acting: Acting) -> int:
    cursor.execute(f"SELECT id::text AS id FROM {ALERTS} WHERE suppressed_by = %s", (entry,))
    decided = conditions.decide(cursor, [UUID(row["id"]) for row in cursor.fetchall()])
    if not decided:
        return 0
    told = [key for key, other in decided.items() if other is None]
    with cursor.connection.cursor() as plain:
        plain.execute(
            f"UPDATE {ALERTS} a SET suppressed_by = n.entry, suppressed_at = CASE WHEN n.entry IS NOT NULL THEN clock_timestamp() END, "
            "updated_at = clock_timestamp() FROM unnest(%s::uuid[], %s::bigint[]) AS n(id, entry) WHERE a.id = n.id",
            ([str(key) for key in decided], list(decided.values())),
        )
        conditions.count(plain, [other for other in decided.values() if other is not None])
        incidents.open_again(plain, told)
        alertstore.tell(plain, told, acting.settings.min_severity)
        acting.group(plain, told)
    return len(told)


def silencing(cursor: Any, alert: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries that silence an alert about one host at this moment.

    Parameters
    ----------
    alert
        ``source`` and ``target``: the host's address where it may be that side, else null; ``kind``, ``attack_type``, ``port``: null
        where they do not matter, so that an entry which states them is among them.
    """
    cursor.execute(
        f"SELECT {_SHOWN} FROM {TABLE} e CROSS JOIN LATERAL (SELECT coalesce(%(kind)s, e.kind, 'repeated') AS kind, "
        "coalesce(%(attack_type)s, e.attack_type) AS attack_type, e.sensor_id, e.domain, %(source)s::inet AS src_ip, "
        "%(target)s::inet AS dst_ip, statement_timestamp() AS first_seen, statement_timestamp() AS last_seen, jsonb_build_object("
        "'sources', array_remove(ARRAY[%(source)s::text], NULL), 'targets', array_remove(ARRAY[%(target)s::text], NULL), "
        "'ports', ARRAY[coalesce(%(port)s, e.port_low, 0)], 'dst_port', coalesce(%(port)s, e.port_low, 0)) AS details) a "
        f"WHERE {conditions.FITS} ORDER BY e.id",
        dict(alert),
    )
    return [_with_times(row) for row in cursor.fetchall()]


def _lock(cursor: Any) -> None:
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_ALERTS,))
