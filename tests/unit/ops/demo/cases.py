"""A small demo's outcome, made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ops.harness import accounts, latency
from ops.harness.grouping import Grouping
from ops.harness.observe import COLUMNS
from ops.harness.outcome import Outcome
from ops.harness.quality import judge
from ops.harness.stores import AlertRow, IncidentRow, ids_of
from ops.harness.traffic import Traffic
from schemas.flows import PREDICTION_SCHEMA

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
LABELS = ("BENIGN", "BENIGN", "SYN_SCAN", "UDP_FLOOD", "BENIGN")  # what the model says
TRUTH = ("BENIGN", "BENIGN", "SYN_SCAN", "SYN_FLOOD", "SLOW_SCAN")  # what was generated


def record(n: int, label: str) -> dict[str, Any]:
    return {
        "flow_id": f"00000000-0000-5000-8000-{n:012d}",
        "protocol": 6,
        "src_ip": "10.0.0.1",
        "src_port": 40000 + n,
        "dst_ip": "10.0.0.2",
        "dst_port": 80,
        "start_time": START + timedelta(seconds=n),
        "end_time": START + timedelta(seconds=n + 2),
        "closed": True,
        "total_fwd_packets": 6,
        "total_backward_packets": 4,
        "confidence_score": 0.1 if label == "BENIGN" else 0.9,
        "predicted_label": int(label != "BENIGN"),
        "attack_type": label,
        "scored_at": START + timedelta(seconds=n + 3),
    }


def closed() -> pa.Table:
    schema = pa.schema([PREDICTION_SCHEMA.field(c) for c in COLUMNS])
    return pa.Table.from_pylist([record(n, label) for n, label in enumerate(LABELS)], schema)


def truth() -> pa.Table:
    rows = [{**record(n, label), "label": label} for n, label in enumerate(TRUTH)]
    names = ("src_ip", "src_port", "dst_ip", "dst_port", "protocol", "start_time", "end_time", "label")
    return pa.Table.from_pylist([{k: row[k] for k in names} for row in rows])


def alert(n: int, attack_type: str, delay_ms: float) -> AlertRow:
    at = START.timestamp() + n
    return AlertRow(f"alert-{n}", attack_type, "scan", "10.0.0.1", "<b>10.0.0.2</b>", 5, 0.9, 3, at, at, delay_ms)


def outcome(**changes: Any) -> Outcome:
    records = closed()
    ids = ids_of(records["flow_id"])
    values: dict[str, Any] = {
        "source": Traffic("generate", "demo"),
        "sent": {"sent": 52, "received": 52, "dropped": 0},
        "totals": {"packets": 52, "metered": 50, "rejected": 2, "rejected_late": 2, "flows": 5, "flows_fin": 4, "flows_forced": 1},
        "closed": records,
        "checks": [accounts.packets(52, 50, 2), accounts.flows(ids, ids, "lake"), accounts.flows(ids, ids, "hot")],
        "alerts": [alert(2, "SYN_SCAN", 800.0), alert(5, "UDP_FLOOD", 1200.0)],
        "incidents": [IncidentRow("incident-1", "SYN scan: 10.0.0.1 -> <b>many</b> hosts", "LOW", 1, 3, START.timestamp())],
        "rows": {"lake": 5, "hot": 5, "alerts": 2},
        "detection": judge(records, truth()),
        "grouping": Grouping(1, 2, 1.0, 0.5, 0),
        "delays": {"capture -> alert row": latency.summary([800.0, 1200.0])},
        "delay_values": [800.0, 1200.0],
        "phases": {"servers": 5.0, "first alert": 20.0},
        "memory_peak_mb": 2500,
        "memory_parts_mb": {"kafka": 400, "stream": 2000},
        "model_version": "1",
        "seconds": 80.0,
        "truth": truth(),
    }
    return Outcome(**{**values, **changes})
