"""Windows per source: what they cost beside the meter, how late a record is, and what more sources cost.

Three measurements. Packets a second of sensor, meter and windows together, by those of sensor and meter alone, in turns on one machine.
How long after the end of its 5 s a record is on its topic, at a moderate rate. And the cascade by itself, fed by ever more sources that
each do the same, and by a flood of forged ones.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from infra.config import Settings
from infra.errors import ConfigError, FlowlakeError
from jobs.metering.slices import SLICE_DTYPE
from jobs.windows.bounds import Bounds
from jobs.windows.cascade import WindowCascade
from jobs.windows.records import records
from jobs.windows.slots import SECONDS, summed
from jobs.windows.summary import Summaries
from ops.bench import stream
from ops.harness import latency
from schemas.windowrecords import WINDOWS

#: Packets a second that are offered: more than two cores take.
OFFERED = 300_000.0
#: Of the run that delays are measured in.
MODERATE = 10_000.0
#: Sources of the cascade by itself; slices of each in a slot, batches of a slot, slots before and in the measurement.
SOURCES = (1_000, 10_000, 100_000)
_EACH, _BATCHES, _WARM, _SLOTS = 5, 5, 36, 72
#: Of a flood, in each batch.
_FORGED = 5_600

#: What is measured, in this order.
PARTS = ("ratio", "delay", "sources", "flood")

Say = Callable[[str], None]
Result = dict[str, Any]


def run(
    settings: Settings,
    *,
    seconds: float,
    repeats: int,
    only: Sequence[str] = PARTS,
    kept: Callable[[Result], None] = lambda result: None,
    say: Say = print,
) -> Result:
    """Measure all, or some :data:`PARTS`.

    ``kept`` is told what there is after each part and each pair of runs: of a measurement that is cut off that much is left.

    Raises
    ------
    ConfigError
        There is no such part.
    FlowlakeError
        A part of the stream did not start or ended; a size of window has no model.
    """
    if unknown := [name for name in only if name not in PARTS]:
        raise ConfigError(f"--only {', '.join(unknown)}", f"parts: {', '.join(PARTS)}")
    result: Result = {}

    def keep(**found: Any) -> None:
        result.update(found)
        kept(result)

    if "ratio" in only:
        pairs: list[Result] = []
        for number in range(repeats):
            say(f"pair {number + 1} of {repeats}")
            pairs.append(_pair(settings, seconds, number % 2 == 1, say))
            ratios = [pair["ratio"] for pair in pairs]
            keep(ratio=median(ratios), ratios=ratios, pairs=pairs)
    if "delay" in only:
        say(f"delays at {MODERATE:,.0f} packets a second")
        keep(record_after_window_ms=_delays(settings, max(seconds, 60.0), say))
    if "sources" in only:
        keep(sources=[by_sources(sources, say=say) for sources in SOURCES])
    if "flood" in only:
        keep(flood=flood(say=say))
    return result


def _pair(settings: Settings, seconds: float, windows_first: bool, say: Say) -> Result:
    """The meter alone and with windows; packets and batches of both.

    In turns either is first: what a machine that is shared gives changes over minutes, and not always in favour of the same one.
    """

    def measured(enabled: bool) -> Result:
        queries = ("meter", "windows") if enabled else ("meter",)
        say(f"with {' and '.join(queries)}")
        return stream.run(_switched(settings, enabled), rate=OFFERED, seconds=seconds, queries=queries, grace_s=1.0, say=say)

    first = measured(windows_first)
    second = measured(not windows_first)
    alone, both = (second, first) if windows_first else (first, second)
    if "windows" not in both["batches_ms"]:
        raise FlowlakeError("the windows had no batch: nothing was measured", "let it run for longer: --seconds 60")
    ratio = round(both["kpps_done_steadily"] / alone["kpps_done_steadily"], 3)
    say(f"{both['kpps_done_steadily']} of {alone['kpps_done_steadily']} thousand packets a second: {ratio}")
    return {
        "ratio": ratio,
        "alone_kpps": alone["kpps_done_steadily"],
        "with_windows_kpps": both["kpps_done_steadily"],
        "from_the_start_kpps": [alone["kpps_done"], both["kpps_done"]],
        "alone_cpu_s": alone["cpu_seconds_while_sending"],
        "cpu_s": both["cpu_seconds_while_sending"],
        "batches_ms": both["batches_ms"],
    }


def _delays(settings: Settings, seconds: float, say: Say) -> dict[str, float]:
    delays = Delays()
    stream.run(_switched(settings, True), rate=MODERATE, seconds=seconds, queries=("meter", "windows"), started=delays.follow, say=say)
    return delays.summary()


def _switched(settings: Settings, enabled: bool) -> Settings:
    section = settings.windows  # type: ignore[attr-defined]  # of a source
    return settings.model_copy(update={"windows": section.model_copy(update={"enabled": enabled})})


class Delays:
    """How long after the end of its window each record of 5 s was written, by the clock of the machine."""

    def __init__(self) -> None:
        self._found: list[float] = []

    def follow(self, settings: Settings) -> None:
        """Read the topic from now on, until the broker is gone."""
        threading.Thread(target=self._read, args=(settings,), daemon=True, name="window-delays").start()

    def _read(self, settings: Settings) -> None:
        from kafka import KafkaConsumer
        from kafka.errors import KafkaError

        from infra.kafka.client import client_options

        topic = settings.topic(WINDOWS[SECONDS].topic.name)
        consumer = KafkaConsumer(topic, auto_offset_reset="earliest", consumer_timeout_ms=30_000, **client_options(settings.kafka))
        try:
            for message in consumer:
                ends = pa.ipc.open_stream(message.value).read_all()["window_end"].cast(pa.int64()).to_numpy() / 1000
                self.add((message.timestamp - ends).tolist())
        except KafkaError:  # the stack has been stopped
            return
        finally:
            consumer.close()

    def add(self, delays_ms: list[float]) -> None:
        """Of some records."""
        self._found += delays_ms

    def summary(self) -> dict[str, float]:
        """Of all records but those of the first windows, which wait for the stream to begin."""
        return latency.summary(self._found[len(self._found) // 5 :])


def by_sources(sources: int, *, say: Say = print) -> dict[str, Any]:
    """The cascade alone, by so many sources that all do the same: some slices a slot each, to ten others, in five batches. CPU time."""
    rng = np.random.default_rng(sources)
    cascade = WindowCascade()
    spent = {"summed": 0.0, "cascade": 0.0, "records": 0.0}
    longest, made_records = 0.0, 0
    for slot in range(-_WARM, _SLOTS):
        for batch, some in enumerate(rng.permutation(np.repeat(np.arange(sources), _EACH)).reshape(_BATCHES, -1)):
            slices = _slices(rng, len(some), some, slot + _WARM)
            begin = time.process_time()
            parts = summed(slices, ["bench"])
            added = time.process_time()
            clock = (slot + _WARM + (batch == _BATCHES - 1)) * SECONDS * 1_000_000
            made = cascade.take(parts, {"bench": clock})
            taken = time.process_time()
            n = sum(records(some, size).num_rows for one in made for size, some in one.items() if len(some))
            done = time.process_time()
            if slot < 0:  # compiles
                continue
            made_records += n
            for name, value in zip(spent, (added - begin, taken - added, done - taken), strict=True):
                spent[name] += value
            longest = max(longest, done - begin)
    each = {f"{name}_us": round(1e6 * value / made_records, 2) for name, value in spent.items()}
    whole = round(1e6 * sum(spent.values()) / made_records, 2)
    say(f"{sources:,} sources: {made_records:,} records, {whole} us of CPU each")
    return {"sources": sources, "records": made_records, "us_per_record": whole, **each, "longest_batch_cpu_s": round(longest, 2)}


def _slices(rng: np.random.Generator, n: int, source: np.ndarray, slot: int) -> np.ndarray:
    made = np.zeros(n, SLICE_DTYPE)
    made["src_lo"] = source + 0x0A000000
    made["dst_lo"] = (made["src_lo"] * 7 + rng.integers(0, 10, n).astype(np.uint64)) % 100_000 + 0x0B000000
    made["dport"], made["proto"], made["ipver"], made["slot"] = rng.choice([53, 80, 443], n), 6, 4, slot
    made["first"] = made["last"] = slot * SECONDS * 1_000_000
    made["nf"], made["nb"], made["l3f"], made["l3b"], made["opened"], made["f_syn"] = 4, 4, 400, 4000, 1, 1
    return made


def flood(*, batches: int = SECONDS, slots: int = 36, bounds: Bounds | None = None, say: Say = print) -> dict[str, Any]:
    """A million forged sources in three minutes, a packet each, a batch a second: what is kept of them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = np.random.default_rng(1)
    cascade = WindowCascade(bounds=bounds or Bounds())
    begin = time.perf_counter()
    largest, rows = 0, 0
    for slot in range(slots):
        for _ in range(batches):
            cascade.take(summed(_slices(rng, _FORGED, rng.integers(0, 1 << 28, _FORGED), slot), ["bench"]), {})
            largest = max(largest, sum(level.rows for level in cascade.levels.values()))
        for made in cascade.take(Summaries.none(), {"bench": (slot + 1) * SECONDS * 1_000_000}):
            rows += sum(map(len, made.values()))
    say(f"{_FORGED * slots * batches:,} forged sources")
    return {
        "forged_sources": _FORGED * slots * batches,
        "windows": rows,
        "folded": cascade.accounts["bench"]["folded"],
        "open_rows_at_most": largest,
        "remembered": len(cascade.memory),
        "memory_mb_more": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
        "seconds": round(time.perf_counter() - begin, 1),
    }
