"""Both meters behind one function, so that one hand-computed case holds both to account."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import meter as oracle
from tests.oracle.capture import write_pcap, write_pcapng
from tests.oracle.meter import Frame

Records = list[dict[str, Any]]
Metered = Callable[[Iterable[Frame]], Records]


def product_records(paths: list[Path]) -> Records:
    """Records of the product's batch meter."""
    from jobs.metering.batch import meter_captures

    return [row for batch in meter_captures(paths, sensor_id="oracle") for row in batch.to_pylist()]


@pytest.fixture(params=["oracle", "product"])
def metered(request: pytest.FixtureRequest, tmp_path: Path) -> Metered:
    """``metered(frames) -> records``, sorted by start; all frames of one capture file, which may mix link types."""

    def run(frames: Iterable[Frame]) -> Records:
        frames = list(frames)
        if request.param == "oracle":
            records = oracle.meter(frames)[0]
        elif len({f.link_type for f in frames}) == 1:
            records = product_records([write_pcap(tmp_path / "frames.pcap", frames, frames[0].link_type)])
        else:
            records = product_records([write_pcapng(tmp_path / "frames.pcapng", frames)])
        return sorted(records, key=lambda r: (r["start_time"], r["src_port"], r["part"]))

    return run
