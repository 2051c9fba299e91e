"""Of every flow that is metered, as many frames are found as it has packets: in generated traffic, and in real captures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.metering.batch import meter_captures
from jobs.sources.packets.membership import Membership
from jobs.sources.packets.recall import spans_of
from schemas.wire import DEFAULT_SNAPLEN
from sensors.generate import TrafficGenerator, preset
from sensors.generate.cut import cut_all
from sensors.packets.capture import CaptureReader
from sensors.packets.frames import FrameBatch
from sensors.packets.pcapwriter import PcapWriter

DATA = os.environ.get("FLOWLAKE_DATA")
LARGE = 3_000_000
PCAPS = [path for path in sorted(Path(DATA, "pcaps").iterdir()) if path.stat().st_size < LARGE] if DATA else []


def compared(capture: Path, frames: Iterable[FrameBatch]) -> tuple[list[int], list[int]]:
    """Packets of each flow of a capture by the meter, and frames found."""
    batches = list(meter_captures([capture], sensor_id="site"))
    rows = [row for batch in batches for row in pa.Table.from_batches([batch]).to_pylist()]
    for row in rows:
        row["packets"] = row["total_fwd_packets"] + row["total_backward_packets"]
    members = Membership(spans_of(rows, frozenset()), 30.0)
    found = np.zeros(len(rows), np.int64)
    for batch in frames:
        np.add.at(found, members.of("site", batch)[1], 1)
    return [row["packets"] for row in rows], found.tolist()


def test_generated_traffic_cut_at_the_snap_length(tmp_path: Path) -> None:
    with PcapWriter(tmp_path / "all.pcap") as writer:
        for frames in TrafficGenerator(preset("demo", seed=3, duration_s=3)):
            writer.write(frames)
    packets, found = compared(tmp_path / "all.pcap", cut_all(CaptureReader(tmp_path / "all.pcap"), DEFAULT_SNAPLEN))
    assert found == packets
    assert sum(packets) == writer.packets


@pytest.mark.skipif(not PCAPS, reason="FLOWLAKE_DATA is not set")
@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.name)
def test_real_captures(path: Path) -> None:
    packets, found = compared(path, CaptureReader(path))
    assert found == packets
