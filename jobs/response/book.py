"""The table ``blocks``: what was asked for, what came of it, what holds. Nothing here reaches beyond the database.

Each function works in the transaction of the cursor it is given, which says who acts (:func:`jobs.incidents.people.acting`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import Any
from uuid import UUID, uuid4

from jobs.incidents import guards, ids
from jobs.response.addresses import Network, mapped_away, show
from jobs.response.reach import Reach
from jobs.response.responder import DRY_RUN, BlockOrder
from jobs.sinks import postgres
from schemas.alerts import TABLE
from schemas.responses import BLOCKS, HOLDING, TAKEN_BLOCKED, TAKEN_LOGGED

#: Seconds of what is refused may be any number; so many, a century, fit into a time of PostgreSQL.
_LONGEST_S = 3_155_760_000.0
#: Name in the audit of what happens because a time is over.
_CLOCK = "flowlake"
_SHOWN = (
    "id::text, CASE WHEN masklen(address) = CASE family(address) WHEN 4 THEN 32 ELSE 128 END THEN host(address) ELSE address::text END "
    "AS address, asked_at, asked_by, rule, why, alert_id::text, incident_id::text, blocked_from, blocked_until, "
    "CASE WHEN state = ANY(%(holding)s) AND blocked_until <= clock_timestamp() THEN 'EXPIRED' ELSE state END AS state, "
    "responder, error, applied_at, lifted_by, asks, reach, "
    f"least(greatest(0, extract(epoch FROM blocked_until - clock_timestamp())), {_LONGEST_S:.0f})::float8 AS seconds"  # until infinity, too
)


@dataclass(frozen=True)
class Ask:
    """What somebody, or a rule, wants."""

    network: Network
    seconds: float
    by: str
    why: str = ""
    rule: str = ""  # empty: a person
    alert: UUID | None = None
    incident: UUID | None = None


@dataclass(frozen=True)
class BookedBlock:
    """A block that is written down: its row, and whether it was there before (``held``) with a time as long (``longer`` is false then)."""

    row: Mapping[str, Any]
    held: bool = False
    longer: bool = True


def one_at_a_time(cursor: Any) -> None:
    """Until the transaction ends nobody else writes blocks down, so that what is counted stays true."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_BLOCKS,))


def expire(cursor: Any) -> int:
    """Mark blocks whose time is over, in the audit by nobody's hand; how many."""
    cursor.execute(
        "SELECT set_config('flowlake.was', current_setting(%s, true), true), set_config(%s, %s, true)",
        (guards.ACTOR, guards.ACTOR, _CLOCK),
    )
    cursor.execute(
        f"UPDATE {BLOCKS} SET state = 'EXPIRED' WHERE state = ANY(%s) AND blocked_until <= clock_timestamp()",
        (list(HOLDING),),
    )
    expired = int(cursor.rowcount)
    cursor.execute("SELECT set_config(%s, current_setting('flowlake.was'), true)", (guards.ACTOR,))
    return expired


def counted(cursor: Any, responder: str) -> tuple[int, int, int]:
    """Blocks of a responder that hold; those of them by rules; and blocks by rules of the last minute."""
    cursor.execute(
        "SELECT count(*) FILTER (WHERE holds) AS holding, count(*) FILTER (WHERE holds AND rule <> '') AS by_rules, "
        "count(*) FILTER (WHERE rule <> '' AND state <> 'REFUSED' AND asked_at > clock_timestamp() - interval '1 minute') AS lately "
        f"FROM (SELECT state = ANY(%s) AS holds, rule, state, asked_at FROM {BLOCKS} WHERE responder = %s "
        "AND (state = ANY(%s) OR asked_at > clock_timestamp() - interval '1 minute')) b",
        (list(HOLDING), responder, list(HOLDING)),
    )
    row = cursor.fetchone()
    return int(row["holding"]), int(row["by_rules"]), int(row["lately"])


def write(cursor: Any, ask: Ask, responder: str, reach: Reach) -> BookedBlock:
    """Write a block down; one that holds already gets the longer of both times, and with it the newer reason."""
    state = "DRY_RUN" if responder == DRY_RUN else "ACTIVE"
    before = holding_one(cursor, ask.network, responder)
    if before is not None:
        cursor.execute(
            f"WITH now_is AS (SELECT clock_timestamp() + %(seconds)s * interval '1 second' AS until) UPDATE {BLOCKS} b SET "
            "asks = asks + 1, why = CASE WHEN n.until > blocked_until AND %(why)s <> '' THEN %(why)s ELSE why END, "
            "applied_at = CASE WHEN n.until > blocked_until THEN NULL ELSE applied_at END, "
            "blocked_until = greatest(blocked_until, n.until), alert_id = coalesce(alert_id, %(alert)s), "
            "incident_id = coalesce(incident_id, %(incident)s) FROM now_is n WHERE id = %(id)s",
            {"seconds": ask.seconds, "why": ask.why, "id": before["id"], **_told(ask)},
        )
        after = one(cursor, before["id"])
        return BookedBlock(after, held=True, longer=after["blocked_until"] > before["blocked_until"])
    return BookedBlock(_insert(cursor, ask, responder, reach, state, ""))


