"""What the stream can do when it does not have to wait: packets lie on the broker, then the queries are let go.

The sensor has ended by then, so that all cores are the stream's and the broker's, as when sensors run on machines of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from infra.config import Settings
from infra.errors import StackError
from ops.bench.place import machine, stack
from ops.bench.stream import cpu_seconds, read_batches
from ops.harness import driver
from ops.harness.memory import tree_mb
from ops.harness.observe import Follower
from ops.harness.run import Trial
from ops.harness.traffic import SEND, Traffic

#: The packets lie this far apart in capture time, as at this rate; the batches are what ``meter.max_offsets_per_trigger`` lets through.
RATE = 100_000.0
#: Nothing metered for so long means that the stream is stuck, seconds.
STALL_S = 120.0
#: Between two looks at the memory, seconds: the kernel walks all pages for each.
LOOK_S = 10.0


def run(settings: Settings, *, packets: int, queries: tuple[str, ...] = ("meter",), say: Callable[[str], None] = print) -> dict[str, Any]:
    """Fill ``raw-packets``, start ``queries`` and measure until every packet is metered and every query has read everything.

    Returns
    -------
    dict
        ``kpps`` from the first metered packet to the last, ``kpps_by_quarter`` (of the packets: what is sustained shows there),
        ``kpps_all_queries`` until the last query was done (more than one query), batch times, CPU seconds by kind of process,
        memory (MiB), the machine.

    Raises
    ------
    StackError
        A part ended, or the stream got stuck.
    """
    facts = machine()
    with stack(settings) as (own, where):
        source = Traffic("generate", "bench", speed=0.0, seconds=packets / RATE, rate=RATE)
        trial = Trial(own, where, source, say, light=True, queries=queries)
        follower = Follower(own, timed=False, light=True)
        try:
            sent = _fill(trial, say)
            trial.start_stream()
            follower.start()
            points, ended, cpu, memory = _drain(trial, follower, sent, queries, say)
            batches = read_batches(where.run / driver.BATCHES)
        finally:
            follower.stop()
            trial.stop()
    return {**_rates(points, ended, len(queries)), "packets": sent, "queries": list(queries), "cpu_seconds": cpu, **memory,
            "batches_ms": batches, "machine": facts}  # fmt: skip


def _fill(trial: Trial, say: Callable[[str], None]) -> int:
    trial.prepare()
    while not trial.servers.ready():
        time.sleep(0.1)
    trial.servers.wait()
    (trial.place.run / SEND).touch()
    while (sensor := trial.parts.state("sensor")).get("state") != "done":
        trial.parts.must_run("sensor", sensor)
        time.sleep(0.25)
    say(f"{sensor['sent']:,} packets on the broker")
    return int(sensor["sent"])


def _drain(
    trial: Trial, follower: Follower, sent: int, queries: tuple[str, ...], say: Callable[[str], None]
) -> tuple[list[tuple[float, int]], float, dict[str, float], dict[str, int]]:
    """(seconds, packets metered) whenever it changed; when the last query was done; CPU seconds; memory."""
    points: list[tuple[float, int]] = []
    moved = time.monotonic()
    peak, looked = 0, 0.0
    pid = trial.pids()["stream"]
    told = 0
    while True:
        time.sleep(0.1)
        trial.parts.must_run("stream")
        total = follower.totals()
        done = total.get("metered", 0) + total.get("rejected", 0)
        now = time.monotonic()
        if done and (not points or points[-1][1] != done):
            points.append((now, done))
            moved = now
            if done - told > sent // 10:
                told = done
                say(f"{done:,} packets metered")
        if now - looked > LOOK_S:
            looked = now
            peak = max(peak, *tree_mb({"stream": pid}).values())
        if done >= sent and not any(follower.lag(trial.place.base / "checkpoints").get(q, 1) for q in queries):
            return points, now, cpu_seconds({"stream": pid}), {"memory_peak_mb": max(peak, *tree_mb({"stream": pid}).values())}
        if now - moved > STALL_S:
            raise StackError(f"the stream is stuck: {done:,} of {sent:,} packets metered", "try fewer packets")


def _rates(points: list[tuple[float, int]], ended: float, queries: int) -> dict[str, Any]:
    """Packets per second between what was seen first and last, and the same for each quarter of them."""

    def kpps(part: list[tuple[float, int]]) -> float | None:
        (t0, n0), (t1, n1) = part[0], part[-1]
        return round((n1 - n0) / (t1 - t0) / 1000, 1) if t1 > t0 else None

    first, last = points[0][1], points[-1][1]
    bounds = [first + (last - first) * i / 4 for i in range(5)]
    quarters = []
    for low, high in pairwise(bounds):
        part = [p for p in points if low <= p[1] <= high]
        quarters.append(kpps(part) if len(part) > 1 else None)
    result: dict[str, Any] = {"kpps": kpps(points), "kpps_by_quarter": quarters}
    if queries > 1:
        result["kpps_all_queries"] = round((last - first) / (ended - points[0][0]) / 1000, 1)
    return result
