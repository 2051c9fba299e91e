"""Storms: more alerts of one attack type in one episode than anybody reads become one alert, of kind ``storm``.

Forged sources make as many alerts as an attacker likes. So of each attack type, observation domain and episode at most
``alerts.storm_alerts`` alerts have rows of their own; what would be one more is counted in the storm's: its flows, each once, its sources,
targets and ports. The bound is held twice. A task folds what is beyond it in its share of a batch, so that a batch leaves it as so many
rows whatever came in; the driver folds what is beyond it in the table. An alert that is there goes on growing.

Which alerts have rows of their own depends on what came first, and within a batch on which have most flows. What is folded is told by what
the table holds, and merges as all evidence does: evidence that comes again changes nothing.
"""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sinks import alertbook, sketch, spans, tops
from jobs.sinks.alertbook import Evidence
from jobs.sinks.candidates import MAX_HELD
from schemas.alerts import PARTIAL_SCHEMA, SAMPLE_SIZE, TABLE, alert_id, alert_key
from schemas.labels import AT_ONCE, STORM

#: Attack type, domain, episode.
Group = tuple[str, str, int]
#: Groups whose number of alerts is known without asking the database.
_KEPT_GROUPS = 1000


def _episode(first_seen: int, episode_s: float) -> int:
    return first_seen // round(episode_s * 1e6)


def storm_id(group: Group, namespace: str = "") -> UUID:
    """Id of the storm of an attack type, a domain and an episode."""
    attack_type, domain, episode = group
    return alert_id(alert_key(STORM, attack_type, domain, episode, "", "", "", namespace=namespace))


def bounded(rows: pa.Table, limit: int, episode_s: float, namespace: str = "") -> pa.Table:
    """Evidence of a task, with what is beyond the bound of its group folded.

    Parameters
    ----------
    rows
        :data:`schemas.alerts.PARTIAL_SCHEMA`, one row an alert.
    limit
        Alerts of a group. Of what is no alert yet (a probe by itself), as many as candidates are held.
    episode_s
        Seconds of event time of an episode.
    namespace
        That of the record type (:class:`schemas.records.AlertRules`).

    Returns
    -------
    pa.Table
        The same schema, at most ``limit`` or :data:`jobs.sinks.candidates.MAX_HELD` rows a group and its storm.
    """
    if rows.num_rows <= limit:
        return rows
    at_once = np.isin(np.array(rows["kind"].to_pylist(), object), list(AT_ONCE))
    groups = defaultdict(list)
    heads = zip(rows["attack_type"].to_pylist(), rows["domain"].to_pylist(), rows["first_seen"].to_pylist(), strict=True)
    for i, (attack_type, domain, first_seen) in enumerate(heads):
        groups[attack_type, domain, _episode(first_seen, episode_s)].append(i)
    keep = np.ones(rows.num_rows, np.bool_)
    folded = []
    for group, members in groups.items():
        most = limit if at_once[members[0]] else max(limit, MAX_HELD)
        if len(members) <= most:
            continue
        at = np.array(members)
        beyond = at[_largest_first(rows.take(at))[most:]]
        keep[beyond] = False
        folded.append(fold(rows.take(np.sort(beyond)), storm_id(group, namespace)))
    return pa.concat_tables([rows.filter(pa.array(keep)), *folded]) if folded else rows


def _largest_first(rows: pa.Table) -> Any:
    """Places of the rows, those with most flows first; of two alike, the smaller id."""
    flows = pc.binary_length(rows["flows"]).to_numpy()
    ids = rows["id"].cast(pa.binary()).to_pylist()
    return np.array(sorted(range(rows.num_rows), key=lambda i: (-flows[i], ids[i])), np.int64)


def fold(rows: pa.Table, into: UUID) -> pa.Table:
    """Evidence of several alerts as that of one: their storm's.

    Parameters
    ----------
    rows
        At least one row of :data:`schemas.alerts.PARTIAL_SCHEMA`, of one attack type and domain.
    into
        Its id.

    Returns
    -------
    pa.Table
        One row of the same schema. Sensor and model are those of the earliest.
    """
    earliest = rows.take([int(np.argmin(rows["first_seen"].to_numpy()))]).to_pylist()[0]
    row = {
        **{name: earliest[name] for name in ("attack_type", "domain", "sensor_id", "model_version")},
        "id": into.bytes,
        "kind": STORM,
        "first_seen": pc.min(rows["first_seen"]).as_py(),
        "last_seen": pc.max(rows["last_seen"]).as_py(),
        "evidence": pc.min(rows["evidence"]).as_py(),
        "confidence": pc.max(rows["confidence"]).as_py(),
        "importance": pc.max(rows["importance"]).as_py(),
        "looks": b"",
        "closed": True,
        "flow": "",
        **tops.of_rows(rows),
    }
    single = pc.equal(rows["kind"], "per-flow")
    named = [json.loads(text)["flow_id"] for text in rows.filter(single)["flow"].to_pylist()]
    flows = np.concatenate([_hashes(rows["flows"]), sketch.hashes(named)]) if named else _hashes(rows["flows"])
    row["flows"] = sketch.pack(np.unique(flows))
    for name in alertbook.SETS:
        sample = pc.unique(pc.list_flatten(rows[f"{name}_sample"])).to_pylist()
        found = _hashes(rows[f"{name}s"])
        if named and name != "port":  # a single flow's addresses are in its sample only
            found = np.concatenate([found, sketch.hashes(sample)])
        row[f"{name}s"] = sketch.pack(np.unique(found)[: sketch.SKETCH_SIZE])
        row[f"{name}_sample"] = sketch.sample(filter(None, sample))
    for side in spans.SIDES:
        row[f"{side}_ends"] = _ends(rows, side) if len(row[f"{side}s"]) > SAMPLE_SIZE * 8 else []
    row["flow_sample"] = sketch.sample([*pc.unique(pc.list_flatten(rows["flow_sample"])).to_pylist(), *named])
    return pa.Table.from_pylist([row], PARTIAL_SCHEMA)