def refuse(cursor: Any, ask: Ask, responder: str, why: str, reach: Reach | None = None) -> Mapping[str, Any]:
    """Write down what was refused, and why."""
    return _insert(cursor, ask, responder, reach, "REFUSED", why)


def _told(ask: Ask) -> dict[str, Any]:
    return {"alert": str(ask.alert) if ask.alert else None, "incident": str(ask.incident) if ask.incident else None}


def _insert(cursor: Any, ask: Ask, responder: str, reach: Reach | None, state: str, error: str) -> Mapping[str, Any]:
    key = str(uuid4())
    cursor.execute(
        f"INSERT INTO {BLOCKS} (id, address, asked_by, rule, why, alert_id, incident_id, blocked_from, blocked_until, state, responder, "
        "error, reach) VALUES (%(id)s, %(address)s, %(by)s, %(rule)s, %(why)s, %(alert)s, %(incident)s, clock_timestamp(), "
        "clock_timestamp() + %(seconds)s * interval '1 second', %(state)s, %(responder)s, %(error)s, %(reach)s)",
        {
            "id": key, "address": show(ask.network), "by": ask.by, "rule": ask.rule, "why": ask.why,
            "seconds": min(ask.seconds, _LONGEST_S), "state": state, "responder": responder, "error": error,
            "reach": json.dumps(asdict(reach) if reach else {}), **_told(ask),
        },
    )  # fmt: skip
    return one(cursor, key)


def one(cursor: Any, key: str) -> Mapping[str, Any]:
    """The row of an id."""
    cursor.execute(f"SELECT {_SHOWN} FROM {BLOCKS} WHERE id = %(id)s::uuid", {"id": key, "holding": list(HOLDING)})
    found: Mapping[str, Any] = cursor.fetchone()
    return found


def holding_one(cursor: Any, network: Network, responder: str | None = None) -> Mapping[str, Any] | None:
    """The block of just this address or network that holds; of several responders the one that really blocks first."""
    cursor.execute(
        f"SELECT {_SHOWN} FROM {BLOCKS} WHERE address = %(address)s::inet AND state = ANY(%(holding)s) "
        "AND blocked_until > clock_timestamp() AND (%(responder)s IS NULL OR responder = %(responder)s) ORDER BY state LIMIT 1",
        {"address": show(network), "holding": list(HOLDING), "responder": responder},
    )
    found: Mapping[str, Any] | None = cursor.fetchone()
    return found


def wider(cursor: Any, network: Network) -> list[str]:
    """Networks around this one that are blocked as well."""
    cursor.execute(
        f"SELECT DISTINCT address::text FROM {BLOCKS} WHERE address >> %s::inet AND state = 'ACTIVE' "
        "AND blocked_until > clock_timestamp() ORDER BY 1",
        (show(network),),
    )
    return [row["address"] for row in cursor.fetchall()]


def holding(cursor: Any, responder: str) -> dict[Network, float]:
    """All that a responder is to block now: network -> seconds."""
    cursor.execute(
        f"SELECT address::text, least(extract(epoch FROM blocked_until - clock_timestamp()), {_LONGEST_S:.0f})::float8 AS seconds "
        f"FROM {BLOCKS} WHERE responder = %s AND state = 'ACTIVE' AND blocked_until > clock_timestamp()",
        (responder,),
    )
    return {ip_network(row["address"]): float(row["seconds"]) for row in cursor.fetchall()}


def listed(cursor: Any, *, network: Network | None = None, all_states: bool = False, limit: int = 100) -> list[dict[str, Any]]:
    """Rows, the newest first; ``network``: those that share an address with it; else only what holds now."""
    where = ["true"] if all_states else ["state = ANY(%(holding)s) AND blocked_until > clock_timestamp()"]
    if network is not None:
        where.append("address && %(network)s::inet")
    cursor.execute(
        f"SELECT {_SHOWN} FROM {BLOCKS} WHERE {' AND '.join(where)} ORDER BY asked_at DESC, id LIMIT %(limit)s",
        {"holding": list(HOLDING), "network": network and show(network), "limit": limit},
    )
    return [dict(row) for row in cursor.fetchall()]


def count(cursor: Any) -> int:
    """How many there are, in whatever state."""
    cursor.execute(f"SELECT count(*) AS there FROM {BLOCKS}")
    return int(cursor.fetchone()["there"])


def unapplied(cursor: Any, responder: str, after_s: float) -> list[dict[str, Any]]:
    """Blocks that hold and that nobody has reported as done: whoever was to do it has ended in between."""
    cursor.execute(
        f"SELECT {_SHOWN} FROM {BLOCKS} WHERE responder = %(responder)s AND state = 'ACTIVE' AND applied_at IS NULL "
        "AND blocked_until > clock_timestamp() AND asked_at < clock_timestamp() - %(after)s * interval '1 second' "
        "ORDER BY asked_at LIMIT 100",
        {"holding": list(HOLDING), "responder": responder, "after": after_s},
    )
    return [dict(row) for row in cursor.fetchall()]


