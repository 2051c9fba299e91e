"""Alerts: the table, what its numbers mean, and the JSON message of the topic ``alerts``.

Identity (:func:`alert_key`): a *flood* is one alert per target, a *scan* one per source, *brute force* and what is *repeated* (a
beacon, a tunnel, injection, exfiltration) one per source and target - each per attack type, observation domain and episode
(``alerts.episode_s`` of event time) - and any other attack is one alert per flow. Of one attack type, domain and episode there are at
most ``alerts.storm_alerts``; what would be more is counted in one alert of kind *storm* (:mod:`jobs.sinks.storms`).
The id is a UUIDv5 of that key, so whoever sees the evidence again, in whatever order, comes to the same row.

A scan, a flood or brute force becomes an alert when it has ``alerts.min_flows`` flows. What is repeated, or any other attack, needs one
flow: a closed record, or ``alerts.min_looks`` looks at open TCP connections (the first packets of many a benign one look like those of an
attack); of other protocols, which do not say when they end, one look at an open flow.
Until then it is a candidate, which nobody is told of. (Versions before called brute force *guessing*; ids are still made from that word,
so they are the same.)

Numbers: ``flow_count`` is the number of **distinct flows** that were ever labelled as this attack in this
episode, each counted once however often it was seen (interim snapshots, the closed record, redelivered
messages). It is exact up to :data:`MAX_TRACKED_FLOWS` flows an alert; beyond that a flow so old that its
segment was let go could count again. ``details.distinct_sources`` (``_targets``, ``_ports``) are exact below
:data:`SKETCH_SIZE` and estimates (3 %) above. Severity and confidence never fall.

Reasons: ``details.why`` explains the score of the alert's *top flow*, the record of highest confidence (of equal ones that whose id has
the greatest hash, of one flow its latest view). ``flow_id``, ``end_time``, ``model_version``, ``score``: that record. ``base``:
P(attack) that the model gives on average over its training records. ``features``: at most :data:`WHY_FEATURES`, the greatest
contribution first: ``feature``, ``value`` (null: no number), ``contribution`` to the score (negative: it speaks against an attack),
``usual`` and ``median``: where 98 of 100 benign training records lie, and their median (null: the model was registered without).
``others``: the contributions of all other features together. ``base``, the contributions and ``others`` sum to ``score``, but for
six decimals; where the model is calibrated, to ``raw_score``, what its classifier gives. Of an alert of type ``UNKNOWN`` the features
outside their usual range come first.

Where a score is not explained, ``missing`` is there and says ``code: what``, and ``base``, ``features`` and ``others`` are empty. Codes:
``model-missing`` (it cannot be loaded), ``model-kind`` (it has no exact contributions), ``other-score`` (the model of this version
gives another), ``features`` (they cannot be read), ``too-many`` (alerts at once). Without ``why`` an alert was raised by a former
version, or with ``alerts.explained_per_batch`` 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1
from uuid import UUID

import pyarrow as pa

from schemas import assets, incidents, notifications, responses, suppression
from schemas.labels import FORMER_KINDS, STORM, Label
from schemas.records import AlertRules

TABLE = "alerts"
#: What an aggregated alert must remember to count exactly, and the flows it has counted.
STATE = "alert_state"
FLOWS = "alert_flows"
#: Messages for the topic that the broker has not confirmed yet.
OUTBOX = "alert_outbox"
#: Evidence of what is no alert yet.
CANDIDATES = "alert_candidates"
NAMESPACE = UUID("5d0c1c5e-43a1-5d0f-9a49-8f1f2f0f6b51")
#: Kinds that were renamed go into the identity by the word they had when the first ids were given: an id must never change, or an alert
#: that is still growing would come a second time, and incidents and tickets would point to the old one.
_IDENTITY_WORDS = {kind: former for former, kind in FORMER_KINDS.items()}
MESSAGE_VERSION = 1

#: Flows remembered per alert to recognise one that was counted already (8 bytes each).
MAX_TRACKED_FLOWS = 1_000_000
#: Hashes kept to count distinct addresses or ports (bottom-k sketch).
SKETCH_SIZE = 1024
#: Addresses or ports shown in ``details``.
SAMPLE_SIZE = 20
#: Looks at open connections that evidence remembers (the smallest hashes), the most that ``alerts.min_looks`` can ask for.
MAX_LOOKS = 8
#: Features named in ``details.why``.
WHY_FEATURES = 5
#: An attack label that :mod:`schemas.labels` does not know is one alert per flow, of this severity.
UNKNOWN_SEVERITY = 3
#: From so many flows on, an aggregated alert is one degree more severe.
MANY_FLOWS = 1000
#: Below this confidence an alert is one degree less severe.
LOW_CONFIDENCE = 0.6
#: Evidence (counted flows) is kept this long after an alert's last change: twice the retention of ``predictions``.
EVIDENCE_HOURS = 48

#: What alerts are made from, by the names that flows have for it; another record type says what it calls them.
EVIDENCE_COLUMNS: tuple[str, ...] = (
    "flow_id",
    "community_id",
    "sensor_id",
    "domain",
    "protocol",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "start_time",
    "end_time",
    "closed",
    "confidence_score",
    "predicted_label",
    "attack_type",
    "model_version",
)


#: Where a task has a row from (:mod:`jobs.sinks.tops`).
PLACE = "_place"


def evidence_of(table: pa.Table, rules: AlertRules) -> pa.Table:
    """Columns :data:`EVIDENCE_COLUMNS` and ``rules.details`` of scored records; what a record type has under no name is empty.

    Parameters
    ----------
    table
        Columns :func:`read_of` of the record type, and :data:`PLACE` where it is known.
    rules
        Its rules, which say what it calls them.
    """
    empty = {pa.string(): "", pa.int32(): 0, pa.int16(): 0, pa.bool_(): True}
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    for name in EVIDENCE_COLUMNS:
        source = rules.columns.get(name, name)
        if source in table.column_names:
            columns[name] = table[source]
        else:
            kind = _EVIDENCE_TYPES.get(name, pa.string())
            columns[name] = pa.repeat(pa.scalar(empty[kind], kind), table.num_rows)
    more = [name for name in (*rules.details, PLACE) if name in table.column_names and name not in columns]
    return pa.table({**columns, **{name: table[name] for name in more}})


def read_of(published: pa.Schema, rules: AlertRules) -> tuple[str, ...]:
    """Columns of a record type that evidence is made from."""
    wanted = {rules.columns.get(name, name) for name in EVIDENCE_COLUMNS} | set(rules.details)
    return tuple(name for name in published.names if name in wanted)


_EVIDENCE_TYPES = {"src_port": pa.int32(), "dst_port": pa.int32(), "protocol": pa.int16(), "closed": pa.bool_()}

_ROW_COLUMNS: tuple[tuple[str, str], ...] = (
    ("id", "uuid"),
    ("timestamp", "timestamptz NOT NULL"),
    ("src_ip", "inet"),
    ("dst_ip", "inet"),
    ("attack_type", "text NOT NULL"),
    ("severity", "integer NOT NULL CHECK (severity BETWEEN 1 AND 5)"),
    ("confidence", "real NOT NULL"),
    ("details", "jsonb NOT NULL DEFAULT '{}'"),
    ("kind", "text NOT NULL"),
    ("domain", "text NOT NULL"),
    ("sensor_id", "text NOT NULL"),
    ("model_version", "text NOT NULL"),
    ("first_seen", "timestamptz NOT NULL"),
    ("last_seen", "timestamptz NOT NULL"),
    ("flow_count", "bigint NOT NULL"),
    ("notified_severity", "integer NOT NULL DEFAULT 0"),  # severity at the last message to the topic; 0: none yet
)
#: Columns the writer fills, in the order of its COPY.
WRITTEN: tuple[str, ...] = (*(name for name, _ in _ROW_COLUMNS), "record_type")
#: Their SQL types, without constraints.
WRITTEN_TYPES: dict[str, str] = {**{name: sql.split(" NOT NULL")[0] for name, sql in _ROW_COLUMNS}, "record_type": "text"}
#: SQL types of all columns: those that people and the database fill, too.
TYPES: dict[str, str] = {
    **WRITTEN_TYPES,
    "action_taken": "text",
    "resolved_at": "timestamptz",
    "resolved_by": "text",
    "incident_id": "uuid",
    "grouped_by": "text",
    "suppressed_by": "bigint",
    "suppressed_at": "timestamptz",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}

#: What holds for them: :mod:`schemas.migrations`.
MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        f"CREATE TABLE IF NOT EXISTS {TABLE} (\n  "
        + ",\n  ".join(f"{name} {sql}" for name, sql in _ROW_COLUMNS)
        + ",\n  action_taken text NOT NULL DEFAULT 'none', resolved_at timestamptz, resolved_by text, incident_id uuid,"
        "\n  created_at timestamptz NOT NULL DEFAULT clock_timestamp(), updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),"
        "\n  PRIMARY KEY (id)\n)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_time ON {TABLE} (timestamp DESC)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_src ON {TABLE} (src_ip, timestamp DESC)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_dst ON {TABLE} (dst_ip, timestamp DESC)",
        f"CREATE INDEX IF NOT EXISTS {TABLE}_open ON {TABLE} (timestamp DESC) WHERE resolved_at IS NULL",
        # The flows themselves are in segments, appended and never rewritten per batch.
        f"CREATE TABLE IF NOT EXISTS {STATE} (alert_id uuid PRIMARY KEY REFERENCES {TABLE} ON DELETE CASCADE, version bigint NOT NULL, "
        "base_count bigint NOT NULL, sources bytea NOT NULL, targets bytea NOT NULL, ports bytea NOT NULL, "
        "updated_at timestamptz NOT NULL DEFAULT clock_timestamp())",
        f"CREATE TABLE IF NOT EXISTS {FLOWS} (alert_id uuid NOT NULL REFERENCES {TABLE} ON DELETE CASCADE, segment bigint NOT NULL, "
        "flows bytea NOT NULL, PRIMARY KEY (alert_id, segment))",
        # Messages for the topic, written in the transaction of the alert and removed once the broker has them.
        f"CREATE TABLE IF NOT EXISTS {OUTBOX} (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, alert_id uuid NOT NULL, "
        "key text NOT NULL, message text NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    ),
    2: (
        # Evidence of what is no alert yet, a row a batch (Arrow IPC streams of PARTIAL_SCHEMA); written anew now and then.
        f"CREATE TABLE IF NOT EXISTS {CANDIDATES} (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, evidence bytea NOT NULL, "
        "written_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    ),
    3: (
        # Of which record type an alert is, and a row of candidates: each type has its own query, and its own memory of them.
        f"ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS record_type text NOT NULL DEFAULT 'flows'",
        f"ALTER TABLE {CANDIDATES} ADD COLUMN IF NOT EXISTS record_type text NOT NULL DEFAULT 'flows'",
        # Kinds that were renamed; ids stay, see alert_key.
        *(f"UPDATE {TABLE} SET kind = '{kind}' WHERE kind = '{former}'" for former, kind in FORMER_KINDS.items()),
    ),
    4: (*incidents.STATEMENTS, *incidents.of_alerts(TABLE)),
    5: (*suppression.STATEMENTS, *suppression.of_alerts(TABLE)),
    6: assets.STATEMENTS,
    7: responses.of_alerts(TABLE),
    8: notifications.STATEMENTS,
    9: notifications.OF_CONDITIONS,
}


def kind_of(attack_type: str, labels: Mapping[str, Label]) -> str:
    """Class of alert identity of a label: ``scan``, ``flood``, ``brute-force``, ``repeated`` or ``per-flow`` (unknown labels too)."""
    label = labels.get(attack_type)
    return label.kind if label is not None and label.kind != "benign" else "per-flow"


def alert_key(
    kind: str, attack_type: str, domain: str, episode: int, src_ip: str, dst_ip: str, flow_id: str, *, namespace: str = ""
) -> str:
    """Identity of an alert as text.

    A per-flow alert is its record, whatever the label: when the final record is labelled otherwise than the snapshot was, the same row
    follows. ``namespace`` is that of the record type (:class:`schemas.records.AlertRules`).
    """
    before = f"{namespace}|" if namespace else ""
    if kind == "per-flow":
        return f"{before}flow|{flow_id}"
    source = "" if kind in ("flood", STORM) else src_ip
    target = "" if kind in ("scan", STORM) else dst_ip
    return f"{before}{_IDENTITY_WORDS.get(kind, kind)}|{attack_type}|{domain}|{episode}|{source}|{target}"


def alert_id(key: str) -> UUID:
    """UUIDv5 of an alert's identity (RFC 9562, section 5.5); ``uuid.uuid5`` takes three times as long."""
    digest = bytearray(sha1(NAMESPACE.bytes + key.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


def severity(attack_type: str, confidence: float, flow_count: int, labels: Mapping[str, Label], importance: int = assets.UNKNOWN) -> int:
    """Severity of an alert, 1 (low) .. 5 (critical); no lower when confidence, flows or importance are higher.

    ``base + volume + doubt + once + weight``, held within 1 and 5.

    Parameters
    ----------
    attack_type
        ``base`` is its label's severity (:mod:`schemas.labels`), :data:`UNKNOWN_SEVERITY` for one that is not known.
    confidence
        ``doubt`` is -1 below :data:`LOW_CONFIDENCE`, else 0.
    flow_count
        ``volume`` is 1 from :data:`MANY_FLOWS` on, else 0. ``once`` is -1 for a single flow of what is an attack by coming again and
        again (:attr:`schemas.labels.Label.by_repetition`), a beacon, for one; else 0.
    labels
        Labels by name.
    importance
        Of the host at stake, 1 .. 4 (:mod:`schemas.assets`). ``weight`` is -1 for LOW, 0 for MEDIUM and unknown, 1 for HIGH, 2 for
        CRITICAL.
    """
    label = labels.get(attack_type)
    base = label.severity if label is not None and label.severity else UNKNOWN_SEVERITY
    once = label is not None and label.by_repetition and flow_count <= 1
    weight = min(4, max(1, importance)) - assets.UNKNOWN
    return min(5, max(1, base + (flow_count >= MANY_FLOWS) - (confidence < LOW_CONFIDENCE) - once + weight))


_US = pa.int64()  # microseconds since the epoch, UTC

#: What one task knows about the alerts of a batch: one row an alert. Hash columns hold packed little-endian uint64.
PARTIAL_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("attack_type", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("sensor_id", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("first_seen", _US, nullable=False),  # earliest start of a flow
        pa.field("last_seen", _US, nullable=False),  # latest end of a flow
        pa.field("evidence", _US, nullable=False),  # earliest end: capture time of the packet that sufficed
        pa.field("confidence", pa.float64(), nullable=False),  # highest
        pa.field("importance", pa.int8(), nullable=False),  # highest of the hosts at stake
        pa.field("flows", pa.binary(), nullable=False),  # hashes of the flow ids; empty for per-flow alerts
        pa.field("sources", pa.binary(), nullable=False),  # bottom-k hashes of the source addresses
        pa.field("targets", pa.binary(), nullable=False),
        pa.field("ports", pa.binary(), nullable=False),
        pa.field("source_sample", pa.list_(pa.string()), nullable=False),
        pa.field("target_sample", pa.list_(pa.string()), nullable=False),
        pa.field("port_sample", pa.list_(pa.string()), nullable=False),
        pa.field("flow_sample", pa.list_(pa.string()), nullable=False),  # ids; empty for per-flow alerts
        # lowest and highest address, where there are more than the sample holds; empty otherwise
        pa.field("source_ends", pa.list_(pa.string()), nullable=False),
        pa.field("target_ends", pa.list_(pa.string()), nullable=False),
        # Hashes of looks at open flows, and whether a closed record is among it: of alerts that one flow makes.
        pa.field("looks", pa.binary(), nullable=False),
        pa.field("closed", pa.bool_(), nullable=False),
        pa.field("flow", pa.string(), nullable=False),  # JSON about the newest flow of a per-flow or repeated alert; "" otherwise
        # The top flow (jobs.sinks.tops), whose confidence is that above; no id where explanations are switched off.
        pa.field("top_flow", pa.string(), nullable=False),
        pa.field("top_end", _US, nullable=False),
        pa.field("top_model", pa.string(), nullable=False),
        pa.field("top_features", pa.binary(), nullable=False),  # float64 in the order of the record type's features
    ]
)
