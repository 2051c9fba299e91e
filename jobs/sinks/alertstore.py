"""The alerts in PostgreSQL: reading what is known, writing what changed, in one transaction a batch; the outbox for the topic.

One writer at a time (an advisory lock), so read-merge-write is safe without retries; a person resolving an alert touches other columns and
is never overwritten.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import psycopg2
import pyarrow as pa
from psycopg2.extras import execute_values

from infra.errors import StoreError
from infra.sections import AlertSettings
from jobs.incidents import guards
from jobs.incidents import store as incidents
from jobs.incidents.stories import Sighting, only_longer, sighting
from jobs.notifying import outbox
from jobs.sinks import alertbook, postgres, sketch
from jobs.sinks.alertbook import Alert, Change, Evidence
from jobs.sinks.candidates import Candidates
from jobs.sinks.postgres import RefusedData
from jobs.sinks.storms import Storms
from jobs.sinks.tops import Missing
from jobs.suppression import conditions
from schemas import alerts as table
from schemas.labels import STORM, Label
from schemas.records import RecordType

if TYPE_CHECKING:
    from jobs.sinks.reasons import Reasons

_APPLICATION = "flowlake-alerts"
_STAGE = "alerts_stage"
#: Alerts whose memory is kept in this process (some KB each), and flows that they know; what falls out is read again when it is needed.
_KEPT_ALERTS = 20_000
_KEPT_FLOWS = 8_000_000
#: Segments of an alert are joined when there are so many of them.
_SEGMENTS = 256
_US = "(extract(epoch FROM a.{0}) * 1000000)::bigint"
#: An alert ``a`` as :class:`jobs.sinks.alertbook.Alert` begins.
_STORED = (
    f"a.id::text, a.kind, a.attack_type, a.domain, a.sensor_id, a.model_version, {_US.format('first_seen')}, {_US.format('last_seen')}, "
    "a.confidence, a.severity, a.flow_count, a.notified_severity, a.details"
)
_INSERT_ONLY = frozenset({"id"})
#: Columns that are decided in the database, of the rows about to be written. An alert that was told stays so: its are empty already.
_DECIDED = ("suppressed_by", "suppressed_at")


@dataclass(frozen=True)
class AppliedEvidence:
    """What a batch did: alerts raised, alerts changed, messages put into the outbox."""

    raised: tuple[Alert, ...]
    changed: int
    messages: int
    incidents: int = 0  # that are new
    candidates: int = 0  # of too few flows to be an alert, after the batch
    forgotten: int = 0  # candidates given up for want of room
    explained: int = 0  # whose top flow is another, or could not be explained before
    unexplained: tuple[str, ...] = ()  # for each that could not be: the kind of reason
    suppressed: tuple[int, ...] = ()  # of each alert that is silenced from now on, the entry that does it


class AlertStore:
    """Alerts about one record type in one database.

    Keeps the memory of recent alerts; the store's version of it decides whether it still holds. Without ``reasons`` nothing is explained.
    ``others``: labels of the other sources, whose alerts may be of one story with these.
    """

    def __init__(
        self,
        settings: AlertSettings,
        record: RecordType,
        reasons: Reasons | None = None,
        others: Mapping[str, Label] = MappingProxyType({}),
    ) -> None:
        if record.alerts is None:
            raise ValueError(f"record type {record.name} has no alert rules")
        self._reasons = reasons
        self._settings = settings
        self._record = record
        self._labels = record.alerts.by_name
        self._every_label = {**others, **self._labels}
        self._kept: OrderedDict[UUID, Alert] = OrderedDict()
        self._kept_flows = 0
        least = record.alerts.min_records or settings.min_flows
        self._candidates = Candidates(least, settings.min_looks, table.EVIDENCE_HOURS * 3600, record.name)
        self._storms = Storms(settings.storm_alerts, settings.episode_s, record.name, record.alerts.namespace)

    def apply(self, evidence: Sequence[Evidence]) -> AppliedEvidence:
        """Merge evidence into the alerts, exactly once whatever is repeated.

        Parameters
        ----------
        evidence
            One entry an alert, ordered by id (:func:`jobs.sinks.alertbook.gather`).

        Raises
        ------
        StoreUnavailable, StoreError
            Nothing was applied, or - if the connection broke in the commit - everything; the same evidence may be applied again.
        """
        if not evidence:
            return AppliedEvidence((), 0, 0, candidates=len(self._candidates))
        connection = postgres.kept(self._settings, _APPLICATION)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_ALERTS,))
                due = self._candidates.sift(cursor, evidence, self._kept, lambda ids: self._alerts_among(cursor, ids))
                known = self._load(cursor, [item.id for item in due])
                due = self._storms.fold(cursor, due, known)
                known |= self._load(cursor, [item.id for item in due if item.kind == STORM and item.id not in known])
                whys = self._explain(due, known)
                changes = [change for item in due if (change := self._changed(known.get(item.id), item, whys)) is not None]
                sent = made = 0
                decision = conditions.Decision({}, (), ())
                if changes:
                    cursor.execute(f"SET LOCAL {guards.EVIDENCE} = 'on'")
                    sent, decision = self._write(cursor, changes)
                    incidents.open_again(cursor, decision.told_again)
                    told = {change.alert.id for change in changes if change.alert.id not in decision.silenced}
                    longer = self._longer(known, changes, decision)
                    made = incidents.group(cursor, told, self._every_label, self._settings.incident_window_s, longer)
                    outbox.put_alerts(cursor, told)
        except (psycopg2.Error, RefusedData) as e:
            self._forget()  # what the database holds now is not known
            postgres.discard(connection)
            problem = e if isinstance(e, RefusedData) else postgres.classify(e, self._settings)
            if isinstance(problem, RefusedData):
                problem = StoreError(f"{postgres.where(self._settings)} refuses an alert: {problem}")
            raise problem from e
        self._storms.commit()
        self._remember([change.alert for change in changes])
        forgotten = self._candidates.commit()
        raised = tuple(change.alert for change in changes if change.is_new)
        missing = tuple(Missing(why["missing"]).code for why in whys.values() if "missing" in why)
        return AppliedEvidence(
            raised, len(changes) - len(raised), sent, made, len(self._candidates), forgotten, len(whys) - len(missing), missing,
            decision.fresh,
        )  # fmt: skip

    def _longer(self, known: Mapping[UUID, Alert], changes: Sequence[Change], decision: conditions.Decision) -> dict[UUID, int]:
        """Alerts of which nothing but the time has changed by which they are put into incidents, and when they were last seen before."""
        found = {}
        for change in changes:
            before = known.get(change.alert.id)
            if before is None or change.alert.id in decision.told_again:
                continue
            if only_longer(self._sighting(before), self._sighting(change.alert)):
                found[before.id] = before.last_seen
        return found

    def _sighting(self, alert: Alert) -> Sighting:
        row = {name: getattr(alert, name) for name in ("id", "kind", "attack_type", "domain", "first_seen", "last_seen", "details")}
        return sighting({**row, "src_ip": alert.address("source"), "dst_ip": alert.address("target")}, self._every_label)

    def _changed(self, known: Alert | None, item: Evidence, whys: Mapping[UUID, Mapping[str, Any]]) -> Change | None:
        least = self._settings.min_severity
        return alertbook.apply(known, item, labels=self._labels, min_severity=least, why=whys.get(item.id))

    def _explain(self, due: Sequence[Evidence], known: Mapping[UUID, Alert]) -> dict[UUID, dict[str, Any]]:
        """``details.why`` of alerts whose top flow is another than before; the most severe come first where there are too many."""
        if self._reasons is None:
            return {}
        wanted = [item for item in due if alertbook.unexplained(known.get(item.id), item)]
        wanted.sort(key=lambda item: -table.severity(item.attack_type, item.confidence, len(item.flows), self._labels, item.importance))
        return dict(zip([item.id for item in wanted], self._reasons.of([item.top for item in wanted if item.top]), strict=True))

    # -- reading ---------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def _alerts_among(cursor: Any, ids: Sequence[UUID]) -> list[UUID]:
        cursor.execute(f"SELECT id::text FROM {table.TABLE} WHERE id = ANY(%s::uuid[])", ([str(i) for i in ids],))
        return [UUID(key) for (key,) in cursor.fetchall()]

    def _load(self, cursor: Any, ids: Sequence[UUID]) -> dict[UUID, Alert]:
        if not ids:
            return {}
        cursor.execute(
            f"SELECT {_STORED}, s.version, s.base_count FROM {table.TABLE} a "
            f"LEFT JOIN {table.STATE} s ON s.alert_id = a.id WHERE a.id = ANY(%s::uuid[])",
            ([str(i) for i in ids],),
        )
        found: dict[UUID, Alert] = {}
        stale: list[UUID] = []
        for key, *values, version, base_count in cursor.fetchall():
            alert = Alert(UUID(key), *values)
            if alert.kind != "per-flow":
                kept = self._kept.get(alert.id)
                if version is None:
                    # The evidence is past its time: what was counted stands, and from here on it is counted afresh.
                    alert.base_count = alert.flow_count
                elif kept is not None and kept.version == version:
                    alert.version, alert.base_count = version, kept.base_count
                    alert.segments, alert.sketches, alert._known = kept.segments, kept.sketches, kept.known
                else:
                    alert.version, alert.base_count = version, base_count
                    stale.append(alert.id)
            found[alert.id] = alert
        if stale:
            self._load_memory(cursor, stale, found)
        return found

    @staticmethod
    def _load_memory(cursor: Any, ids: Sequence[UUID], found: dict[UUID, Alert]) -> None:
        texts = [str(i) for i in ids]
        cursor.execute(f"SELECT alert_id::text, sources, targets, ports FROM {table.STATE} WHERE alert_id = ANY(%s::uuid[])", (texts,))
        for key, *sets in cursor.fetchall():
            found[UUID(key)].sketches = {name: sketch.unpack(data) for name, data in zip(alertbook.SETS, sets, strict=True)}
        cursor.execute(
            f"SELECT alert_id::text, flows FROM {table.FLOWS} WHERE alert_id = ANY(%s::uuid[]) ORDER BY alert_id, segment", (texts,)
        )
        for key, flows in cursor.fetchall():
            found[UUID(key)].segments.append(sketch.unpack(flows))

    # -- writing ---------------------------------------------------------------------------------------------------------------------

    def _write(self, cursor: Any, changes: Sequence[Change]) -> tuple[int, conditions.Decision]:
        """Returns how many messages are due, and what is silenced: that gets none."""
        messages = []
        for change in changes:
            if change.notify and (self._settings.escalations or change.alert.notified_severity == 0):
                messages.append((change.alert.id, alertbook.key(change.alert), json.dumps(alertbook.message(change.alert))))
            if change.notify:
                change.alert.notified_severity = change.alert.severity
        columns = (*table.WRITTEN, *_DECIDED)
        names = ", ".join(columns)
        changed = ", ".join(
            f"{name} = {table.TABLE}.details || EXCLUDED.details" if name == "details" else f"{name} = EXCLUDED.{name}"
            for name in columns
            if name not in _INSERT_ONLY
        )
        cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {_STAGE} (LIKE {table.TABLE} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS")
        postgres.copy_table(cursor, _STAGE, table.WRITTEN_TYPES, alert_rows([change.alert for change in changes], self._record.name))
        decision = conditions.mark(cursor, _STAGE)
        cursor.execute(
            f"INSERT INTO {table.TABLE} ({names}) SELECT {names} FROM {_STAGE} ORDER BY id "
            f"ON CONFLICT (id) DO UPDATE SET {changed}, updated_at = clock_timestamp()"
        )
        self._write_memory(cursor, [change for change in changes if change.alert.kind != "per-flow"])
        due = [(str(key), to, message) for key, to, message in messages if key not in decision.silenced]
        if due:
            execute_values(cursor, f"INSERT INTO {table.OUTBOX} (alert_id, key, message) VALUES %s", due, "(%s::uuid, %s, %s)")
        return len(due), decision

    @staticmethod
    def _write_memory(cursor: Any, changes: Sequence[Change]) -> None:
        if not changes:
            return
        state = []
        segments = []
        rewritten = []
        for change in changes:
            alert = change.alert
            sets = [psycopg2.Binary(sketch.pack(alert.sketches[name])) for name in alertbook.SETS]
            state.append((str(alert.id), alert.version, alert.base_count, *sets))
            if change.forgotten or len(alert.segments) > _SEGMENTS:
                if not change.forgotten:
                    alert.segments = _halved(alert.segments)
                rewritten.append(str(alert.id))
                segments += [
                    (str(alert.id), alert.version * 1000 + i, psycopg2.Binary(sketch.pack(s))) for i, s in enumerate(alert.segments)
                ]
            elif len(change.new_flows):
                # The version grows with every change: segments are in the order of their writing.
                segments.append((str(alert.id), alert.version * 1000, psycopg2.Binary(sketch.pack(change.new_flows))))
        execute_values(
            cursor,
            f"INSERT INTO {table.STATE} (alert_id, version, base_count, sources, targets, ports) VALUES %s "
            "ON CONFLICT (alert_id) DO UPDATE SET "
            "version = EXCLUDED.version, base_count = EXCLUDED.base_count, sources = EXCLUDED.sources, targets = EXCLUDED.targets, "
            "ports = EXCLUDED.ports, updated_at = clock_timestamp()",
            state,
            "(%s::uuid, %s, %s, %s, %s, %s)",
        )
        if rewritten:
            cursor.execute(f"DELETE FROM {table.FLOWS} WHERE alert_id = ANY(%s::uuid[])", (rewritten,))
        if segments:
            execute_values(cursor, f"INSERT INTO {table.FLOWS} (alert_id, segment, flows) VALUES %s", segments, "(%s::uuid, %s, %s)")

    def _remember(self, changed: Sequence[Alert]) -> None:
        for alert in changed:
            if alert.kind != "per-flow":
                before = self._kept.pop(alert.id, None)
                self._kept[alert.id] = alert
                self._kept_flows += alert.remembered - (before.remembered if before else 0)
        while self._kept and (len(self._kept) > _KEPT_ALERTS or self._kept_flows > _KEPT_FLOWS):
            _, gone = self._kept.popitem(last=False)
            self._kept_flows -= gone.remembered

    def _forget(self) -> None:
        self._kept.clear()
        self._kept_flows = 0
        self._candidates.forget()
        self._storms.forget()

    def prune(self) -> None:
        """Let go of the evidence of alerts that have not changed for :data:`schemas.alerts.EVIDENCE_HOURS`; the alerts stay.

        Raises
        ------
        StoreUnavailable, StoreError
            Nothing was removed.
        """
        connection = postgres.kept(self._settings, _APPLICATION)
        age = f"{table.EVIDENCE_HOURS} hours"
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_ALERTS,))
                cursor.execute(
                    f"WITH gone AS (DELETE FROM {table.STATE} WHERE updated_at < clock_timestamp() - %s::interval RETURNING alert_id) "
                    f"DELETE FROM {table.FLOWS} f USING gone WHERE f.alert_id = gone.alert_id",
                    (age,),
                )
        except psycopg2.Error as e:
            postgres.discard(connection)
            raise postgres.classify(e, self._settings) from e


def _halved(segments: list[Any]) -> list[Any]:
    """Join them into two, still in the order of time: what is forgotten first is the older."""
    older, recent = segments[: len(segments) // 2], segments[len(segments) // 2 :]
    return [np.sort(np.concatenate(older)), np.sort(np.concatenate(recent))]


def tell(cursor: Any, ids: Sequence[UUID], min_severity: int) -> int:
    """Put messages about alerts into the outbox that were silenced and are told after all; returns how many.

    Parameters
    ----------
    cursor
        Of the transaction that tells them.
    ids
        Alerts of the store.
    min_severity
        Below it no message is due.
    """
    cursor.execute(
        f"SELECT {_STORED} FROM {table.TABLE} a WHERE a.id = ANY(%s::uuid[]) AND a.severity >= %s AND a.severity > a.notified_severity "
        "ORDER BY a.id",
        ([str(i) for i in ids], min_severity),
    )
    due = [Alert(UUID(key), *values) for key, *values in cursor.fetchall()]
    if due:
        messages = [(str(alert.id), alertbook.key(alert), json.dumps(alertbook.message(alert))) for alert in due]
        execute_values(cursor, f"INSERT INTO {table.OUTBOX} (alert_id, key, message) VALUES %s", messages, "(%s::uuid, %s, %s)")
        cursor.execute(
            f"UPDATE {table.TABLE} SET notified_severity = severity WHERE id = ANY(%s::uuid[])", ([str(alert.id) for alert in due],)
        )
    return len(due)


def alert_rows(alerts: Sequence[Alert], record_type: str) -> pa.Table:
    """Alerts as rows of the table, columns :data:`schemas.alerts.WRITTEN`."""

    def times(name: str) -> pa.Array:
        return pa.array([getattr(alert, name) for alert in alerts], pa.int64()).cast(pa.timestamp("us", tz="UTC"))

    columns: dict[str, pa.Array] = {
        "id": pa.array([str(alert.id) for alert in alerts], pa.string()),
        "timestamp": times("first_seen"),
        "src_ip": pa.array([alert.address("source") for alert in alerts], pa.string()),
        "dst_ip": pa.array([alert.address("target") for alert in alerts], pa.string()),
        "details": pa.array([json.dumps(alert.details, separators=(",", ":")) for alert in alerts], pa.string()),
        "record_type": pa.repeat(pa.scalar(record_type), len(alerts)),
        "first_seen": times("first_seen"),
        "last_seen": times("last_seen"),
    }
    return pa.table(
        [columns[name] if name in columns else pa.array([getattr(alert, name) for alert in alerts]) for name in table.WRITTEN],
        names=list(table.WRITTEN),
    )
