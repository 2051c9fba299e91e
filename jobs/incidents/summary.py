"""What an incident is told as: title, description, priority and numbers, read from its alerts and written beside them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from jobs.incidents import hosts, telling
from jobs.incidents.hosts import SideHosts
from jobs.incidents.telling import StoryPart
from schemas.alerts import SAMPLE_SIZE, SKETCH_SIZE, TABLE
from schemas.assets import TABLE as ASSETS
from schemas.incidents import INCIDENTS, priority
from schemas.labels import REPEATED, STORM, Label

#: A moment in microseconds since the epoch.
_US = "(extract(epoch FROM {0}) * 1000000)::bigint"

#: What somebody wrote as a number of hosts is no more than this.
_MOST = 10**12


def _side(name: str, column: str) -> str:
    """Side of an alert ``a``: its name, the addresses that are known, how many there are; 0: it does not say, -1: there is no such side."""
    told = f"a.details -> '{name}'"
    listed = f"(SELECT array_agg(v) FROM jsonb_array_elements_text({told}) AS of(v) WHERE v <> '')"
    alone = f"array_remove(ARRAY[host(a.{column})], NULL)"
    aggregated = f"a.kind <> 'per-flow' AND jsonb_typeof({told}) = 'array'"
    counted = f"{aggregated} AND jsonb_typeof(a.details -> 'distinct_{name}') = 'number'"
    return (
        f"('{name}', CASE WHEN {aggregated} THEN coalesce({listed}, {alone}) ELSE {alone} END, "
        f"CASE WHEN {counted} THEN CASE (a.details ->> 'distinct_{name}')::numeric WHEN 0 THEN -1 "
        f"ELSE greatest(0, least((a.details ->> 'distinct_{name}')::numeric, {_MOST}))::bigint END "
        f"WHEN a.kind = 'per-flow' AND a.{column} IS NULL THEN -1 ELSE 0 END)"
    )


_PARTS = f"""
SELECT a.incident_id::text, a.attack_type, count(*), sum(a.flow_count)::bigint, {_US.format("min(a.first_seen)")},
    {_US.format("max(a.last_seen)")}, max(a.severity), bool_or(a.kind = '{STORM}'), bool_or(a.kind <> '{REPEATED}' OR a.flow_count > 1)
FROM {TABLE} a WHERE a.incident_id = ANY(%s::uuid[]) AND a.suppressed_by IS NULL GROUP BY a.incident_id, a.attack_type
"""
#: Sides of the alerts, a row each: gathered here, since to sort all addresses takes the database ten times as long.
_HOSTS = f"""
SELECT a.incident_id::text, a.attack_type, s.side, s.named,
    CASE WHEN cardinality(s.named) = 0 THEN s.number ELSE greatest(s.number, cardinality(s.named)) END
FROM {TABLE} a CROSS JOIN LATERAL (VALUES {_side("sources", "src_ip")}, {_side("targets", "dst_ip")}) AS s(side, named, number)
WHERE a.incident_id = ANY(%s::uuid[]) AND a.suppressed_by IS NULL
"""


def _hosts(cursor: Any, ids: Sequence[str]) -> dict[tuple[str, str, str], SideHosts]:
    """Hosts by incident, attack type and side (``sources``, ``targets``), addresses in order."""
    cursor.execute(_HOSTS, (list(ids),))
    whole: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    sampled: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    numbers: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    unknown = set()
    for incident, attack_type, side, named, number in cursor.fetchall():
        key = (incident, attack_type, side)
        if number > len(named):
            sampled[key].update(named)
            numbers[key].append(number)
        elif named or number < 0:
            whole[key].update(named)
        else:
            unknown.add(key)
    found = {}
    for key in {*whole, *sampled, *unknown}:
        most = max(numbers[key], default=0)
        names = tuple(sorted(whole[key])), tuple(sorted(sampled[key]))
        found[key] = SideHosts(*names, most, sum(numbers[key]), most >= SKETCH_SIZE, key in unknown)
    return found


def _names(cursor: Any, parts: Iterable[StoryPart]) -> dict[str, str]:
    """Names of the assets that hold the addresses which a text may name."""
    sides = (side for part in parts for side in (part.sources, part.targets) if len(side.whole) <= hosts.NAMED)
    named = {one for side in sides for one in side.whole if hosts.is_address(one)}
    cursor.execute(
        f"SELECT * FROM (SELECT x.address, (SELECT s.name FROM {ASSETS} s WHERE s.removed_at IS NULL AND s.network >>= x.address::inet "
        "ORDER BY masklen(s.network) DESC LIMIT 1) AS name FROM unnest(%s::text[]) AS x(address)) found WHERE name IS NOT NULL",
        (sorted(named),),
    )
    return dict(cursor.fetchall())


def tell(cursor: Any, ids: Sequence[UUID], labels: Mapping[str, Label]) -> None:
    """Title, description, priority and metadata of incidents from their alerts. A title or priority that a person chose stays."""
    if not ids:
        return
    texts = [str(i) for i in ids]
    sides = _hosts(cursor, texts)
    cursor.execute(_PARTS, (texts,))
    parts: dict[str, list[StoryPart]] = defaultdict(list)
    ends: dict[str, int] = defaultdict(int)
    for key, attack_type, alerts, flows, first, last, severity, storm, seen in cursor.fetchall():
        sources, targets = (sides[key, attack_type, side] for side in ("sources", "targets"))
        seen = seen or (attack_type in labels and not labels[attack_type].by_repetition)
        parts[key].append(StoryPart(attack_type, alerts, flows, first, severity, sources, targets, storm, seen))
        ends[key] = max(ends[key], last)
    names = _names(cursor, (part for of in parts.values() for part in of))
    rows = []
    for key, of in parts.items():
        of.sort(key=lambda part: (part.first_seen, part.attack_type))
        known = [labels[part.attack_type] for part in of if part.attack_type in labels]
        metadata = {
            "alerts": sum(part.alerts for part in of), "flows": sum(part.flows for part in of),
            "attack_types": [part.attack_type for part in of], "stages": telling.stages(of, labels),
            "techniques": sorted({label.technique for label in known if label.technique}),
            "sources": sorted({a for part in of for a in part.sources.whole})[:SAMPLE_SIZE],
            "targets": sorted({a for part in of for a in part.targets.whole})[:SAMPLE_SIZE],
        }  # fmt: skip
        severity = max(part.severity for part in of)
        shown = len(telling.stages((part for part in of if part.seen), labels))
        rows.append(
            (key, telling.title(of, names), telling.description(of, labels, names), priority(severity, shown), json.dumps(metadata),
             min(part.first_seen for part in of), ends[key])
        )  # fmt: skip
    execute_values(
        cursor,
        f"UPDATE {INCIDENTS} i SET title = CASE WHEN i.metadata ? 'titled_by' THEN i.title ELSE n.title END, "
        "priority = CASE WHEN i.metadata ? 'prioritised_by' THEN i.priority ELSE n.priority END, description = n.description, "
        "metadata = i.metadata || n.metadata::jsonb, first_seen = timestamptz 'epoch' + n.first_seen * interval '1 microsecond', "
        "last_seen = timestamptz 'epoch' + n.last_seen * interval '1 microsecond', updated_at = clock_timestamp() "
        "FROM (VALUES %s) AS n (id, title, description, priority, metadata, first_seen, last_seen) WHERE i.id = n.id::uuid",
        rows,
    )