def done(cursor: Any, key: str) -> None:
    """The responder has done it; the alerts of it say so."""
    cursor.execute(
        f"UPDATE {BLOCKS} SET applied_at = coalesce(applied_at, clock_timestamp()), error = '' WHERE id = %s::uuid "
        "RETURNING state, address::text, alert_id::text, incident_id::text",
        (key,),
    )
    row = cursor.fetchone()
    if row is not None:
        say_taken(cursor, row, TAKEN_LOGGED if row["state"] == "DRY_RUN" else TAKEN_BLOCKED)


def say_taken(cursor: Any, row: Mapping[str, Any], taken: str) -> None:
    """``action_taken`` of the alert, and of those of the incident that the address is a part of.

    One that was blocked stays so, and what a person has written is no dry run's to change.
    """
    cursor.execute(
        f"UPDATE {TABLE} SET action_taken = %(taken)s, updated_at = clock_timestamp() WHERE action_taken NOT IN (%(taken)s, %(blocked)s) "
        "AND (%(taken)s = %(blocked)s OR action_taken = 'none') AND (id = %(alert)s::uuid OR (incident_id = %(incident)s::uuid AND "
        "(src_ip <<= %(address)s::inet OR dst_ip <<= %(address)s::inet OR details -> 'sources' ? host(%(address)s::inet))))",
        {
            "taken": taken, "blocked": TAKEN_BLOCKED, "alert": row["alert_id"], "incident": row["incident_id"], "address": row["address"]
        },
    )  # fmt: skip


def failed(cursor: Any, key: str, error: str, *, lifting: bool = False, extending: bool = False) -> None:
    """The responder has not done it: a block has failed; one that was to be lifted still holds; a longer time is tried again (sync)."""
    change = "state = 'ACTIVE', lifted_by = NULL, error = %s" if lifting else "error = %s" if extending else "state = 'FAILED', error = %s"
    # Somebody may have blocked it again meanwhile: then that block holds, and this one stays lifted.
    cursor.execute(
        f"UPDATE {BLOCKS} b SET {change} WHERE id = %s::uuid AND state = %s AND NOT EXISTS (SELECT FROM {BLOCKS} o "
        "WHERE o.id <> b.id AND o.address = b.address AND o.responder = b.responder AND o.state = ANY(%s))",
        (error, key, "LIFTED" if lifting else "ACTIVE", list(HOLDING)),
    )


def lift(cursor: Any, key: str, by: str) -> bool:
    """End a block before its time; false: it holds no more."""
    cursor.execute(
        f"UPDATE {BLOCKS} SET state = 'LIFTED', lifted_by = %s WHERE id = %s::uuid AND state = ANY(%s) "
        "AND blocked_until > clock_timestamp()",
        (by, key, list(HOLDING)),
    )
    return bool(cursor.rowcount == 1)


def alert_named(cursor: Any, given: str) -> UUID:
    """The alert of an id, or of the beginning of one.

    Raises
    ------
    ConfigError
        It names none, or several.
    """
    return UUID(ids.alert(cursor, given))


def concerned(cursor: Any, alert: UUID | None, incident: UUID | None) -> list[Network]:
    """Addresses that an alert, or the alerts of an incident, are about: sources before targets. Of a crowd a sample is named."""
    cursor.execute(
        "SELECT DISTINCT side, one.address::inet::text AS address FROM "
        f"(SELECT src_ip, dst_ip, details FROM {TABLE} WHERE id = %(alert)s::uuid OR incident_id = %(incident)s::uuid) a, LATERAL ("
        "SELECT 1 AS side, host(src_ip) AS address UNION ALL SELECT 2, host(dst_ip) "
        "UNION ALL SELECT 1, jsonb_array_elements_text(CASE jsonb_typeof(details -> 'sources') WHEN 'array' THEN details -> 'sources' "
        "ELSE '[]' END) UNION ALL SELECT 2, jsonb_array_elements_text(CASE jsonb_typeof(details -> 'targets') WHEN 'array' "
        "THEN details -> 'targets' ELSE '[]' END)) one WHERE one.address IS NOT NULL ORDER BY side, address",
        {"alert": str(alert) if alert else None, "incident": str(incident) if incident else None},
    )
    return list(dict.fromkeys(mapped_away(ip_network(row["address"])) for row in cursor.fetchall()))


def order(row: Mapping[str, Any], action: str, by: str) -> BlockOrder:
    """What a responder is told of a row."""
    until: datetime = row["blocked_until"]
    return BlockOrder(
        "unblock" if action == "unblock" else "block",
        UUID(row["id"]),
        ip_network(row["address"]),
        until,
        float(row["seconds"]),
        by,
        row["why"],
        UUID(row["alert_id"]) if row["alert_id"] else None,
        UUID(row["incident_id"]) if row["incident_id"] else None,
        int(row["asks"]),
    )
