"""The record type of flow exporters, interface counters: what agents of sFlow say of their interfaces every some seconds (sFlow v5, 5.3).

Counters are cumulative since the agent began; those of bytes and the speed have 64 bits, the others 32 and wrap. What an agent does not
count is null: it says the largest number then.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.hot import first_migration
from schemas.records import HotColumn, HotTable, Life, RecordType
from schemas.rules import Address, OneOf, Range
from schemas.topics import COMPRESSED_INSIDE, DAY_MS, TopicSpec

INTERFACE_COUNTERS_TOPIC = TopicSpec(
    "interface.counters", 1, DAY_MS, "counters of exporters' interfaces, one Arrow batch (lz4 inside) a message", COMPRESSED_INSIDE
)
#: Whether both ends of a link may send at once, by the agent's number; other numbers are unknown.
DUPLEX = {0: "", 1: "full", 2: "half", 3: "in", 4: "out"}
#: Cumulative, in units of their names.
COUNTS = (
    *("in_bytes", "in_unicast", "in_multicast", "in_broadcast", "in_discards", "in_errors", "in_unknown"),
    *("out_bytes", "out_unicast", "out_multicast", "out_broadcast", "out_discards", "out_errors"),
)

_TS = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema([
    pa.field("counter_id", pa.string(), nullable=False),
    pa.field("received_time", _TS, nullable=False),  # by the collector's clock
    *(pa.field(name, pa.string(), nullable=False) for name in ("sensor_id", "domain", "exporter_ip")),
    pa.field("interface", pa.int64(), nullable=False),  # ifIndex
    pa.field("interface_type", pa.int64(), nullable=False),  # IANAifType
    pa.field("speed", pa.int64()),  # bit/s
    pa.field("duplex", pa.string(), nullable=False),  # of DUPLEX
    *(pa.field(name, pa.bool_(), nullable=False) for name in ("admin_up", "oper_up", "promiscuous")),
    *(pa.field(name, pa.int64()) for name in COUNTS),
])  # fmt: skip

TABLE = "interface_counters"
_KEY = ("timestamp", "counter_id")
_COLUMNS = (
    HotColumn("timestamp", "timestamptz NOT NULL", "received_time"),
    HotColumn("counter_id", "uuid NOT NULL", "counter_id"),
    HotColumn("collector", "text NOT NULL", "sensor_id"),
    HotColumn("exporter_ip", "inet NOT NULL", "exporter_ip"),
    *(HotColumn(name, "bigint NOT NULL", name) for name in ("interface", "interface_type")),
    HotColumn("speed", "bigint", "speed"),
    HotColumn("duplex", "text NOT NULL", "duplex"),
    *(HotColumn(name, "boolean NOT NULL", name) for name in ("admin_up", "oper_up", "promiscuous")),
    *(HotColumn(name, "bigint", name) for name in COUNTS),
)

INTERFACE_COUNTERS = RecordType(
    name="interface_counters",
    version=1,
    schema=SCHEMA,
    key="counter_id",
    event_time="received_time",
    topic=INTERFACE_COUNTERS_TOPIC,
    content_type="application/vnd.flowlake.interface-counters+arrow; v=1",
    hot=HotTable(
        TABLE,
        TABLE,
        _COLUMNS,
        _KEY,
        {
            1: first_migration(
                TABLE,
                _COLUMNS,
                _KEY,
                f"CREATE INDEX IF NOT EXISTS {TABLE}_interface_time ON {TABLE} (exporter_ip, interface, timestamp DESC)",
            )
        },
        Life(segment_by="exporter_ip"),
    ),
    rules=(Address("exporter_ip"), OneOf("duplex", tuple(DUPLEX.values())), *(Range(name, 0) for name in ("interface", "speed", *COUNTS))),
)
