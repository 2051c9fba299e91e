"""The stream under load: Kafka -> scored -> lake, hot store, alerts, or some of them, at a given rate, and whether its lag is flat.

The packets are generated into a capture file beforehand; a sensor replays it, in a process of its own on the
same machine, and its CPU time is part of what the machine must give. While packets are sent, nothing but the
meter's accounts is read; stores and predictions are compared, flow by flow, afterwards.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from infra.config import Settings
from jobs.metering.settings import MeterSettings
from ops.bench import peer, traffic
from ops.bench.place import machine, stack
from ops.harness import driver, latency
from ops.harness.memory import family
from ops.harness.outcome import Outcome
from ops.harness.run import Trial
from ops.harness.traffic import Traffic

#: Seconds at the beginning that do not count for the lag's slope: until flows begin to end by their idle timeout the load is a lighter one.
WARM_S = 60.0
#: A stream that is behind is waited for this long and the time of sending once more, then the result says how far behind it was, seconds.
GRACE_S = 90.0
#: Traffic that NFStream is given, seconds of it: the same preset and rate, frames whole (it drops those that are cut).
PEER_S = 20.0
#: The lag is flat when it grows by less than this share of the rate.
FLAT = 0.02


@dataclass
class Samples:
    """What was seen each second: seconds since the start of sending, packets sent, packets accounted for; CPU seconds by part."""

    at: list[float] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    waiting: list[dict[str, int]] = field(default_factory=list)  # messages that each query has not finished
    cpu_before: dict[str, float] = field(default_factory=dict)
    cpu_after: dict[str, float] = field(default_factory=dict)

    def lag(self) -> list[int]:
        """Packets sent but not accounted for."""
        return [s - d for s, d in zip(self.sent, self.done, strict=True)]


def slope(at: list[float], lag: list[int], warm_s: float = WARM_S) -> float | None:
    """Growth of the lag in packets per second (least squares), the first seconds left out; None with fewer than five samples."""
    points = [(t, n) for t, n in zip(at, lag, strict=True) if t >= warm_s]
    if len(points) < 5:
        return None
    t, n = np.array(points, dtype=np.float64).T
    return round(float(np.polyfit(t, n, 1)[0]), 1)


def run(
    settings: Settings,
    *,
    rate: float,
    seconds: float,
    preset: str = "bench",
    queries: tuple[str, ...] = (),
    with_peer: bool = False,
    started: Callable[[Settings], None] | None = None,
    grace_s: float | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Send at ``rate`` packets per second for ``seconds`` and measure; then, if asked to, let NFStream meter such traffic alone.

    ``queries`` of the stream run, all when none is named. ``started`` is called with the settings of the stack when packets are sent.
    What is not worked off ``grace_s`` after the last packet is left; None: as long after it as packets were sent, and a little more.

    Returns
    -------
    dict
        ``sustained`` (lag flat and accounts closed), ``kpps_sent``, ``kpps_done`` (worked off while packets were sent;
        ``kpps_done_steadily``: in the last two thirds of that time), ``lag_packets`` (once a second), ``lag_slope_pps``, batch times and
        phases by query (ms), rows and rows/s by store, CPU seconds and memory (MiB) by part, delays by stage (ms), the machine;
        ``nfstream`` and ``ratio`` of the stream's packets per second to its.

    Raises
    ------
    FlowlakeError
        A part did not start or ended.
    """
    facts = machine()
    python = peer.environment(settings.path(settings.paths.var) / "bench" / "nfstream") if with_peer else None
    with stack(settings) as (own, where):
        where.base.mkdir(parents=True, exist_ok=True)
        capture = where.base / "bench.pcap"
        packets = traffic.write(own, capture, preset=preset, rate=rate, seconds=seconds, say=say)
        say(f"{packets:,} packets in a capture file")
        source = Traffic("replay", str(capture), shift_to_now=True)
        trial = Trial(own, where, source, say, light=True, grace_s=GRACE_S + seconds if grace_s is None else grace_s, queries=queries)
        samples = Samples()
        try:
            outcome = trial.run(lambda d: _watch(d, samples, say, None if started is None else lambda: started(own)))
            batches = read_batches(where.run / driver.BATCHES)
        finally:
            trial.stop()
        result = {"queries": list(queries), **_result(outcome, samples, batches, rate, seconds)}
        if python is not None:
            made = traffic.write(own, capture, preset=preset, rate=rate, seconds=min(PEER_S, seconds), whole=True, say=say)
            theirs = peer.run(
                python, capture, settings.section(MeterSettings).idle_timeout_s, settings.section(MeterSettings).active_timeout_s
            )
            kpps = round(made / theirs.seconds / 1000, 1)
            result["nfstream"] = {**theirs.as_dict(), "packets": made, "flows": theirs.said["flows"], "kpps": kpps}
            result["ratio"] = round(result["kpps_done"] / kpps, 2) if result["kpps_done"] else None
    return {**result, "machine": facts}


