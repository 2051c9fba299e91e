"""What passes: the topic of raw readings, and the record type that is made of them."""

from __future__ import annotations

import pyarrow as pa

from schemas.hot import first_migration
from schemas.labels import Label
from schemas.records import AlertRules, Features, HotColumn, HotTable, LakeTable, Life, RecordType
from schemas.topics import COMPRESSED_INSIDE, DAY_MS, HOUR_MS, TopicSpec

RAW_READINGS = TopicSpec("raw-readings", 3, HOUR_MS, "readings as they came, one JSON object a line")
READINGS = TopicSpec("readings", 3, DAY_MS, "judged readings, one Arrow batch (lz4 inside) a message", COMPRESSED_INSIDE)

_TS = pa.timestamp("us", tz="UTC")
#: What a model may read: each is computed from the readings of one device.
FEATURES = ("value", "mean", "std", "zscore", "delta", "repeats", "gap_s")

_HOT = (
    HotColumn("timestamp", "timestamptz NOT NULL", "reading_time"),
    HotColumn("reading_id", "uuid NOT NULL", "reading_id"),
    HotColumn("device", "text NOT NULL", "device"),
    HotColumn("value", "double precision NOT NULL", "value"),
    HotColumn("zscore", "double precision NOT NULL", "zscore"),
    HotColumn("predicted_label", "integer NOT NULL", "predicted_label"),
    HotColumn("confidence_score", "real NOT NULL", "confidence_score"),
    HotColumn("attack_type", "text NOT NULL", "attack_type"),
    HotColumn("model_version", "text NOT NULL", "model_version"),
)
_KEY = ("timestamp", "reading_id")
_INDEX = "CREATE INDEX IF NOT EXISTS sensor_readings_device ON sensor_readings (device, timestamp DESC)"

READING = RecordType(
    name="readings",
    version=1,
    schema=pa.schema(
        [
            pa.field("reading_id", pa.string(), nullable=False),  # UUID of device and time: the same however often it is read
            pa.field("sensor_id", pa.string(), nullable=False),  # who sent it
            pa.field("device", pa.string(), nullable=False),
            pa.field("reading_time", _TS, nullable=False),
            pa.field("value", pa.float64(), nullable=False),
            pa.field("mean", pa.float64(), nullable=False),  # of the device's readings before this one
            pa.field("std", pa.float64(), nullable=False),
            pa.field("zscore", pa.float64(), nullable=False),  # how far value is from mean, in std
            pa.field("delta", pa.float64(), nullable=False),  # to the reading before
            pa.field("repeats", pa.int64(), nullable=False),  # readings in a row with this very value
            pa.field("gap_s", pa.float64(), nullable=False),  # seconds since the reading before
        ]
    ),
    key="reading_id",
    event_time="reading_time",
    topic=READINGS,
    content_type="application/vnd.flowlake.readings+arrow; v=1",
    features=Features(FEATURES, "1", "flowlake-readings", "flowlake readings train trains one"),
    lake=LakeTable(
        "readings", ("reading_time", "device", "predicted_label", "attack_type"), "Judged readings, one row a reading_id", ("device",)
    ),
    hot=HotTable(
        "sensor_readings", "readings", _HOT, _KEY, {1: first_migration("sensor_readings", _HOT, _KEY, _INDEX)}, Life(retention_days=30)
    ),
    alerts=AlertRules(
        labels=(
            Label("BENIGN", "benign", 0, "an ordinary reading"),
            Label("SPIKE", "per-flow", 3, "a reading far from what the device said before"),
            Label("STUCK", "flood", 4, "a device that says the same again and again: one alert a device and episode"),
        ),
        columns={"flow_id": "reading_id", "domain": "device", "start_time": "reading_time", "end_time": "reading_time"},
        details=("device", "value", "zscore"),
        namespace="readings",
    ),
)
