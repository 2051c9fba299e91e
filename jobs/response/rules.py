"""Rules that block by themselves: which alerts they mean, and each alert decided once.

The alerts are read by the time of their last change, from a cursor kept in the database; the last seconds are read again each time, since a
transaction may become visible after a later one. What makes it once an alert is the row in ``block_decisions``, which is written in the
transaction of the block. An alert that matches only later (its severity has risen) is decided then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from infra.config import Settings
from infra.errors import ResponseError
from infra.log import get
from infra.sections import BlockRule
from jobs.incidents import people
from jobs.response import acts, book, hooks, reach
from jobs.response.addresses import overlap, show, target
from jobs.response.book import Ask, BookedBlock
from jobs.response.counters import BLOCKS
from jobs.response.machine import Surroundings
from jobs.response.reach import Reach
from jobs.response.responder import made
from schemas.alerts import TABLE
from schemas.labels import ATTACKS, FORMER_KINDS, KINDS, kind_named
from schemas.responses import CURSOR, DECISIONS

#: Who acts, for the audit.
ACTOR = "flowlake respond"
#: Seconds of changes that are read again: with each look, and now and then, for a transaction that took very long.
OVERLAP_S, LONG_OVERLAP_S = 10.0, 900.0
#: Alerts of one look; the rest comes with the next.
_AT_ONCE = 500


@dataclass(frozen=True)
class Looked:
    """What one look at the alerts has come to; ``full``: there are more, look again at once."""

    blocked: int = 0
    refused: int = 0
    failed: int = 0
    full: bool = False


def condition(given: Sequence[BlockRule]) -> tuple[str, list[Any]]:
    """The number of the first rule that means an alert ``a``, as SQL, and its values; NULL: none does.

    In the database, since a look must come to an end however many alerts there are that no rule means.
    """
    cases, values = [], list[Any]()
    for number, rule in enumerate(given):
        # The column confidence is a float of 32 bits: 0.9 comes back as 0.89999998.
        cases.append(
            "WHEN (a.kind = ANY(%s) OR a.attack_type = ANY(%s)) AND a.severity >= %s AND round(a.confidence::numeric, 6) >= %s THEN %s"
        )
        values += [spellings(rule.kinds), list(rule.kinds), rule.min_severity, Decimal(str(rule.min_confidence)), number]
    return f"CASE {' '.join(cases)} END", values


def spellings(kinds: Sequence[str]) -> list[str]:
    """Kinds by the names that they have and had: a database may still hold the former ones."""
    now = {kind_named(kind) for kind in kinds}
    return sorted(now | {former for former, kind in FORMER_KINDS.items() if kind in now})


def unknown(given: Sequence[BlockRule]) -> list[str]:
    """Kinds of rules that are neither a kind nor an attack type that we know; a model of one's own may have such labels."""
    return sorted({kind for rule in given for kind in rule.kinds if kind_named(kind) not in KINDS and kind not in ATTACKS})


def look(settings: Settings, around: Surroundings, overlap_s: float = OVERLAP_S) -> Looked:
    """Decide about the alerts that have changed since the last look.

    Parameters
    ----------
    settings
        With at least one rule.
    around
        What is protected.
    overlap_s
        Seconds before the last look that are read again.

    Raises
    ------
    StoreError
        The database of the alerts is away or refuses; what was not decided is decided the next time.
    """
    with people.acting(settings.alerts, ACTOR) as cursor:
        alerts, began = _changed(cursor, settings, overlap_s)
    counts = {"blocked": 0, "refused": 0, "failed": 0, "": 0}
    for alert in alerts:
        counts[_decided(settings, around, settings.response.rules[alert["rule"]], alert)] += 1
    full = len(alerts) == _AT_ONCE
    with people.acting(settings.alerts, ACTOR) as cursor:
        cursor.execute(f"UPDATE {CURSOR} SET seen = %s WHERE seen < %s", [alerts[-1]["updated_at"] if full else began] * 2)
    return Looked(counts["blocked"], counts["refused"], counts["failed"], full)


