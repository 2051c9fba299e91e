"""Does a batch of the stream cost more when more flows are open? Through Kafka and Spark, at one packet rate, on one stream that fills up.

Packets touch flows drawn anew each time, so that a batch changes as many rows of the table whatever its size. Nothing is emitted while it
is measured: no flow ends, and there are no snapshots.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.config import Settings
from infra.errors import StackError
from jobs.metering.settings import MeterSettings
from ops.bench.place import machine, stack
from ops.bench.stream import cpu_seconds, logged
from ops.harness import driver
from ops.harness.observe import Follower
from ops.harness.run import Trial
from ops.harness.traffic import Traffic
from sensors.packets.frames import FrameBatch
from sensors.packets.publisher import PacketPublisher, publishing

#: Open flows that are measured; the first round, which warms the JVM up, is not.
OPEN = (10_000, 10_000, 100_000, 1_000_000)
#: Packets a second, flows that they touch each second, seconds of each round, of which the first do not count: what filling left to be
#: compacted is.
RATE, TOUCHED, ROUND_S, SETTLE_S = 50_000, 5_000, 40.0, 10.0
#: Packets of a flush, as a sensor sends them.
_FLUSH = 5_000
_STALL_S = 60.0

_HEAD = bytes.fromhex("0200000000010200000000020800" + "450000580000000040110000" + "0a000000" + "c0a80001" + "00000035" + "00440000")


def frames_of(flows: NDArray[np.int64], ts: NDArray[np.int64]) -> FrameBatch:
    """One UDP packet of 60 bytes payload for each of the numbered flows (int64[n], below 2^36) at the times ``ts`` (int64[n], ns)."""
    n = len(flows)
    frames = np.tile(np.frombuffer(_HEAD, np.uint8), (n, 1))
    address, port = 0x0A000000 + flows // 50_000, 10_000 + flows % 50_000  # clear of ports that tunnels use
    for i in range(4):
        frames[:, 26 + i] = address >> (24 - 8 * i) & 255
    frames[:, 34], frames[:, 35] = port >> 8, port & 255
    width = frames.shape[1]
    return FrameBatch(
        ts, np.full(n, width + 60, np.uint32), np.ones(n, np.uint16), frames.reshape(-1), np.arange(n + 1, dtype=np.int64) * width
    )


def run(settings: Settings, *, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Fill the table up, round by round.

    Returns
    -------
    dict
        ``open_flows``: number -> ``batch_s`` (median), ``batch_p95_s``, ``us_per_packet`` (CPU of the JVM and the workers), batches;
        ``growth``: of the CPU per packet and of the median batch, last over first; the machine.

    Raises
    ------
    StackError
        A part ended, or the stream got stuck.
    """
    facts = machine()
    rules = {"idle_timeout_s": 36_000.0, "active_timeout_s": 72_000.0, "max_open_flows": 4 * max(OPEN), "interim": False}
    settings = settings.model_copy(update={"meter": settings.section(MeterSettings).model_copy(update=rules)})
    with stack(settings) as (own, where):
        trial = Trial(own, where, Traffic("generate", "bench"), say, light=True, queries=("meter",))
        follower = Follower(own, timed=False, light=True)
        try:
            trial.prepare()
            trial.start_stream()
            follower.start()
            with publishing(own, "bench", stop=threading.Event()) as publisher:
                rounds = _rounds(_Load(trial, follower, publisher), where.run / driver.BATCHES, say)
                publisher.end()
        finally:
            follower.stop()
            trial.stop()
    first, last = rounds[str(OPEN[0])], rounds[str(OPEN[-1])]
    growth = {key: round(last[key] / first[key], 3) for key in ("batch_s", "us_per_packet")}
    return {"open_flows": rounds, "growth": growth, "rate_kpps": RATE / 1000, "touched_per_s": TOUCHED, "machine": facts}


class _Load:
    """Sends packets of numbered flows and waits until they are metered."""

    def __init__(self, trial: Trial, follower: Follower, publisher: PacketPublisher) -> None:
        self.trial = trial
        self._follower = follower
        self._publisher = publisher
        self._draw = np.random.default_rng(1)
        self.sent = 0
        self.open = 0

    def send(self, flows: NDArray[np.int64]) -> None:
        """Now, in order, with the clock of this machine."""
        now = time.time_ns()
        self._publisher.send(frames_of(flows, now + np.arange(len(flows))), now + len(flows))
        self.sent += len(flows)

    def fill(self, n: int) -> None:
        """Open flows up to ``n`` and wait for them."""
        for start in range(self.open, n, _FLUSH):
            self.send(np.arange(start, min(start + _FLUSH, n)))
        self.open = n
        moved, done = time.monotonic(), -1
        while (now := self._follower.totals().get("metered", 0)) < self.sent:
            if now != done:
                moved, done = time.monotonic(), now
            if time.monotonic() - moved > _STALL_S:
                raise StackError(f"the stream is stuck: {now:,} of {self.sent:,} packets metered")
            self.trial.parts.must_run("stream")
            self.keep_up()
            time.sleep(0.2)

    def keep_up(self) -> None:
        """Tell the clock: packets are metered when all partitions have passed them."""
        self._publisher.heartbeat(time.time_ns())

    def steady(self, seconds: float) -> None:
        """Packets at the rate, of flows drawn from those that are open."""
        began, flushes = time.monotonic(), 0
        each = TOUCHED * _FLUSH // RATE
        while (late := began + flushes * _FLUSH / RATE - time.monotonic()) > -seconds and flushes * _FLUSH < RATE * seconds:
            time.sleep(max(late, 0.0))
            self.send(np.repeat(self._draw.choice(self.open, each, replace=False), _FLUSH // each))
            flushes += 1


def _rounds(load: _Load, batches: Path, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for number, n in enumerate(OPEN):
        load.fill(n)
        load.steady(SETTLE_S)
        seen, cpu, sent = len(_times(batches)), cpu_seconds(load.trial.pids()), load.sent
        load.steady(ROUND_S - SETTLE_S)
        after = cpu_seconds(load.trial.pids())
        spent = sum(after.get(part, 0.0) - cpu.get(part, 0.0) for part in ("stream jvm", "stream workers"))
        times = _times(batches)[seen:]
        if not times:
            raise StackError(f"no batch in {ROUND_S - SETTLE_S:.0f} s with {n:,} open flows", "the machine is too slow for this rate")
        found[str(n)] = {
            "batch_s": round(float(np.median(times)), 3),
            "batch_p95_s": round(float(np.percentile(times, 95)), 3),
            "us_per_packet": round(spent / (load.sent - sent) * 1e6, 2),
            "batches": len(times),
        }
        if number:
            say(f"{n:,} open flows: {found[str(n)]['batch_s']:.3f} s a batch, {found[str(n)]['us_per_packet']:.2f} us of CPU a packet")
    return found


def _times(batches: Path) -> list[float]:
    """Seconds of the meter's batches so far."""
    return [batch["ms"].get("triggerExecution", 0) / 1000 for batch in logged(batches)]
