"""The record type of the packet source, flows, and the topics that it works with."""

from __future__ import annotations

from schemas.cicflowcsv import CSV
from schemas.features import FEATURE_NAMES, FEATURE_VERSION
from schemas.flows import RECORD_SCHEMA, RECORD_VERSION, RULES
from schemas.labels import LABELS
from schemas.network_flows import NETWORK_FLOWS
from schemas.records import AlertRules, Features, LakeTable, RecordType
from schemas.rules import nightly_beyond
from schemas.topics import COMPRESSED_INSIDE, DAY_MS, HOUR_MS, TopicSpec
from schemas.wire import CONTENT_FLOWS

#: The broker's clock: the meter compares the times of different sensors' messages, whose own clocks may differ by minutes.
RAW_PACKETS = TopicSpec(
    "raw-packets",
    12,
    HOUR_MS,
    "frames from the sensors, one Arrow batch (lz4 inside) a message",
    COMPRESSED_INSIDE,
    timestamps="LogAppendTime",
)
PREDICTIONS = TopicSpec(
    "predictions", 3, DAY_MS, "scored flow records and interim snapshots, one Arrow batch (lz4 inside) a message", COMPRESSED_INSIDE
)
ACCOUNTS = TopicSpec("accounts", 1, 7 * DAY_MS, "cumulative packet and flow counters of the meter, JSON, keyed by query, domain and bucket")

#: Flows: bidirectional, with CICFlowMeter's features.
FLOWS = RecordType(
    name="flows",
    version=RECORD_VERSION,
    schema=RECORD_SCHEMA,
    key="flow_id",
    event_time="start_time",
    end_time="end_time",
    topic=PREDICTIONS,
    content_type=CONTENT_FLOWS,
    final="closed",
    features=Features(FEATURE_NAMES, FEATURE_VERSION, "flowlake-flows", "flowlake train --promote trains one and makes it champion"),
    lake=LakeTable(
        "",
        ("start_time", "end_time", "src_ip", "dst_ip", "dst_port", "protocol", "predicted_label", "attack_type", "sensor_id", "domain"),
        "Flow records, closed and scored; one row a flow_id",
        cluster=("src_ip", "dst_ip"),
    ),
    hot=NETWORK_FLOWS,
    alerts=AlertRules(LABELS, details=("community_id", "protocol", "src_port", "dst_port", "closed")),
    # The names that these queries had before there were other record types: checkpoints go by them.
    queries={"lake": "lake", "hot": "hot", "alerts": "alerts"},
    csv=CSV,
    rules=nightly_beyond(NETWORK_FLOWS.sources, RULES),
)
