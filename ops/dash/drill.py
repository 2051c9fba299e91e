"""From an incident to its alerts, from an alert to its flows: what the pages of one incident and of one alert show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extras

from infra.config import Settings
from infra.errors import FlowlakeError
from jobs.incidents import flows, page, people
from ops.dash.answers import Answer, whole
from ops.dash.pool import Pools
from ops.views.model import TOTAL, Field, Panel
from ops.views.traffic import PROTOCOL
from schemas.alerts import TABLE
from schemas.crowds import column
from schemas.incidents import NOTES, UNDONE
from schemas.records import HotTable

#: Rows of a table that are shown at most.
MOST = 500
#: Alerts of an incident whose reasons stand in a report.
SUREST = 10
_ALERTS = Panel(
    "alerts", "Alerts, in the order of time", "table", "alerts", "", "What the incident consists of.",
    (
        Field("first_seen", "time", title="first seen"), Field("severity", "number"), Field("attack_type", "text", title="kind"),
        Field("source", "text"), Field("target", "text"), Field("flows", "number", "short"),
        Field("confidence", "number", "percentunit"), Field("id", "text"), Field("resolved", "text"),
        Field(TOTAL, "number", hidden=True),
    ),
    width=24,
)  # fmt: skip
#: Columns of a hot table that are shown where it has them, their types and units.
_FLOW = (
    Field("window_size", "number", "s", "window"), Field("src_ip", "text", title="source"),
    Field("src_port", "number", title="port"), Field("dst_ip", "text", title="target"),
    Field("dst_port", "number", title="port of the target"), Field("protocol", "text"), Field("tcp_state", "text", title="state"),
    Field("total_fwd_packets", "number", "short", "packets out"), Field("total_bwd_packets", "number", "short", "packets in"),
    Field("total_length_fwd_packets", "number", "bytes", "bytes out"), Field("total_length_bwd_packets", "number", "bytes", "bytes in"),
    Field("complete", "number"), Field("flows_started", "number", "short", "flows started"), Field("destinations", "number", "short"),
    Field("ports", "number", "short"), Field("failed_ratio", "number", "percentunit", "failed"), Field("beats", "number", "short"),
    Field("attack_type", "text", title="kind"), Field("confidence_score", "number", "percentunit", "confidence"),
    Field("sensor_id", "text", title="sensor"),
)  # fmt: skip


@dataclass(frozen=True)
class IncidentStory:
    """One incident; ``notes`` and ``history`` are None where the database's role may not read them.

    ``techniques``: id, name and url of each of MITRE ATT&CK that its alerts show. ``surest``: the most severe alerts with their details.
    """

    about: Mapping[str, Any]
    alerts: Answer
    surest: tuple[Mapping[str, Any], ...]
    notes: tuple[Mapping[str, Any], ...] | None
    history: tuple[Mapping[str, Any], ...] | None

    @property
    def panel(self) -> Panel:
        """The table of its alerts."""
        return _ALERTS

    @property
    def total(self) -> int:
        """How many alerts it has."""
        return self.alerts.total

    @property
    def techniques(self) -> list[dict[str, str]]:
        """See the class."""
        return [page.technique(str(key)) for key in self.about["metadata"].get("techniques", [])]

    @property
    def commands(self) -> list[str]:
        """What can be done about it now."""
        short = self.about["id"][:8]
        if self.about["status"] not in UNDONE:
            return [f"flowlake incidents reopen {short}", f"flowlake incidents note {short} 'what there is to say'"]
        return [
            f"flowlake incidents assign {short} --to NAME",
            f"flowlake incidents note {short} 'what there is to say'",
            f"flowlake incidents pcap {short} --out {short}.pcap",
            f"flowlake incidents resolve {short} --why 'what was found and done'",
            f"flowlake incidents false-positive {short} --why 'what it was'",
        ]


@dataclass(frozen=True)
class AlertStory:
    """One alert, as ``flowlake alerts show`` has it (:func:`jobs.incidents.page.read`); its flows as a panel and an answer."""

    about: Mapping[str, Any]
    panel: Panel
    flows: Answer


def incident(pools: Pools, given: str) -> IncidentStory:
    """The incident that an id, a former id or its beginning names.

    Raises
    ------
    ConfigError
        It names none, or several.
    StoreError
        The database is away or refuses.
    """

    def ask(plain: Any) -> IncidentStory:
        with plain.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            found = people.find(cursor, given)
            cursor.execute(
                f"SELECT first_seen, severity, attack_type, {column('source')} AS source, {column('target')} AS target, "
                "flow_count AS flows, confidence, id::text AS id, "
                "CASE WHEN resolved_at IS NULL THEN 'open' ELSE coalesce(resolved_by, 'resolved') END AS resolved, "
                f"count(*) OVER () AS {TOTAL} "
                f"FROM {TABLE} WHERE incident_id = %s ORDER BY first_seen, id LIMIT %s",
                (found["id"], MOST),
            )
            rows = tuple(tuple(row.values()) for row in cursor.fetchall())
            alerts = whole(Answer(tuple(column.name for column in _ALERTS.columns), rows))
            cursor.execute(
                "SELECT id::text, attack_type, host(src_ip) AS src_ip, host(dst_ip) AS dst_ip, details, record_type "
                f"FROM {TABLE} WHERE incident_id = %s ORDER BY severity DESC, confidence DESC, first_seen, id LIMIT %s",
                (found["id"], SUREST),
            )
            surest = tuple(map(dict, cursor.fetchall()))
            notes = _where_allowed(cursor, lambda: _notes(cursor, found["id"]))
            return IncidentStory(found, alerts, surest, notes, _where_allowed(cursor, lambda: tuple(people.history(cursor, found["id"]))))

    return pools.alerts.run(ask)


def alert(settings: Settings, pools: Pools, given: str) -> AlertStory:
    """An alert by its id or the beginning of one, and the records behind it.

    Raises
    ------
    ConfigError
        The id names none, or several.
    StoreError
        The alerts' database is away or refuses; what the hot store refuses is said in ``flows``.
    """

    def ask(plain: Any) -> dict[str, Any]:
        with plain.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            return page.read(cursor, given, people.labels_of(settings))

    found = pools.alerts.run(ask)
    panel, answer = _flows(settings, pools, found)
    return AlertStory(found, panel, answer)


def _flows(settings: Settings, pools: Pools, alert: Mapping[str, Any]) -> tuple[Panel, Answer]:
    empty = Panel("flows", "Its flows", "table", "hot", "", "", (Field("time", "time"),), width=24)
    try:
        record = flows.record_of(settings, alert["record_type"])
        if record.hot is None or record.alerts is None:
            return empty, Answer(error=f"records of type {record.name} have no hot store", hint="they may be in the lake: flowlake sql")
        where, values = flows.condition(alert, record, record.alerts, flows.of_hot(record), record.hot.time)
        panel = Panel("flows", f"Its {record.name}", "table", "hot", "", _OF_HOT, _columns(record.hot), width=24)
        listed = ", ".join(_selected(record.hot, column.name) for column in panel.columns)
        sql = f"SELECT {listed} FROM {record.hot.name} WHERE {where} ORDER BY {record.hot.time} LIMIT {MOST + 1}"

        def ask(cursor: Any) -> Answer:
            cursor.execute(sql, values)
            rows = cursor.fetchall()
            return Answer(tuple(column.name for column in panel.columns), tuple(rows[:MOST]), len(rows) > MOST)

        return panel, pools.hot.run(ask)
    except FlowlakeError as e:
        return empty, Answer(error=str(e), hint=e.hint)


_OF_HOT = "Those that the hot store still holds, by what the alert is one of."


def _columns(hot: HotTable) -> tuple[Field, ...]:
    known = [column for column in _FLOW if column.name in hot.types]
    if len(known) < 4:  # records of another kind: as they are
        kinds = {"timestamptz": "time", "text": "text", "uuid": "text", "inet": "text", "jsonb": "text"}
        known = [Field(name, kinds.get(sql, "number")) for name, sql in list(hot.types.items())[:12] if name != hot.time]  # type: ignore[arg-type]
    return (Field("time", "time"), *known)


def _selected(hot: HotTable, name: str) -> str:
    if name == "time":
        return f"{hot.time} AS time"
    if name == "protocol" and hot.types[name] in ("smallint", "integer"):
        return f"{PROTOCOL} AS protocol"
    return f"host({name}) AS {name}" if hot.types[name] == "inet" else f"{name}::text" if hot.types[name] in ("uuid", "jsonb") else name


def _notes(cursor: Any, incident: str) -> tuple[dict[str, Any], ...]:
    cursor.execute(f"SELECT at, author, note FROM {NOTES} WHERE incident_id = %s ORDER BY id", (incident,))
    return tuple(map(dict, cursor.fetchall()))


def _where_allowed(cursor: Any, ask: Callable[[], tuple[Mapping[str, Any], ...]]) -> tuple[Mapping[str, Any], ...] | None:
    """What a question gives, None where the role may not ask it: an analyst reads neither notes nor the audit."""
    try:
        return ask()
    except psycopg2.errors.InsufficientPrivilege:
        return None
