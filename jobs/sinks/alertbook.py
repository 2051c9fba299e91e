"""What is known about each alert, and how evidence changes it. Pure: no Spark, no database.

Everything merges by minimum, maximum or set union, so evidence that arrives again, or in another order,
changes nothing: that, and not a list of applied messages, is what makes the counts exact under at-least-once
delivery.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.sinks import sketch, spans, tops
from jobs.sinks.sketch import EMPTY, Hashes
from jobs.sinks.tops import Top
from schemas.alerts import MAX_LOOKS, MAX_TRACKED_FLOWS, MESSAGE_VERSION, PARTIAL_SCHEMA, SAMPLE_SIZE, severity
from schemas.assets import UNKNOWN
from schemas.labels import BY_NAME, Label

SETS = ("source", "target", "port")
SAMPLES = (*SETS, "flow")
_COPIED = ("kind", "attack_type", "domain", "sensor_id", "model_version", "first_seen", "last_seen", "evidence", "confidence", "importance")


@dataclass
class Evidence:
    """One alert's share of a batch (a row of :data:`schemas.alerts.PARTIAL_SCHEMA`, merged over the tasks). Times: us since the epoch."""

    id: UUID
    kind: str
    attack_type: str
    domain: str
    sensor_id: str
    model_version: str
    first_seen: int
    last_seen: int
    evidence: int
    confidence: float
    flows: Hashes
    sketches: dict[str, Hashes]
    samples: dict[str, list[str]]
    flow: dict[str, Any]
    importance: int = UNKNOWN  # highest of the hosts at stake
    looks: Hashes = field(default_factory=lambda: EMPTY)  # at open flows, the smallest hashes; of alerts that one flow makes
    closed: bool = False  # a closed record is among it
    ends: dict[str, list[str]] = field(default_factory=dict)  # by side, where the sample is not all (:mod:`jobs.sinks.spans`)
    top: Top | None = None


@dataclass
class Alert:
    """One alert as it stands in the store, with what it must remember. ``version`` counts the changes of its memory."""

    id: UUID
    kind: str = ""
    attack_type: str = ""
    domain: str = ""
    sensor_id: str = ""
    model_version: str = ""
    first_seen: int = 0
    last_seen: int = 0
    confidence: float = 0.0
    severity: int = 0
    flow_count: int = 0
    notified_severity: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    base_count: int = 0
    segments: list[Hashes] = field(default_factory=list)
    sketches: dict[str, Hashes] = field(default_factory=lambda: dict.fromkeys(SETS, EMPTY))
    _known: Hashes | None = None

    @property
    def known(self) -> Hashes:
        """Hashes of the counted flows, sorted."""
        if self._known is None:
            self._known = np.unique(np.concatenate(self.segments)) if self.segments else EMPTY
        return self._known

    @property
    def remembered(self) -> int:
        """Number of flows in the segments."""
        return sum(map(len, self.segments))

    def address(self, name: str) -> str | None:
        """``source`` or ``target`` when there is one only; else null."""
        values = self.details.get(f"{name}s", [])
        if self.kind == "per-flow":
            value = self.details.get("src_ip" if name == "source" else "dst_ip")
            return str(value) if value else None
        return str(values[0]) or None if len(values) == 1 and len(self.sketches[name]) <= 1 else None


@dataclass(frozen=True)
class Change:
    """What one batch did to one alert: the alert afterwards, and the flows that are new to it."""

    alert: Alert
    new_flows: Hashes
    is_new: bool
    forgotten: int = 0  # oldest segments let go
    notify: bool = False


def gather(tables: Iterable[pa.Table], more: Iterable[Evidence] = ()) -> list[Evidence]:
    """Evidence of all tasks of a batch, merged by alert, in the order of the ids; ``more`` that is of other alerts."""
    found: dict[UUID, Evidence] = {item.id: item for item in more}
    for table in tables:
        for item in _evidence(table):
            known = found.get(item.id)
            if known is not None:
                _merge(known, item)
            else:
                found[item.id] = item
    return sorted(found.values(), key=lambda item: item.id)


def _evidence(table: pa.Table) -> Iterator[Evidence]:
    """Rows of :data:`schemas.alerts.PARTIAL_SCHEMA`, a column at a time: a dictionary for each row takes three times as long."""
    values = {
        name: table[name].to_numpy().tolist()
        for name in ("id", "flow", "flows", "looks", "closed", *tops.COLUMNS, *_COPIED, *(f"{name}s" for name in SETS))
    }
    samples = {name: _lists(table[f"{name}_sample"]) for name in SAMPLES}
    ends = {side: _lists(table[f"{side}_ends"]) for side in spans.SIDES}
    for i, (key, text) in enumerate(zip(values["id"], values["flow"], strict=True)):
        flow = json.loads(text) if text else {}
        if values["kind"][i] == "per-flow":
            flow.update(src_ip=samples["source"][i][0], dst_ip=samples["target"][i][0])
        yield Evidence(
            id=UUID(bytes=key),
            **{name: values[name][i] for name in _COPIED},
            flows=sketch.unpack(values["flows"][i]),
            sketches={name: sketch.unpack(values[f"{name}s"][i]) for name in SETS},
            samples={name: of[i] for name, of in samples.items()},
            flow=flow,
            top=Top(values["confidence"][i], *(values[name][i] for name in tops.COLUMNS)) if values["top_flow"][i] else None,
            ends={side: of[i] for side, of in ends.items()},
            looks=sketch.unpack(values["looks"][i]),
            closed=values["closed"][i],
        )


