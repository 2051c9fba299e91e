"""Flow records and predictions: the columns of a record, as Arrow types.

A record is *identity* columns + *features* (:mod:`schemas.features`); a prediction is a record + *prediction* columns. The lake
stores every column; the hot store a selection (:mod:`schemas.hot`). Messages of the topic ``predictions`` are Arrow IPC streams of
``PREDICTION_SCHEMA`` (one record batch each, lz4).
"""

from __future__ import annotations

import pyarrow as pa

from schemas.features import ALL_FEATURES, FEATURE_RULES
from schemas.records import PREDICTION_FIELDS
from schemas.rules import Address, Constraint, OneOf, Order, Range

#: Version of the columns below (names, order, types). Part of the checkpoint paths of every query that reads or writes them.
RECORD_VERSION = 1

_TS = pa.timestamp("us", tz="UTC")

IDENTITY_FIELDS: tuple[pa.Field, ...] = (
    pa.field("flow_id", pa.string(), nullable=False),  # UUID, deterministic: domain, key, start time, part
    pa.field("community_id", pa.string(), nullable=False),  # Community ID v1, seed meter.community_id_seed
    pa.field("sensor_id", pa.string(), nullable=False),  # sensor of the first packet
    pa.field("domain", pa.string(), nullable=False),  # observation domain
    pa.field("ip_version", pa.int8(), nullable=False),  # 4 or 6, of the innermost IP packet
    pa.field("protocol", pa.int16(), nullable=False),  # IANA protocol number
    pa.field("src_ip", pa.string(), nullable=False),  # source of the forward direction
    pa.field("src_port", pa.int32(), nullable=False),  # 0 where the protocol has no ports
    pa.field("dst_ip", pa.string(), nullable=False),  # destination of the forward direction
    pa.field("dst_port", pa.int32(), nullable=False),  # 0 where the protocol has no ports
    pa.field("start_time", _TS, nullable=False),  # capture time of the first packet
    pa.field("end_time", _TS, nullable=False),  # capture time of the last packet
    pa.field("closed", pa.bool_(), nullable=False),  # False: interim snapshot of a flow that is still open
    pa.field("end_reason", pa.string()),  # fin rst idle active evicted forced; null while open
    pa.field("part", pa.int32(), nullable=False),  # number of this record inside a split connection
    pa.field("vlan_ids", pa.string(), nullable=False),  # "10" or "10,20" (QinQ, outer first); "" without
    pa.field("tunnel", pa.string(), nullable=False),  # kinds from the outside in, e.g. "gre" or "gtp-u"; "" without
    pa.field("tcp_state", pa.string(), nullable=False),  # Zeek's conn_state; "" when not TCP
    pa.field("fwd_l3_bytes", pa.int64(), nullable=False),  # bytes of forward IP packets, IP headers included
    pa.field("bwd_l3_bytes", pa.int64(), nullable=False),  # bytes of backward IP packets, IP headers included
    pa.field("out_of_order_packets", pa.int64(), nullable=False),  # TCP segments with data that fill a gap
    pa.field("duplicate_packets", pa.int64(), nullable=False),  # TCP segments with data that was seen before
    pa.field("malformed_packets", pa.int64(), nullable=False),  # metered, though the L4 length contradicts the IP length
    pa.field("feature_version", pa.string(), nullable=False),  # schemas.features.FEATURE_VERSION
)

FEATURE_FIELDS: tuple[pa.Field, ...] = tuple(
    pa.field(f.name, pa.int64() if f.kind == "int" else pa.float64(), nullable=False) for f in ALL_FEATURES
)

RECORD_SCHEMA = pa.schema([*IDENTITY_FIELDS, *FEATURE_FIELDS])
PREDICTION_SCHEMA = pa.schema([*IDENTITY_FIELDS, *FEATURE_FIELDS, *PREDICTION_FIELDS])

_PACKETS = ("total_fwd_packets", "total_backward_packets")

#: What holds of every flow, beyond what follows from its columns.
RULES: tuple[Constraint, ...] = (
    Address("src_ip"),
    Address("dst_ip"),
    OneOf("ip_version", (4, 6)),
    Range("protocol", 0, 255),
    Range("src_port", 0, 65_535),
    Range("dst_port", 0, 65_535),
    *(
        Range(name, 0)
        for name in ("part", "fwd_l3_bytes", "bwd_l3_bytes", "out_of_order_packets", "duplicate_packets", "malformed_packets")
    ),
    *FEATURE_RULES,
    # counts of parts are not above the whole
    *(Order((f"{name}_flag_count",), _PACKETS) for name in ("fin", "syn", "rst", "psh", "ack", "urg", "cwr", "ece")),
    Order(("fwd_psh_flags",), ("total_fwd_packets",)),
    Order(("bwd_psh_flags",), ("total_backward_packets",)),
    Order(("fwd_act_data_pkts",), ("total_fwd_packets",)),
    Order(("bwd_act_data_pkts",), ("total_backward_packets",)),
)
