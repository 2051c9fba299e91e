"""The log of segments: what a batch writes is bounded by what it changed."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from infra.errors import CheckpointError
from jobs.metering import segments
from jobs.metering.bucket import BucketMeter
from jobs.metering.envelope import Envelope
from jobs.metering.layout import BucketState, Entry, Segment
from jobs.metering.row import ROW_DTYPE
from jobs.metering.settings import MeterSettings
from schemas.wire import KIND_PACKETS
from sensors.packets.decode import PACKET_DTYPE
from tests.unit.metering.test_invariance import Store

T0 = 1_700_000_000 * 10**9


def test_compaction_is_bounded_and_the_log_can_be_rebuilt_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many open flows, few of them touched by a batch: each batch writes again no more rows than it changed, or the fixed minimum."""
    monkeypatch.setattr(segments, "SLACK_ROWS", 0)
    monkeypatch.setattr(segments, "COMPACT_ROWS", 50)
    settings = MeterSettings(buckets=1, idle_timeout_s=3600, active_timeout_s=7200)
    store = Store()
    segments.clear_cache()
    draw = random.Random(5)
    meta = None
    ns = T0
    for turn in range(120):
        handle = segments.load("bounded", 0, 1, settings, meta, store)
        touched = range(4000) if turn == 0 else draw.sample(range(4000), 30)
        packets = np.zeros(len(touched), PACKET_DTYPE)
        packets["ts"] = ns + np.arange(len(touched))
        packets["src_lo"], packets["dst_lo"], packets["sport"], packets["dport"] = 1, 2, 1000, list(touched)
        packets["proto"], packets["ipver"], packets["l4_header"], packets["idx"] = 17, 4, 8, np.arange(len(touched))
        packets["icmp_type"] = packets["icmp_code"] = -1
        ns += 1_000_000_000
        envelope = Envelope("s", "s", 1, 0, 1, turn, KIND_PACKETS, ns, 0, packets=len(touched), max_ts=ns - 1)
        emission = handle.meter.ingest_decoded([([envelope], packets)], 0)
        meta = segments.save("bounded", handle, emission, store)
        written = handle.segments[handle.version].rows
        changed = len(touched) + len(emission.interim)
        assert written <= changed + max(changed, 50)
        if turn % 10 == 9:
            slots = np.arange(5000, dtype=np.uint64)
            rows = handle.meter.table.rows_at(handle.meter.table.open_among(slots))
            segments.clear_cache()
            again = segments.load("bounded", 0, 1, settings, meta, store).meter.table
            assert (again.rows_at(again.open_among(slots)) == rows).all()
    assert handle.log_rows <= 2 * 4000 + 200


def damaged(**change: int) -> Segment:
    """A segment of three flows, one of which says something that cannot be."""
    rows = np.zeros(3, ROW_DTYPE)
    rows["slot"] = [0, 1, 2]
    released = np.array([change.pop("released", 0)], np.uint64)
    for name, value in change.items():
        rows[name][1] = value
    return Segment(bytes(8), released, rows)


@pytest.mark.parametrize("change", [{"released": 1 << 63}, {"released": 1 << 40}, {"slot": 1 << 63}, {"slot": 1 << 40}])
def test_a_slot_that_no_table_has_is_refused(change: dict[str, int]) -> None:
    """The compiled code checks no bounds."""
    handle = segments.Handle(BucketMeter(0, 1, MeterSettings()))
    with pytest.raises(ValueError, match="is beyond what a table holds"):
        handle.apply(1, damaged(**change))


def test_rows_of_a_domain_that_is_not_known_are_refused() -> None:
    store = {1: damaged(domain=7).encode()}
    meter = BucketMeter(0, 1, MeterSettings())
    meta = BucketState(1, {1: Entry(bytes(8), 3)}, replace(meter.state(), names={0: "s"})).encode()

    class Store:
        def get(self, version: int, nonce: bytes) -> bytes:
            return store[version]

    segments.clear_cache()
    with pytest.raises(CheckpointError, match=r"rows of domains \[7\] that have no name"):
        segments.load("damaged", 0, 1, MeterSettings(), meta, Store())  # type: ignore[arg-type]