def _lists(column: pa.ChunkedArray) -> list[list[str]]:
    flat = pc.list_flatten(column).to_numpy().tolist()
    ends = np.cumsum(pc.list_value_length(column).to_numpy()).tolist()
    return [flat[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def merged(a: Evidence, b: Evidence) -> Evidence:
    """What both say; neither is changed."""
    both = replace(a, sketches=dict(a.sketches), samples=dict(a.samples), ends=dict(a.ends))
    _merge(both, b)
    return both


def rows(evidence: Iterable[Evidence]) -> pa.Table:
    """Inverse of :func:`gather`: evidence as rows of :data:`schemas.alerts.PARTIAL_SCHEMA`."""
    return pa.Table.from_pylist([_row(item) for item in evidence], PARTIAL_SCHEMA)


def _row(item: Evidence) -> dict[str, Any]:
    return {
        "id": item.id.bytes,
        **{name: getattr(item, name) for name in _COPIED},
        "flows": sketch.pack(item.flows),
        **{f"{name}s": sketch.pack(item.sketches[name]) for name in SETS},
        **{f"{name}_sample": item.samples[name] for name in SAMPLES},
        **{f"{side}_ends": item.ends.get(side, []) for side in spans.SIDES},
        "looks": sketch.pack(item.looks),
        "closed": item.closed,
        "flow": json.dumps(item.flow) if item.flow else "",
        **dict(zip(tops.COLUMNS, _top(item.top), strict=True)),
    }


def _top(top: Top | None) -> tuple[str, int, str, bytes]:
    return (top.flow_id, top.end, top.model_version, top.features) if top else ("", 0, "", b"")


def unpack(data: bytes) -> pa.Table:
    """Evidence from an Arrow IPC stream (:func:`schemas.wire.arrow_stream`)."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def _merge(into: Evidence, other: Evidence) -> None:
    if into.kind == "per-flow" and (other.last_seen, other.flow.get("closed", False)) >= (into.last_seen, into.flow.get("closed", False)):
        into.attack_type, into.flow = other.attack_type, other.flow
    elif into.kind == "repeated":
        into.flow = max(into.flow, other.flow, key=_age)
    into.first_seen = min(into.first_seen, other.first_seen)
    into.last_seen = max(into.last_seen, other.last_seen)
    into.evidence = min(into.evidence, other.evidence)
    into.confidence = max(into.confidence, other.confidence)
    if other.top and other.top.beats(into.top):
        into.top = other.top
    into.importance = max(into.importance, other.importance)
    into.looks = sketch.union(into.looks, other.looks, MAX_LOOKS)
    into.closed = into.closed or other.closed
    into.flows = sketch.insert(into.flows, sketch.missing(into.flows, other.flows))
    for name in SETS:
        union = sketch.union(into.sketches[name], other.sketches[name])
        if name in spans.SIDES and len(union) > SAMPLE_SIZE:
            into.ends[name] = spans.joined(_ends(into, name), _ends(other, name))
        into.sketches[name] = union
    for name in SAMPLES:
        into.samples[name] = sketch.joined(into.samples[name], other.samples[name])


def _ends(item: Evidence, side: str) -> list[str]:
    return spans.known(item.samples[side], len(item.sketches[side]), item.ends.get(side, []))


def _grown(old: Alert, is_new: bool, item: Evidence, side: str) -> list[str]:
    """Ends of a side of an alert with the evidence; nothing where not all of it is known."""
    if is_new:
        return _ends(item, side)
    before = spans.known(old.details.get(f"{side}s", []), old.details.get(f"distinct_{side}s", 0), old.details.get(f"{side}_ends", []))
    return spans.joined(before, _ends(item, side))


def _age(flow: Mapping[str, Any]) -> tuple[str, bool, str]:
    """Order of what is known of flows: the newest, and of one flow the final record, is the greatest."""
    return str(flow.get("end_time", "")), bool(flow.get("closed")), str(flow.get("flow_id", ""))


def unexplained(known: Alert | None, item: Evidence) -> bool:
    """Whether the evidence brings another top flow than the one that explains the alert, or what was missing to explain it."""
    return item.top is not None and item.top.beats(tops.remembered(known.details.get("why") if known else None))


def apply(
    known: Alert | None,
    item: Evidence,
    *,
    labels: Mapping[str, Label] = BY_NAME,
    min_severity: int = 1,
    max_flows: int = MAX_TRACKED_FLOWS,
    why: Mapping[str, Any] | None = None,
) -> Change | None:
    """The alert after the evidence; ``None`` when it says nothing new.

    Parameters
    ----------
    known
        The alert as stored; ``None`` when there is none. It is not changed.
    item
        Evidence of a batch.
    labels
        Severities by label (:attr:`schemas.records.AlertRules.by_name`).
    min_severity
        Below it no message is due.
    max_flows
        Bound of the flows remembered.
    why
        What explains the score of its top flow, where that is another than before (:func:`unexplained`).
    """
    old = known or Alert(
        item.id, item.kind, item.attack_type, item.domain, item.sensor_id, item.model_version, item.first_seen, item.last_seen
    )
    alert = Alert(
        old.id, old.kind, old.attack_type, old.domain, old.sensor_id, old.model_version,
        min(old.first_seen, item.first_seen), max(old.last_seen, item.last_seen), max(old.confidence, item.confidence),
        old.severity, old.flow_count, old.notified_severity, dict(old.details), old.version, old.base_count,
    )  # fmt: skip
    new_flows, forgotten = EMPTY, 0
    if item.kind == "per-flow":
        alert.flow_count = 1
        if known is None or (item.last_seen, item.flow["closed"]) > (old.last_seen, old.details.get("closed", False)):
            alert.attack_type = item.attack_type
            alert.details.update(item.flow)
    else:
        new_flows = sketch.missing(old.known, item.flows)
        alert.segments = [*old.segments, new_flows] if len(new_flows) else list(old.segments)
        remembered = len(old.known) + len(new_flows)
        while remembered > max_flows and len(alert.segments) > 1:
            gone = len(alert.segments.pop(0))
            remembered, forgotten, alert.base_count = remembered - gone, forgotten + 1, alert.base_count + gone
        if not forgotten:
            alert._known = sketch.insert(old.known, new_flows)
        alert.flow_count = alert.base_count + remembered
        for name in SETS:
            alert.sketches[name] = sketch.union(old.sketches[name], item.sketches[name])
            values = sketch.joined([str(value) for value in old.details.get(f"{name}s", [])], item.samples[name])
            alert.details[f"{name}s"] = sorted(map(int, values)) if name == "port" else values
            # a flow has one source, target and port: where that is an estimate, the flows are known better
            alert.details[f"distinct_{name}s"] = min(sketch.estimate(alert.sketches[name]), alert.flow_count)
        for side in spans.SIDES:
            if len(alert.sketches[side]) > SAMPLE_SIZE or old.details.get(f"{side}_ends"):
                alert.details[f"{side}_ends"] = _grown(old, known is None, item, side)
        alert.details["flow_ids"] = sketch.joined(old.details.get("flow_ids", []), item.samples["flow"])
        if item.flow:
            alert.details["last_flow"] = max(old.details.get("last_flow", {}), item.flow, key=_age)
    if why is not None:
        alert.details["why"] = dict(why)
    importance = item.importance if known is None else max(old.details.get("importance", UNKNOWN), item.importance)
    if importance != old.details.get("importance", UNKNOWN):
        alert.details["importance"] = importance
    alert.severity = max(old.severity, severity(alert.attack_type, alert.confidence, alert.flow_count, labels, importance))
    if known is None:
        alert.details["evidence_time"] = iso(item.evidence)
    if known is not None and not len(new_flows) and _same(alert, old):
        return None
    alert.version = old.version + 1
    notify = alert.severity >= min_severity and alert.severity > old.notified_severity
    return Change(alert, new_flows, known is None, forgotten, notify)


def _same(a: Alert, b: Alert) -> bool:
    names = ("attack_type", "first_seen", "last_seen", "severity", "flow_count", "details")
    # The stored confidence is a 32-bit real.
    return all(getattr(a, n) == getattr(b, n) for n in names) and abs(a.confidence - b.confidence) < 1e-6


def message(alert: Alert) -> dict[str, Any]:
    """The alert as a message of the topic ``alerts``; ``id`` is stable, for readers that deduplicate."""
    return {
        "version": MESSAGE_VERSION,
        "id": str(alert.id),
        "event": "raised" if alert.notified_severity == 0 else "escalated",
        "timestamp": iso(alert.first_seen),
        "attack_type": alert.attack_type,
        "kind": alert.kind,
        "severity": alert.severity,
        "confidence": round(alert.confidence, 6),
        "src_ip": alert.address("source"),
        "dst_ip": alert.address("target"),
        "first_seen": iso(alert.first_seen),
        "last_seen": iso(alert.last_seen),
        "flow_count": alert.flow_count,
        "domain": alert.domain,
        "sensor_id": alert.sensor_id,
        "model_version": alert.model_version,
        "details": alert.details,
    }


def key(alert: Alert) -> str:
    """Kafka key: the source; where there are many, the target."""
    return alert.address("source") or alert.address("target") or str(alert.id)


def iso(us: int) -> str:
    """Microseconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000).isoformat().replace("+00:00", "Z")