def _ends(rows: pa.Table, side: str) -> list[str]:
    """Lowest and highest address of a side of all; nothing where not all is known of one."""
    found: set[str] = set()
    columns = (rows[f"{side}_sample"], rows[f"{side}s"], rows[f"{side}_ends"], rows["kind"])
    for sample, hashes, ends, kind in zip(*(column.to_pylist() for column in columns), strict=True):
        whole = kind == "per-flow" or len(hashes) == 8 * len(sample)
        if not whole and not ends:
            return []
        found.update(sample if whole else ends)
    return spans.ends(found)


def _hashes(column: pa.ChunkedArray) -> Any:
    return sketch.unpack(b"".join(column.to_pylist()))


class Storms:
    """How many alerts there are of each group, and what is beyond the bound, for one record type in one database.

    Parameters
    ----------
    limit
        Alerts of a group that have rows of their own.
    episode_s
        Seconds of event time of an episode.
    record_type, namespace
        Name of the record type, and its namespace.
    """

    def __init__(self, limit: int, episode_s: float, record_type: str, namespace: str = "") -> None:
        self._limit = limit
        self._episode_s = episode_s
        self._record_type = record_type
        self._namespace = namespace
        self._count: OrderedDict[Group, int] = OrderedDict()
        self._staged: dict[Group, int] = {}

    def fold(self, cursor: Any, due: Sequence[Evidence], known: Collection[UUID]) -> list[Evidence]:
        """Evidence that is due, with what would be alerts beyond the bound folded into their storms; in the order of the ids.

        Parameters
        ----------
        cursor
            Of the batch's transaction. :meth:`commit` or :meth:`forget` must follow.
        due
            One entry an alert.
        known
            Ids of those of them that are alerts of the table.
        """
        self._staged = {}
        fresh: dict[Group, list[Evidence]] = defaultdict(list)
        for item in due:
            if item.kind != STORM and item.id not in known:
                fresh[item.attack_type, item.domain, _episode(item.first_seen, self._episode_s)].append(item)
        beyond: set[UUID] = set()
        folded = []
        for group, items in fresh.items():
            there = self._there(cursor, group)
            room = max(self._limit - there, 0)
            self._staged[group] = there + min(room, len(items))
            if len(items) > room:
                more = sorted(items, key=lambda item: (-len(item.flows), item.id))[room:]
                beyond |= {item.id for item in more}
                folded.append(fold(alertbook.rows(more), storm_id(group, self._namespace)))
        if not folded:
            return list(due)
        # Storms go in as copies, since what is folded merges into them: the caller's evidence may be applied again.
        others = [item for item in due if item.id not in beyond and item.kind != STORM]
        return alertbook.gather([alertbook.rows(item for item in due if item.kind == STORM), *folded], others)

    def _there(self, cursor: Any, group: Group) -> int:
        """Alerts of a group in the table, as far as it matters."""
        if group not in self._count:
            attack_type, domain, episode = group
            begin = datetime.fromtimestamp(0, UTC)
            cursor.execute(
                f"SELECT count(*) FROM (SELECT FROM {TABLE} WHERE record_type = %s AND attack_type = %s AND domain = %s AND kind <> %s "
                "AND timestamp >= %s + %s * interval '1 second' AND timestamp < %s + %s * interval '1 second' LIMIT %s) found",
                (
                    self._record_type, attack_type, domain, STORM, begin, episode * self._episode_s, begin,
                    (episode + 1) * self._episode_s, self._limit,
                ),
            )  # fmt: skip
            self._count[group] = int(cursor.fetchone()[0])
        return self._count[group]

    def commit(self) -> None:
        """The transaction is through."""
        for group, count in self._staged.items():
            self._count[group] = count
            self._count.move_to_end(group)
        self._staged = {}
        while len(self._count) > _KEPT_GROUPS:
            self._count.popitem(last=False)

    def forget(self) -> None:
        """What the database holds is not known."""
        self._count.clear()
        self._staged = {}