@contextmanager
def _watch(
    trial: Trial, samples: Samples, say: Callable[[str], None], started: Callable[[], None] | None = None
) -> Iterator[Callable[[], None]]:
    began: float | None = None
    last = 0.0

    def refresh() -> None:
        nonlocal began, last
        now = time.monotonic()
        if not trial.now.sent or trial.now.phase != "sending":
            if began is not None and not samples.cpu_after:
                samples.cpu_after = cpu_seconds(trial.pids())
            return
        if began is None:
            began = now
            if started is not None:
                started()
            samples.cpu_before = cpu_seconds(trial.pids())
        if now - last >= 1.0:
            last = now
            total = trial.now.totals
            samples.at.append(round(now - began, 2))
            samples.sent.append(trial.now.sent)
            # never fewer than before: a follower that lost its connection begins to count anew
            samples.done.append(max([total.get("metered", 0) + total.get("rejected", 0), *samples.done[-1:]]))
            samples.waiting.append(dict(trial.now.lag))
            if len(samples.at) % 10 == 0:
                say(f"{samples.at[-1]:4.0f} s  {samples.sent[-1]:,} packets sent, {samples.lag()[-1]:,} behind")

    yield refresh


def cpu_seconds(pids: dict[str, int | None]) -> dict[str, float]:
    """CPU seconds (user and system) of process trees so far, children that ended included; the stream's by kind of process."""
    found: dict[str, float] = {}
    for name, pid in pids.items():
        for process in family(pid):
            try:
                own, child = process.cpu_times(), process.pid != pid
                kind = name if not child or name != "stream" else "stream jvm" if process.name() == "java" else "stream workers"
                # of children that ended only where nobody else counts them: the driver's are the JVM's, which still runs
                found[kind] = found.get(kind, 0.0) + own.user + own.system + own.children_user + own.children_system
            except psutil.Error:
                continue
    return {name: round(seconds, 2) for name, seconds in found.items()}


def logged(file: Path) -> Iterator[dict[str, Any]]:
    """Batches with rows of all queries, as the driver logs them (:class:`ops.harness.driver.BatchLog`)."""
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        batch = json.loads(line)
        if batch.get("rows") and batch.get("ms"):
            yield batch


def read_batches(file: Path) -> dict[str, dict[str, Any]]:
    """Batch times by query (ms): number, p50, p99, largest, and the mean of every phase; batches without rows are left out."""
    times: dict[str, list[float]] = defaultdict(list)
    phases: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for batch in logged(file):
        times[batch["query"]].append(batch["ms"].get("triggerExecution", 0))
        for phase, ms in batch["ms"].items():
            phases[batch["query"]][phase].append(ms)
    return {
        query: {**latency.summary(values), "phases_mean": {p: round(float(np.mean(v)), 1) for p, v in phases[query].items()}}
        for query, values in times.items()
    }


