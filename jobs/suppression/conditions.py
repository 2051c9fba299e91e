"""Which alerts an entry silences. The condition is SQL and stands here alone: the stream, the commands and the measuring use this text.

An entry fits an alert when all that it states holds:

- **network**: every source of the alert (``source``), every target (``target``), or all of one side (``either``) lie in it. An alert of
  which one address lies elsewhere is told. Up to :data:`schemas.alerts.SAMPLE_SIZE` addresses of a side are known one by one, of more the
  lowest and the highest (:mod:`jobs.sinks.spans`). ``::ffff:192.0.2.1`` is ``192.0.2.1``.
- **port**: every destination port of the alert lies in the range. An alert with more ports than are known one by one fits none.
- **kind**, **attack type**, **sensor**, **domain**: equal.
- **time**: a whitelist entry by the clock of the database, when the alert is written. A maintenance window by event time: all evidence of
  the alert, from ``first_seen`` to ``last_seen``, lies within one occurrence of it; what began before or goes on after is told.

More evidence can only make an entry fit an alert no longer - but for the attack type of a single flow, which its final record may change.
So what is silenced in the end depends neither on the order of the evidence nor on where batches were cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from schemas.alerts import TABLE as ALERTS
from schemas.suppression import TABLE

#: An IPv4 address that is written as IPv6, as the IPv4 address that it is.
_PLAIN = "CASE WHEN {0} <<= inet '::ffff:0:0/96' THEN inet '0.0.0.0' + ({0} - inet '::ffff:0.0.0.0') ELSE {0} END"
_INET = "nullif({0}, '')::inet"


def _all_of(name: str, holds: str) -> str:
    """All values that the alert knows of a set hold, and it knows all: ``holds`` is about ``x.v``, a text."""
    values = f"a.details -> '{name}s'"
    return (
        f"(jsonb_typeof({values}) = 'array' AND jsonb_array_length({values}) > 0 "
        f"AND coalesce((a.details ->> 'distinct_{name}s')::bigint, 0) <= jsonb_array_length({values}) "
        f"AND NOT EXISTS (SELECT FROM jsonb_array_elements_text({values}) AS x(v) WHERE ({holds}) IS NOT TRUE))"
    )


def _side(name: str, column: str) -> str:
    """All addresses of a side lie in the network; what an alert about one flow says stands in its columns."""
    each = f"{_PLAIN.format(_INET.format('x.v'))} <<= e.network"
    single = f"{_PLAIN.format(f'a.{column}')} <<= e.network"
    values = (f"a.details -> '{name}_ends' ->> {i}" for i in (0, 1))
    ends = " AND ".join(f"{_PLAIN.format(_INET.format(value))} <<= e.network" for value in values)
    # One of them first: most entries are about other hosts, and this costs a twentieth.
    first = _INET.format(f"a.details -> '{name}s' ->> 0")
    some = f"CASE WHEN a.kind = 'per-flow' OR a.{column} IS NOT NULL THEN a.{column} ELSE {first} END"
    return (
        f"({_PLAIN.format(f'({some})')} <<= e.network "
        f"AND CASE a.kind WHEN 'per-flow' THEN {single} ELSE {_all_of(name, each)} OR ({ends}) END IS TRUE)"
    )


_ADDRESS = (
    f"(e.network IS NULL OR (e.direction <> 'target' AND {_side('source', 'src_ip')}) "
    f"OR (e.direction <> 'source' AND {_side('target', 'dst_ip')}))"
)
#: Details of a single flow may be anything: alerts of another system have moved in with their own.
_ONE_PORT = (
    "CASE WHEN a.details ->> 'dst_port' ~ '^[0-9]{1,5}$' THEN (a.details ->> 'dst_port')::integer END BETWEEN e.port_low AND e.port_high"
)
_PORT = (
    f"(e.port_low IS NULL OR CASE a.kind WHEN 'per-flow' THEN {_ONE_PORT} "
    f"ELSE {_all_of('port', 'x.v::integer BETWEEN e.port_low AND e.port_high')} END IS TRUE)"
)
_NAMES = " AND ".join(f"(e.{name} IS NULL OR e.{name} = a.{name})" for name in ("kind", "attack_type", "sensor_id", "domain"))

_LOCAL = "({0} AT TIME ZONE e.timezone)"
_PERIOD = "(CASE e.repeats WHEN 'day' THEN interval '1 day' ELSE interval '7 days' END)"
#: Start of the occurrence that an alert would lie in, by the wall clock of the entry's time zone: change of clocks does not move it.
_OCCURRENCE = (
    f"({_LOCAL.format('e.starts_at')} + {_PERIOD} * floor(extract(epoch FROM {_LOCAL.format('a.first_seen')} - "
    f"{_LOCAL.format('e.starts_at')}) / extract(epoch FROM {_PERIOD})))"
)
_IN_OCCURRENCE = (
    f"({_OCCURRENCE} >= {_LOCAL.format('e.starts_at')} "
    f"AND {_LOCAL.format('a.last_seen')} <= {_OCCURRENCE} + ({_LOCAL.format('e.ends_at')} - {_LOCAL.format('e.starts_at')}) "
    f"AND (e.repeats_until IS NULL OR {_OCCURRENCE} < {_LOCAL.format('e.repeats_until')}))"
)
_IN_WINDOW = (
    "(a.first_seen >= e.starts_at AND (e.ended_at IS NULL OR a.last_seen <= e.ended_at) "
    f"AND CASE WHEN e.repeats = '' THEN a.last_seen <= e.ends_at ELSE {_IN_OCCURRENCE} END)"
)
#: By the clock: the entry is one that may silence what is written now.
STANDING = (
    "(NOT e.withdrawn AND (e.sort = 'maintenance' OR (e.ended_at IS NULL AND e.starts_at <= clock_timestamp() "
    "AND (e.ends_at IS NULL OR e.ends_at > clock_timestamp()))))"
)
#: What an entry ``e`` states of an alert ``a``, times left out.
STATED = f"({_ADDRESS} AND {_PORT} AND {_NAMES})"
#: An entry ``e`` silences an alert ``a`` that is written now.
FITS = f"({STANDING} AND {STATED} AND (e.sort = 'whitelist' OR {_IN_WINDOW}))"

#: The entry that silences an alert ``a``: of several the oldest; NULL when none does.
_FIRST = f"(SELECT e.id FROM {TABLE} e WHERE {FITS} ORDER BY e.id LIMIT 1)"


@dataclass(frozen=True)
class Decision:
    """About alerts that are written: those silenced and their entries, the entries of those that were not before, and those told again."""

    silenced: Mapping[UUID, int]
    fresh: tuple[int, ...]
    told_again: tuple[UUID, ...]


def mark(cursor: Any, stage: str) -> Decision:
    """Decide which alerts that are about to be written are silenced, and by which entry.

    An alert that has been told stays told: only those that are new, or silenced so far, are looked at. Those are decided afresh, so one
    whose entry no longer fits or holds is told with its new evidence.

    Parameters
    ----------
    cursor
        Of the transaction that writes them.
    stage
        Table of the alerts as they are to be written; gets ``suppressed_by``, ``suppressed_at`` and ``notified_severity``.
    """
    cursor.execute(
        f"SELECT a.id::text, {_FIRST}, was.suppressed_by FROM {stage} a LEFT JOIN {ALERTS} was ON was.id = a.id "
        "WHERE was.id IS NULL OR was.suppressed_by IS NOT NULL"
    )
    rows = [(UUID(key), entry, before) for key, entry, before in cursor.fetchall()]
    silenced = {key: entry for key, entry, _ in rows if entry is not None}
    fresh = tuple(entry for _, entry, before in rows if entry is not None and entry != before)
    if silenced:
        cursor.execute(
            f"UPDATE {stage} s SET suppressed_by = n.entry, notified_severity = coalesce(was.notified_severity, 0), "
            "suppressed_at = CASE WHEN was.suppressed_by = n.entry THEN was.suppressed_at ELSE clock_timestamp() END "
            f"FROM unnest(%s::uuid[], %s::bigint[]) AS n(id, entry) LEFT JOIN {ALERTS} was ON was.id = n.id WHERE s.id = n.id",
            ([str(key) for key in silenced], list(silenced.values())),
        )
        count(cursor, fresh)
    return Decision(silenced, fresh, tuple(key for key, entry, before in rows if entry is None and before is not None))


def count(cursor: Any, entries: Sequence[int]) -> None:
    """Note at each entry the alerts that it has silenced, one an element."""
    if entries:
        cursor.execute(
            f"UPDATE {TABLE} e SET hits = e.hits + n.hits, last_hit = clock_timestamp() FROM (SELECT entry, count(*) AS hits "
            "FROM unnest(%s::bigint[]) AS entry GROUP BY entry) n WHERE e.id = n.entry",
            (list(entries),),
        )


def matching(cursor: Any, entry: int, *, unresolved: bool = True) -> list[UUID]:
    """Alerts that have been told and that an entry would silence, as they are now."""
    which = "AND a.resolved_at IS NULL" if unresolved else ""
    cursor.execute(
        f"SELECT a.id::text AS id FROM {ALERTS} a, {TABLE} e WHERE e.id = %s AND a.suppressed_by IS NULL {which} AND {FITS} ORDER BY a.id",
        (entry,),
    )
    return [UUID(_first(row)) for row in cursor.fetchall()]


def share(cursor: Any, entry: int, days: int) -> tuple[int, int]:
    """Of the alerts that were raised in the last ``days`` days: those that fit what an entry states, and all."""
    cursor.execute(
        f"SELECT count(*) FILTER (WHERE {STATED}) AS fitting, count(*) AS everything FROM {ALERTS} a, {TABLE} e "
        "WHERE e.id = %s AND a.created_at > clock_timestamp() - %s * interval '1 day'",
        (entry, days),
    )
    row = cursor.fetchone()
    return (int(row["fitting"]), int(row["everything"])) if isinstance(row, Mapping) else (int(row[0]), int(row[1]))


def decide(cursor: Any, ids: Sequence[UUID]) -> dict[UUID, int | None]:
    """The entry that silences each of some alerts, as they are now."""
    cursor.execute(f"SELECT a.id::text AS id, {_FIRST} AS entry FROM {ALERTS} a WHERE a.id = ANY(%s::uuid[])", ([str(one) for one in ids],))
    return {UUID(row["id"]): row["entry"] for row in cursor.fetchall()}


def _first(row: Any) -> str:
    return str(row["id"] if isinstance(row, Mapping) else row[0])
