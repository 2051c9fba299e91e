"""The record type of flow exporters, exported flows: what routers say of the traffic that they saw, enriched and scored.

A record is what the exporter said, in one direction unless it says both; :mod:`jobs.flowexport.columns` has the meaning of each of its
fields. What the platform adds stands behind it: whose copy it is, who began, what it is called, where its ends are, how likely it is an
attack.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.hot import first_migration
from schemas.labels import LABELS
from schemas.records import Aggregate, AlertRules, Features, HotColumn, HotTable, LakeTable, Life, RecordType, Rollup
from schemas.rules import Address, OneOf, Order, Range
from schemas.topics import COMPRESSED_INSIDE, DAY_MS, TopicSpec

FLOWS_ENRICHED = TopicSpec(
    "flows.enriched", 6, DAY_MS, "exported flows, enriched and scored, one Arrow batch (lz4 inside) a message", COMPRESSED_INSIDE
)
#: What each exporter sent, and what of it was lost: cumulative, so a copy of a message changes nothing.
FLOW_ACCOUNTS = TopicSpec("flows.accounts", 1, 7 * DAY_MS, "cumulative counts of each flow exporter and domain, JSON, a line each")
CONTENT_EXPORTED = "application/vnd.flowlake.exported-flows+arrow; v=1"
FEATURE_VERSION = "1"
#: Of the hot store; the archive has its name, and may lie beside the lake, whose table is ``exported_flows``.
TABLE = "flow_exports"

_TS = pa.timestamp("us", tz="UTC")


def _must(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=False) for name in names]


def _may(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


#: Whose record it is: with these it is the same record, however often it is decoded.
_ORIGIN = (
    *_must(pa.string(), "flow_id"),  # UUID of sender (its port too: by_port), exporter, protocol, domain, time of export, number, place
    *_must(pa.string(), "sensor_id", "domain"),  # the collector's
    *_must(pa.string(), "exporter_ip", "sender_ip"),  # they differ where a proxy, or another address of the router, sent it
    *_must(pa.string(), "export_protocol"),  # one of PROTOCOLS
    *_must(pa.int64(), "exporter_domain"),  # observation domain, source id, engine or sub-agent
    *_must(pa.int32(), "template"),
    *_must(pa.int64(), "sequence"),
    *_must(_TS, "received_time", "export_time"),
)
_TRAFFIC = (
    *_must(_TS, "start_time", "end_time"),
    *_must(pa.int8(), "ip_version"),  # 0: no IP, or not said
    *_may(pa.string(), "src_ip", "dst_ip"),
    *_must(pa.int32(), "src_port", "dst_port"),
    *_must(pa.int16(), "protocol", "tos"),
    *_must(pa.int32(), "tcp_flags"),
    *_must(pa.int64(), "flow_label"),
    *_may(pa.int16(), "icmp_type", "icmp_code"),
    *_must(pa.int64(), "bytes", "packets"),  # as exported; layer 3
    *_must(pa.int64(), "reverse_bytes", "reverse_packets"),
    *_must(pa.int32(), "reverse_tcp_flags"),
    *_must(pa.int64(), "scaled_bytes", "scaled_packets"),  # times the sampling rate, and what was left out under pressure
    *_must(pa.float64(), "sampling_rate"),  # 1 where nobody said one: sampling_source tells
    *_must(pa.string(), "sampling_source"),  # one of SAMPLING
    *_must(pa.int64(), "sampler", "kept_of"),
)
_PLACE = (
    *_must(pa.int64(), "input_interface", "output_interface"),
    *_may(pa.string(), "input_name", "output_name"),
    *_must(pa.int64(), "src_as", "dst_as"),  # as the router says; src_asn and dst_asn are looked up
    *_must(pa.int16(), "src_mask", "dst_mask"),
    *_may(pa.string(), "next_hop", "bgp_next_hop"),
    *_must(pa.int32(), "vlan", "post_vlan"),
    *_must(pa.int64(), "vrf_in", "vrf_out"),
    *_may(pa.string(), "vrf_in_name", "vrf_out_name"),
    *_must(pa.int64(), "mpls_label"),
    *_may(pa.string(), "src_mac", "dst_mac"),
    *_must(pa.string(), "tunnel"),
    *_must(pa.string(), "direction"),  # one of DIRECTIONS
    *_must(pa.string(), "end_reason"),  # one of END_REASONS
    *_must(pa.int16(), "forwarding"),
    *_must(pa.int32(), "drop_reason"),
    *_may(pa.string(), "nat_src_ip", "nat_dst_ip"),
    *_must(pa.int32(), "nat_src_port", "nat_dst_port"),
    *_must(pa.int16(), "nat_event", "firewall_event"),
    *_may(pa.string(), "application"),
    *_must(pa.string(), "marks"),  # names of jobs.flowexport.columns.FlowMark, with commas
    *_may(pa.string(), "extra"),  # JSON object: fields that have no column, element -> bytes in hex
)
#: What the platform finds out.
_FOUND = (
    *_may(pa.string(), "duplicate_of"),  # exporter whose record of the same flow counts; null: this one does
    *_must(pa.string(), "client"),  # one of CLIENTS: who began
    *_must(pa.string(), "client_evidence"),  # one of CLIENT_EVIDENCE
    *_must(pa.string(), "service", "service_evidence"),  # e.g. https, and one of SERVICE_EVIDENCE
    *_may(pa.string(), "src_hostname", "dst_hostname"),
    *_may(pa.string(), "src_country", "dst_country", "src_city", "dst_city"),
    *_may(pa.float64(), "src_latitude", "src_longitude", "dst_latitude", "dst_longitude"),
    *_may(pa.int64(), "src_asn", "dst_asn"),
    *_may(pa.string(), "src_as_org", "dst_as_org"),
    *_may(pa.string(), "src_cloud", "dst_cloud", "src_cloud_region", "dst_cloud_region", "src_cloud_service", "dst_cloud_service"),
    *_must(pa.bool_(), "is_internal", "is_ingress", "is_egress"),
)
#: What a model may read: of one record, in numbers that a sampled exporter has as well as one that sees every packet.
_MEASURES = (
    *_must(pa.float64(), "duration", "bytes_per_packet", "packets_per_sec", "bytes_per_sec"),  # s; bytes; scaled, of both directions
    *_must(pa.float64(), "reverse_share"),  # of the bytes, the answers' part
    *_must(pa.int8(), "fin", "syn", "rst", "psh", "ack", "urg"),  # flags seen in either direction
    *_must(pa.int32(), "service_port"),  # the server's side, as far as that can be told
    *_must(pa.int8(), "toward_server"),  # 1: from the client, 0: not known, -1: from the server
)
FEATURES: tuple[str, ...] = (
    "protocol",
    "tos",
    "scaled_bytes",
    "scaled_packets",
    *(field.name for field in _MEASURES),
)
SCHEMA = pa.schema([*_ORIGIN, *_TRAFFIC, *_PLACE, *_FOUND, *_MEASURES])

#: Values of the columns of words.
PROTOCOLS = {5: "netflow-v5", 9: "netflow-v9", 10: "ipfix", 105: "sflow"}
SAMPLING = ("unknown", "record", "options", "header", "pool")
DIRECTIONS = {0: "ingress", 1: "egress", 255: ""}
END_REASONS = ("", "idle", "active", "end", "forced", "resources")  # IPFIX flowEndReason 1 to 5
CLIENTS = ("", "source", "destination")
CLIENT_EVIDENCE = ("", "biflow", "flags", "icmp", "service", "port")
SERVICE_EVIDENCE = ("", "application", "service", "port")

_KEY = ("timestamp", "flow_id")


def _same(sql: str, *names: str) -> tuple[HotColumn, ...]:
    return tuple(HotColumn(name, sql, name) for name in names)


_HOT = (
    HotColumn("timestamp", "timestamptz NOT NULL", "start_time"),
    *_same("uuid NOT NULL", "flow_id"),
    *_same("timestamptz NOT NULL", "end_time", "received_time"),
    HotColumn("collector", "text NOT NULL", "sensor_id"),
    *_same("text NOT NULL", "export_protocol"),
    *_same("inet NOT NULL", "exporter_ip"),
    *_same("bigint NOT NULL", "exporter_domain"),
    *_same("inet", "src_ip", "dst_ip"),
    *_same("integer NOT NULL", "src_port", "dst_port"),
    *_same("smallint NOT NULL", "protocol", "tos"),
    *_same("integer NOT NULL", "tcp_flags"),
    *_same("bigint NOT NULL", "bytes", "packets", "reverse_bytes", "reverse_packets", "scaled_bytes", "scaled_packets"),
    *_same("double precision NOT NULL", "sampling_rate"),
    *_same("text NOT NULL", "sampling_source"),
    *_same("bigint NOT NULL", "input_interface", "output_interface", "src_as", "dst_as"),
    *_same("integer NOT NULL", "vlan"),
    *_same("bigint NOT NULL", "vrf_in"),
    *_same("inet", "next_hop", "bgp_next_hop"),
    *_same("text NOT NULL", "direction"),
    *_same("inet", "nat_src_ip", "nat_dst_ip"),
    *_same("integer NOT NULL", "nat_src_port", "nat_dst_port"),
    *_same("text NOT NULL", "marks"),
    *_same("text", "duplicate_of"),
    *_same("text NOT NULL", "client", "service"),
    *_same("text", "src_hostname", "dst_hostname", "src_country", "dst_country"),
    *_same("bigint", "src_asn", "dst_asn"),
    *_same("text", "src_as_org", "dst_as_org", "src_cloud", "dst_cloud"),
    *_same("boolean NOT NULL", "is_internal", "is_ingress", "is_egress"),
    *_same("integer NOT NULL CHECK (predicted_label IN (0, 1))", "predicted_label"),
    *_same("real NOT NULL CHECK (confidence_score >= 0 AND confidence_score <= 1)", "confidence_score"),
    *_same("text NOT NULL", "attack_type", "model_version"),
)

#: Dashboards ask for volumes by exporter and service; what a second exporter saw of a flow is in no sum.
HOURLY = Rollup(
    "hourly_flow_exports",
    bucket="hour",
    group_by=("exporter_ip", "protocol", "service", "is_internal"),
    aggregates=(
        Aggregate("flows", "count(*) FILTER (WHERE duplicate_of IS NULL)"),
        Aggregate("bytes", "coalesce(sum(scaled_bytes) FILTER (WHERE duplicate_of IS NULL), 0)::bigint"),
        Aggregate("packets", "coalesce(sum(scaled_packets) FILTER (WHERE duplicate_of IS NULL), 0)::bigint"),
        Aggregate("duplicates", "count(duplicate_of)"),
    ),
)

EXPORTED_FLOWS_TABLE = HotTable(
    TABLE,
    TABLE,
    _HOT,
    _KEY,
    {
        1: first_migration(
            TABLE,
            _HOT,
            _KEY,
            f"CREATE INDEX IF NOT EXISTS {TABLE}_src_time ON {TABLE} (src_ip, timestamp DESC)",
            f"CREATE INDEX IF NOT EXISTS {TABLE}_dst_time ON {TABLE} (dst_ip, timestamp DESC)",
            f"CREATE INDEX IF NOT EXISTS {TABLE}_exporter_time ON {TABLE} (exporter_ip, timestamp DESC)",
            f"CREATE INDEX IF NOT EXISTS {TABLE}_attacks ON {TABLE} (timestamp DESC) WHERE predicted_label = 1",
        )
    },
    Life(segment_by="exporter_ip"),
    (HOURLY,),
)

EXPORTED_FLOWS = RecordType(
    name="exported_flows",
    version=1,
    schema=SCHEMA,
    key="flow_id",
    event_time="start_time",
    end_time="end_time",  # by the exporter's clock, as the start is: receipt may lie before both
    topic=FLOWS_ENRICHED,
    content_type=CONTENT_EXPORTED,
    features=Features(FEATURES, FEATURE_VERSION, "flowlake-exported-flows", "flowlake netflow train trains one"),
    lake=LakeTable(
        "exported_flows",
        ("start_time", "end_time", "exporter_ip", "src_ip", "dst_ip", "dst_port", "protocol", "service", "predicted_label", "attack_type"),
        "Flows that routers exported, enriched and scored; one row a flow_id",
        cluster=("src_ip", "dst_ip"),
    ),
    hot=EXPORTED_FLOWS_TABLE,
    alerts=AlertRules(
        LABELS,
        details=("exporter_ip", "protocol", "src_port", "dst_port", "service", "scaled_bytes", "scaled_packets"),
        namespace="exported",
    ),
    rules=(
        Address("src_ip"),
        Address("dst_ip"),
        Address("exporter_ip"),
        OneOf("ip_version", (0, 4, 6)),
        OneOf("export_protocol", tuple(PROTOCOLS.values())),
        OneOf("client", CLIENTS),
        Range("protocol", 0, 255),
        Range("src_port", 0, 65_535),
        Range("dst_port", 0, 65_535),
        *(Range(name, 0) for name in ("bytes", "packets", "scaled_bytes", "scaled_packets", "duration")),
        Range("sampling_rate", 1),
        Range("kept_of", 1),
        Order(("start_time",), ("end_time",)),
    ),
)