def steadily(samples: Samples) -> float | None:
    """Thousand packets a second worked off in the last two thirds: workers, kernels and the JVM's compiler have begun by then.

    From the end of a batch to the end of another: of a machine that is full a batch takes seconds, and what the last one has done counts
    when it ends.
    """
    ends = [i for i in range(max(len(samples.at) // 3, 1), len(samples.at)) if samples.done[i] > samples.done[i - 1]]
    if len(samples.at) < 6 or len(ends) < 2:
        return None
    first, last = ends[0], ends[-1]
    return round((samples.done[last] - samples.done[first]) / (samples.at[last] - samples.at[first]) / 1000, 1)


def _result(outcome: Outcome, samples: Samples, batches: dict[str, Any], rate: float, seconds: float) -> dict[str, Any]:
    values = outcome.as_dict()
    lag = samples.lag()
    grows = slope(samples.at, lag, min(WARM_S, seconds / 3))
    sending = outcome.phases["sent"] - outcome.phases["first packet"]
    whole = outcome.phases["accounted"] - outcome.phases["first packet"] if "accounted" in outcome.phases else None
    cpu = {k: round(v - samples.cpu_before.get(k, 0.0), 1) for k, v in samples.cpu_after.items() if v}
    sent = values["packets_sent"]
    rows = {name: values[f"{name}_rows"] for name in ("lake", "hot", "alert")}
    return {
        "rate_kpps": rate / 1000,
        "sustained": bool(outcome.closes and grows is not None and grows < FLAT * rate and sent >= 0.97 * rate * seconds),
        "kpps_sent": round(sent / sending / 1000, 1) if sending > 0 else None,
        "kpps_done": round((samples.sent[-1] - lag[-1]) / samples.at[-1] / 1000, 1) if lag and samples.at[-1] else None,
        "kpps_done_steadily": steadily(samples),
        "kpps_to_the_stores": round(sent / whole / 1000, 1) if whole else None,
        "packets_sent": sent,
        "flows_closed": values["flows_closed"],
        "lag_slope_pps": grows,
        "lag_packets": {"seconds": samples.at, "packets": lag},
        "lag_messages_at_the_end": samples.waiting[-1] if samples.waiting else {},
        "lag_messages": {name: [w.get(name, 0) for w in samples.waiting] for name in (samples.waiting[-1] if samples.waiting else {})},
        "batches_ms": batches,
        "rows": rows,
        "rows_per_s": {name: round(n / whole, 1) for name, n in rows.items()} if whole else None,
        "cpu_seconds_while_sending": cpu,
        "memory_peak_mb": values["memory_peak_mb"],
        "memory_parts_mb": values["memory_parts_mb"],
        "stages_ms": values["stages_ms"],
        "latency_ms": values["latency_ms"],
        "closes": values["closes"],
        "checks": values["checks"],
        "behind": values["behind"],
        "seconds": values["seconds"],
    }


def find(
    settings: Settings, *, rate: float, seconds: float, queries: tuple[str, ...] = (), say: Callable[[str], None] = print
) -> dict[str, Any]:
    """The highest rate that is sustained, to about a tenth: up (or down) by halves, then two steps between. At most seven runs."""
    tried: dict[float, dict[str, Any]] = {}

    def good(value: float) -> bool:
        say(f"trying {value / 1000:,.0f} kpps")
        tried[value] = run(settings, rate=value, seconds=seconds, queries=queries, say=say)
        return bool(tried[value]["sustained"])

    low, high = 0.0, 0.0
    value = rate
    while len(tried) < 5 and not (low and high):
        if good(value):
            low, value = value, value * 1.5
        else:
            high, value = value, value / 1.5
    for _ in range(2 if low and high else 0):
        value = (low + high) / 2
        if good(value):
            low = value
        else:
            high = value
    best = tried.get(low) or tried[min(tried)]
    return {**best, "highest_kpps": low / 1000 if low else None, "tried": {f"{k / 1000:.0f}": v["sustained"] for k, v in tried.items()}}
