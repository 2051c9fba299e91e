"""Scored windows made by hand, for tests of what is behind them: chosen columns, the others are plausible."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa

from schemas.windowrecords import WINDOWS
from tests.sinksdata import T0


def table(size: int, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Windows of one size; ``at``: seconds after :data:`tests.sinksdata.T0` at which each begins."""
    schema = WINDOWS[size].published
    return pa.Table.from_pylist([_row(size, schema, row) for row in rows], schema)


def _row(size: int, schema: pa.Schema, given: Mapping[str, Any]) -> dict[str, Any]:
    begin = T0 + timedelta(seconds=given.get("at", 0))
    attack = given.get("attack_type", "BENIGN")
    name = f"{size}{begin}{given.get('src_ip')}{given.get('domain')}"
    values = {
        "window_id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "window_size": size, "domain": "d1", "ip_version": 4, "src_ip": "10.0.0.1",
        "src_prefix": 32, "window_start": begin, "window_end": begin + timedelta(seconds=size),
        "last_packet": begin + timedelta(seconds=size - 1), "scored_at": begin + timedelta(seconds=size + 5), "attack_type": attack,
        "predicted_label": int(attack != "BENIGN"), "confidence_score": 0.1 if attack == "BENIGN" else 0.9,
    }  # fmt: skip
    values |= {name: value for name, value in given.items() if name != "at"}
    empty = {
        name: None if schema.field(name).nullable else "" if pa.types.is_string(schema.field(name).type) else 0 for name in schema.names
    }
    return empty | values
