"""The record types of windows per source, one of each size, and what they pass through."""

from __future__ import annotations

from schemas.hot import first_migration
from schemas.labels import LABELS
from schemas.records import AlertRules, Features, HotColumn, HotTable, LakeTable, Life, RecordType
from schemas.topics import COMPRESSED_INSIDE, DAY_MS, HOUR_MS, TopicSpec
from schemas.windows import SIZES, WINDOW_FEATURES, WINDOW_NAMES, WINDOW_VERSION, schema_of

#: One partition: what the buckets of a meter say of one batch lies before what they say of the next.
WINDOW_SLICES = TopicSpec(
    "window-slices", 1, HOUR_MS, "what fell into each 5 s slot, by source, and the meter's clocks; summaries, compressed", COMPRESSED_INSIDE
)
CONTENT_WINDOW_SLICES = "application/vnd.flowlake.window-slices; v=1"

TABLE = "window_features"
#: The time comes first, by which rows lie in days; a source that two domains see has a row of each.
_KEY = ("window_start", "window_size", "src_ip", "src_prefix", "part", "domain")


def _sql(unit: str) -> str:
    """Counts of bytes and packets go beyond what a real holds exactly."""
    return "double precision NOT NULL" if unit else "real NOT NULL"


_COLUMNS = (
    HotColumn("window_start", "timestamptz NOT NULL", "window_start"),
    HotColumn("window_size", "smallint NOT NULL", "window_size"),
    HotColumn("src_ip", "inet NOT NULL", "src_ip"),
    HotColumn("src_prefix", "smallint NOT NULL", "src_prefix"),
    HotColumn("part", "smallint NOT NULL", "part"),
    HotColumn("domain", "text NOT NULL", "domain"),
    HotColumn("window_id", "uuid NOT NULL", "window_id"),
    HotColumn("complete", "smallint NOT NULL", "complete"),
    *(HotColumn(feature.name, _sql(feature.unit), feature.name) for feature in WINDOW_FEATURES),
    HotColumn("predicted_label", "integer NOT NULL CHECK (predicted_label IN (0, 1))", "predicted_label"),
    HotColumn("confidence_score", "real NOT NULL CHECK (confidence_score >= 0 AND confidence_score <= 1)", "confidence_score"),
    HotColumn("attack_type", "text NOT NULL", "attack_type"),
    HotColumn("model_version", "text NOT NULL", "model_version"),
)

#: Shared by all sizes.
WINDOW_FEATURES_TABLE = HotTable(
    TABLE,
    "windows",
    _COLUMNS,
    _KEY,
    {
        1: first_migration(
            TABLE,
            _COLUMNS,
            _KEY,
            f"CREATE INDEX IF NOT EXISTS idx_agg_window_src_start ON {TABLE} (window_size, src_ip, window_start)",
            f"CREATE INDEX IF NOT EXISTS {TABLE}_attacks ON {TABLE} (window_start DESC) WHERE predicted_label = 1",
        )
    },
    Life(segment_by="window_size, predicted_label"),
    archived="archived_windows",
)


def _record(size: int) -> RecordType:
    name = f"windows_{size}"
    return RecordType(
        name=name,
        version=1,
        schema=schema_of(size),
        key="window_id",
        event_time="window_start",
        end_time="last_packet",
        topic=TopicSpec(
            f"windows-{size}",
            1,
            DAY_MS,
            f"scored windows of {size} s per source, one Arrow batch (lz4 inside) a message",
            COMPRESSED_INSIDE,
        ),
        content_type=f"application/vnd.flowlake.windows-{size}+arrow; v=1",
        features=Features(WINDOW_NAMES, WINDOW_VERSION, f"flowlake-windows-{size}", "flowlake windows train trains one of each size"),
        lake=LakeTable(
            name,
            ("window_start", "src_ip", "domain", "flows_started", "predicted_label", "attack_type"),
            f"What each source began in windows of {size} s, scored; one row a window_id",
            cluster=("src_ip",),
        ),
        hot=WINDOW_FEATURES_TABLE,
        alerts=AlertRules(
            LABELS,
            columns={"flow_id": "window_id", "start_time": "window_start", "end_time": "last_packet"},
            details=("window_size", "src_prefix", "complete", "flows_started", "destinations", "failed_ratio", "beats", "beat_period"),
            namespace="windows",  # of all sizes: a source that several of them see is one alert
            min_records=1,  # each is of many flows, and thresholds are chosen by windows that are false alarms
        ),
    )


#: By window size, seconds.
WINDOWS: dict[int, RecordType] = {size: _record(size) for size in SIZES}
#: Names of the record types.
WINDOW_TYPES = frozenset(record.name for record in WINDOWS.values())
