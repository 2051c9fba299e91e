"""Does the cost grow: per packet, as captures get longer; per batch, as more flows are open?"""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.config import Settings
from jobs.metering.settings import MeterSettings
from ops.bench import traffic
from ops.bench.place import machine
from sensors.packets.settings import SensorSettings

#: Packets of the captures, and how often each is metered (the median counts).
SIZES = {100_000: 15, 1_000_000: 5, 10_000_000: 1}
#: Packets a second of these captures.
RATE = 10_000.0
#: Open flows; packets of a batch, on how many of the flows; batches that are measured.
OPEN = (10_000, 100_000, 1_000_000)
BATCH, TOUCHED, BATCHES = 200_000, 10_000, 60
_SECOND = 1_000_000_000


def run(settings: Settings, *, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Both curves.

    Returns
    -------
    dict
        ``packets``: number -> CPU us a packet and peak memory so far (MiB); ``open_flows``: number -> seconds a batch (median, p95) for
        metering and for writing the state; ``*_growth``: last over first; the machine.
    """
    facts = machine()
    packets = by_packets(settings, say)
    flows = by_open_flows(settings, say)
    costs = [v["us_per_packet"] for v in packets.values()]
    batches = [v["batch_s"] for v in flows.values()]
    return {
        "packets": packets,
        "packets_growth": round(costs[-1] / costs[0], 3),
        "open_flows": flows,
        "open_flows_growth": round(batches[-1] / batches[0], 3),
        "machine": facts,
    }


def by_packets(settings: Settings, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """CPU time of the batch meter (all its threads) on captures of the same traffic, ten times as long each."""
    from jobs.metering.batch import meter_captures

    folder = Path(tempfile.mkdtemp(prefix="flowlake-bench-"))
    found: dict[str, dict[str, float]] = {}
    try:
        for size, times in SIZES.items():
            capture = folder / f"{size}.pcap"
            made = traffic.write(settings, capture, preset="bench", rate=RATE, seconds=size / RATE, say=say)
            took = []
            for _ in range(times + 1):
                began = time.process_time()
                for _ in meter_captures([capture], settings=settings.section(MeterSettings), sensor=settings.section(SensorSettings)):
                    pass
                took.append((time.process_time() - began) / made * 1e6)
            capture.unlink()
            cost = float(np.median(took[1:]))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            found[str(size)] = {"us_per_packet": round(cost, 3), "peak_mb": peak}
            say(f"{size:,} packets: {cost:.3f} us of CPU a packet")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def by_open_flows(settings: Settings, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Batches of one size on one bucket with more and more open flows: the meter and its state log, without Spark."""
    found: dict[str, dict[str, float]] = {}
    for n in OPEN:
        found[str(n)] = _batches(settings, n)
        say(f"{n:,} open flows: {found[str(n)]['batch_s']:.3f} s a batch")
    return found


class _MemoryStore(dict[int, bytes]):
    """Segments in memory (:class:`jobs.metering.segments.Store`)."""

    def get(self, version: int, nonce: bytes) -> bytes | None:  # type: ignore[override]
        return super().get(version)

    def put(self, version: int, nonce: bytes, segment: bytes, plain: Callable[[], bytes]) -> None:
        self[version] = segment

    def remove(self, version: int, nonce: bytes) -> None:
        del self[version]


def _batches(settings: Settings, n: int) -> dict[str, float]:
    from jobs.metering import segments
    from jobs.metering.envelope import Envelope
    from schemas.wire import KIND_PACKETS

    rules = settings.section(MeterSettings).model_copy(
        update={"idle_timeout_s": 3600.0, "active_timeout_s": 7200.0, "max_open_flows": 2 * max(OPEN)}
    )
    query = f"bench-{n}"
    store = _MemoryStore()
    draw = np.random.default_rng(1)
    meta: bytes | None = None
    clock = 1_700_000_000 * _SECOND
    metering: list[float] = []
    saving: list[float] = []

    def batch(flows: NDArray[np.int64], seq: int) -> None:
        nonlocal meta, clock
        handle = segments.load(query, 0, 1, rules, meta, store)
        packets = _packets(flows, clock)
        clock += _SECOND
        loaded = time.perf_counter()
        envelope = Envelope("bench", "bench", 1, 0, 1, seq, KIND_PACKETS, clock, 0, packets=len(packets), max_ts=clock - 1)
        emission = handle.meter.ingest_decoded([([envelope], packets)], 0)
        metered = time.perf_counter()
        meta = segments.save(query, handle, emission, store)
        metering.append(metered - loaded)
        saving.append(time.perf_counter() - metered)

    seq = 0
    for start in range(0, n, BATCH):
        batch(np.arange(start, min(start + BATCH, n)), seq)
        seq += 1
    for _ in range(10):  # what the filling left to be compacted is
        batch(np.repeat(draw.choice(n, min(TOUCHED, n), replace=False), BATCH // min(TOUCHED, n)), seq)
        seq += 1
    metering.clear()
    saving.clear()
    for _ in range(BATCHES):
        batch(np.repeat(draw.choice(n, min(TOUCHED, n), replace=False), BATCH // min(TOUCHED, n)), seq)
        seq += 1
    whole = np.array(metering) + np.array(saving)
    segments.clear_cache()
    return {
        "batch_s": round(float(np.median(whole)), 4),
        "batch_p95_s": round(float(np.percentile(whole, 95)), 4),
        "meter_s": round(float(np.median(metering)), 4),
        "state_s": round(float(np.median(saving)), 4),
        "state_mb": sum(map(len, store.values())) >> 20,
    }


def _packets(flows: NDArray[np.int64], clock: int) -> NDArray[Any]:
    """UDP packets of the numbered flows, spread over the second from ``clock`` on."""
    from sensors.packets.decode import PACKET_DTYPE

    n = len(flows)
    packets = np.zeros(n, PACKET_DTYPE)
    packets["ts"] = clock + np.arange(n) * (_SECOND // max(n, 1))
    packets["src_lo"] = 0x0A000000 + flows // 1000
    packets["dst_lo"] = 0xC0A80001
    packets["sport"] = 1024 + flows % 1000
    packets["dport"] = 53
    packets["proto"], packets["ipver"] = 17, 4
    packets["l4_header"], packets["payload"], packets["l3_bytes"] = 8, 60, 88
    packets["icmp_type"] = packets["icmp_code"] = -1
    packets["idx"] = np.arange(n)
    return packets
