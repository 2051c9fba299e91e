"""Faults for the tests of data quality: each kind of constraint broken once, in rows that are well otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tests.sinksdata import table
from tests.toy_source.records import READING

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NAN = float("nan")
#: Rule that a row fails first -> what is wrong in it. Of flows; each is looked at in each batch.
FAULTS: dict[str, dict[str, Any]] = {
    "range(src_port)": {"src_port": 70_000},
    "range(dst_port)": {"dst_port": -1},
    "range(protocol)": {"protocol": 300},
    "range(confidence_score)": {"confidence_score": NAN},
    "range(flow_bytes_per_sec)": {"flow_bytes_per_sec": float("inf")},
    "range(flow_duration)": {"flow_duration": -5},
    "one-of(predicted_label)": {"predicted_label": 2, "attack_type": "SYN_SCAN"},
    "together(predicted_label, attack_type)": {"predicted_label": 1},
    "address(src_ip)": {"src_ip": "300.1.2.3"},
    "address(dst_ip)": {"dst_ip": "fe80::1%eth0"},
    "time(start_time)": {"start_time": datetime(1, 1, 1, tzinfo=UTC)},
    "time(end_time)": {"end_time": datetime(2126, 3, 1, tzinfo=UTC)},
    "order(start_time, end_time)": {"end_time": T0 - timedelta(seconds=1)},
    "order(ack_flag_count, total_fwd_packets, total_backward_packets)": {"ack_flag_count": 3, "total_fwd_packets": 2},
    "nul(sensor_id)": {"sensor_id": "a\0b"},
}
#: Those that only the nightly run looks for.
NIGHTLY: dict[str, dict[str, Any]] = {
    "one-of(attack_type)": {"predicted_label": 1, "attack_type": "NO_SUCH_THING"},
    "one-of(ip_version)": {"ip_version": 5},
    "range(idle_std)": {"idle_std": NAN},
    "range(fwd_init_win_bytes)": {"fwd_init_win_bytes": 65_536},
    "order(flow_iat_min, flow_iat_mean)": {"flow_iat_min": 9.0},
}


def faulty() -> pa.Table:
    """A row for each of :data:`FAULTS`, in their order; ids are made of their names."""
    return table([{"name": rule, **fault} for rule, fault in FAULTS.items()])


def readings(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of the toy source: each gives the columns that matter, the others are plausible."""
    made = []
    for n, row in enumerate(rows):
        base = {
            "reading_id": f"0f0c2a52-6f0e-5b8e-9f6a-{n:012d}", "sensor_id": "s", "device": "boiler",
            "reading_time": T0 + timedelta(seconds=n),
            "value": 20.0, "mean": 20.0, "std": 1.0, "zscore": 0.0, "delta": 0.0, "repeats": 0, "gap_s": 1.0, "confidence_score": 0.1,
            "predicted_label": 0, "attack_type": "BENIGN", "model_version": "1", "scored_at": T0,
        }  # fmt: skip
        made.append({**base, **row})
    return pa.Table.from_pylist(made, READING.published)
