"""Tables of a collector of flow exports that writes to PostgreSQL itself: ``flow_raw``, what it could not decode, what it knows."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from schemas.hot import first_migration
from schemas.records import HotColumn, HotTable, Life

TABLE = "flow_raw"
#: What a collector knows of its exporters (:mod:`jobs.flowexport.state`), by its name.
STATE = "flow_raw_collectors"
_STATE_DDL = (
    f"CREATE TABLE IF NOT EXISTS {STATE} ("
    "collector text PRIMARY KEY, state bytea NOT NULL, saved_at timestamptz NOT NULL DEFAULT clock_timestamp())"
)

_COLUMNS = (
    HotColumn("received_at", "timestamptz NOT NULL", "received_time"),
    HotColumn("id", "bigint NOT NULL", "id"),  # of flow_id: a repetition of a write has the same
    HotColumn("flow_id", "uuid NOT NULL", "flow_id"),  # that of flow_exports
    HotColumn("exporter_ip", "inet NOT NULL", "exporter_ip"),
    HotColumn("src_ip", "inet", "src_ip"),
    HotColumn("dst_ip", "inet", "dst_ip"),
    HotColumn("src_port", "integer NOT NULL", "src_port"),
    HotColumn("dst_port", "integer NOT NULL", "dst_port"),
    HotColumn("protocol", "smallint NOT NULL", "protocol"),
    HotColumn("bytes", "bigint NOT NULL", "bytes"),
    HotColumn("packets", "bigint NOT NULL", "packets"),
    HotColumn("tcp_flags", "integer NOT NULL", "tcp_flags"),
    HotColumn("processed", "boolean NOT NULL DEFAULT false", "processed"),  # its row in flow_exports was written with it
)
_KEY = ("received_at", "id")

FLOW_RAW = HotTable(
    TABLE,
    TABLE,
    _COLUMNS,
    _KEY,
    {
        1: (
            *first_migration(
                TABLE,
                _COLUMNS,
                _KEY,
                f"CREATE INDEX IF NOT EXISTS {TABLE}_unprocessed ON {TABLE} (processed) WHERE processed = false",
            ),
            _STATE_DDL,
        ),
        2: (
            f"ALTER TABLE {STATE} ADD COLUMN IF NOT EXISTS way text NOT NULL DEFAULT 'direct'",  # or kafka: mode auto
            f"ALTER TABLE {STATE} ADD COLUMN IF NOT EXISTS owners bytea",  # of flows, as of the collector's end
        ),
    },
    Life(retention_days=7, segment_by="exporter_ip"),
)


DEAD_TABLE = "flow_raw_dead_letters"
_DEAD_COLUMNS = (
    HotColumn("received_at", "timestamptz NOT NULL", "received_at"),
    HotColumn("id", "bigint NOT NULL", "id"),  # of what came, and when: a repetition of a write has the same
    HotColumn("collector", "text NOT NULL", "collector"),
    HotColumn("sender", "inet NOT NULL", "sender"),
    HotColumn("sender_port", "integer NOT NULL", "sender_port"),
    HotColumn("reason", "text NOT NULL", "reason"),  # jobs.flowexport.faults
    HotColumn("at_byte", "integer NOT NULL", "at_byte"),  # of the datagram, where the first fault was found
    HotColumn("kept_of", "integer NOT NULL", "kept_of"),  # it stands for so many
    HotColumn("datagram", "bytea NOT NULL", "datagram"),
)
#: Datagrams that were not decoded wholly.
FLOW_RAW_DEAD_LETTERS = HotTable(
    DEAD_TABLE, DEAD_TABLE, _DEAD_COLUMNS, _KEY, {1: first_migration(DEAD_TABLE, _DEAD_COLUMNS, _KEY)}, Life(retention_days=7)
)


QUARANTINE_TABLE = "flow_raw_quarantine"
_QUARANTINE_COLUMNS = (
    HotColumn("received_at", "timestamptz NOT NULL", "received_at"),
    HotColumn("id", "bigint NOT NULL", "id"),  # as in flow_raw
    HotColumn("flow_id", "uuid NOT NULL", "flow_id"),
    HotColumn("exporter_ip", "inet NOT NULL", "exporter_ip"),
    HotColumn("rule", "text NOT NULL", "rule"),  # the first that it breaks
    HotColumn("reason", "text NOT NULL", "reason"),
    HotColumn("record", "jsonb NOT NULL", "record"),
)
#: Records that break a rule of their type.
FLOW_RAW_QUARANTINE = HotTable(
    QUARANTINE_TABLE,
    QUARANTINE_TABLE,
    _QUARANTINE_COLUMNS,
    _KEY,
    {1: first_migration(QUARANTINE_TABLE, _QUARANTINE_COLUMNS, _KEY)},
    Life(retention_days=7),
)


class OwnTables(NamedTuple):
    """Tables of a collector that stores flows itself."""

    raw: HotTable
    dead_letters: HotTable
    quarantine: HotTable


def own_tables(retention_days: int) -> OwnTables:
    """They, with rows that live for so many days."""
    every = (FLOW_RAW, FLOW_RAW_DEAD_LETTERS, FLOW_RAW_QUARANTINE)
    return OwnTables(*(replace(of, life=replace(of.life, retention_days=retention_days)) for of in every))