def _changed(cursor: Any, settings: Settings, overlap_s: float) -> tuple[list[dict[str, Any]], datetime]:
    """Undecided alerts of sources outside that a rule means, by the time of their last change; the first look of all begins now."""
    cursor.execute(f"INSERT INTO {CURSOR} (seen) VALUES (clock_timestamp()) ON CONFLICT DO NOTHING")
    which, values = condition(settings.response.rules)
    cursor.execute(
        f"SELECT a.id::text, host(a.src_ip) AS src_ip, a.attack_type, a.severity, a.confidence::float8, a.updated_at, {which} AS rule, "
        f"extract(epoch FROM clock_timestamp() - a.updated_at)::float8 AS age_s FROM {TABLE} a "
        f"WHERE a.updated_at >= (SELECT seen FROM {CURSOR}) - %s * interval '1 second' AND a.src_ip IS NOT NULL "
        f"AND NOT a.src_ip <<= ANY(%s::inet[]) AND a.resolved_at IS NULL AND {hooks.unsuppressed(cursor)} AND {which} IS NOT NULL "
        f"AND NOT EXISTS (SELECT FROM {DECISIONS} d WHERE d.alert_id = a.id) ORDER BY a.updated_at, a.id LIMIT %s",
        [*values, overlap_s, list(settings.response.inside), *values, _AT_ONCE],
    )
    rows = [dict(row) for row in cursor.fetchall()]
    cursor.execute("SELECT now() AS began")
    return rows, cursor.fetchone()["began"]


def _decided(settings: Settings, around: Surroundings, rule: BlockRule, alert: Mapping[str, Any]) -> str:
    """Act on one alert: ``blocked``, ``refused``, ``failed``, or empty where somebody else has decided."""
    responder = made(settings.response.responder, settings.response)
    ask = Ask(
        target(alert["src_ip"]),
        rule.for_s,
        f"rule {rule.name}",
        f"{alert['attack_type']}, severity {alert['severity']}, confidence {alert['confidence']:.2f}",
        rule.name,
        UUID(alert["id"]),
    )
    why = _against(settings, ask, alert) or acts.refusal(settings, ask, around)
    found = Reach(settings.response.reach_hours) if why else reach.of(settings, ask.network)
    why = why or "; ".join(acts.doubts(settings, ask.network, found))
    written: BookedBlock | None = None
    with people.acting(settings.alerts, ACTOR) as cursor:
        book.one_at_a_time(cursor)
        book.expire(cursor)
        cursor.execute(
            f"INSERT INTO {DECISIONS} (alert_id, rule) SELECT id, %s FROM {TABLE} WHERE id = %s ON CONFLICT DO NOTHING",
            (rule.name, alert["id"]),
        )
        if cursor.rowcount != 1:
            return ""
        why = why or acts.too_much(cursor, settings, ask)
        if why:
            book.refuse(cursor, ask, responder.name, why, found)
        else:
            written = book.write(cursor, ask, responder.name, found)
    if written is None:
        BLOCKS.labels("refused", "rule").inc()
        get("respond").warning("refused", address=show(ask.network), rule=rule.name, alert=alert["id"], why=why)
        return "refused"
    try:
        done = acts.carry_out(settings, responder, ask, written, found)
    except ResponseError as e:
        get("respond").error("failed", address=show(ask.network), rule=rule.name, alert=alert["id"], why=str(e))
        return "failed"
    get("respond").info(
        done.row["state"].lower(), address=show(ask.network), rule=rule.name, alert=alert["id"], until=str(done.row["blocked_until"])
    )
    return "blocked"


def _against(settings: Settings, ask: Ask, alert: Mapping[str, Any]) -> str:
    """What a rule may not do, and a person may."""
    for text in settings.response.inside:
        if overlap(ask.network, ip_network(text)):
            return f"{show(ask.network)} is one of our own networks: {text} (response.inside)"
    if alert["age_s"] > settings.response.auto_max_age_s:
        return f"the alert last changed {alert['age_s']:,.0f} s ago, more than response.auto_max_age_s"
    return ""
