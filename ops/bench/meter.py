"""The batch meter on a large capture file, beside NFStream: packets per second, CPU time, memory, and where the time goes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from infra.config import Settings
from jobs.metering.settings import MeterSettings
from ops.bench import peer, traffic
from ops.bench.place import machine
from ops.bench.processes import Measured, flowlake, measure
from sensors.packets.settings import SensorSettings

#: The capture's rate; its length follows from the number of packets.
RATE = 100_000.0
#: The generator stays some tenth below the rate that is asked for.
_MARGIN = 1.15
#: Packets that the profile looks at, one stage after the other.
_PROFILED = 2_000_000
T = TypeVar("T")


def run(settings: Settings, *, packets: int, with_peer: bool = True, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Meter generated mixed traffic (preset ``demo``) of so many packets, to a CSV file of flow records.

    NFStream counts its flows and writes nothing; its timeouts are ours. Frames are whole: it drops those that are cut.

    Returns
    -------
    dict
        ``flowlake`` and ``nfstream``: seconds, CPU seconds, peak memory, processes, flows, kpps; ``ratio`` of the packets per second,
        ``ratio_per_cpu_second``; ``profile``: seconds by stage when they run one after the other; the machine.

    Raises
    ------
    StackError, CaptureError
        NFStream cannot be had, a program failed, or there is no room for the capture file.
    """
    facts = machine()
    folder = Path(tempfile.mkdtemp(prefix="flowlake-bench-"))
    try:
        python = peer.environment(settings.path(settings.paths.var) / "bench" / "nfstream") if with_peer else None
        capture = folder / "mixed.pcap"
        made = traffic.write(settings, capture, preset="demo", rate=RATE, seconds=packets / RATE * _MARGIN, whole=True, say=say)
        result: dict[str, Any] = {"packets": made, "capture_mb": capture.stat().st_size >> 20}
        meter(capture, folder / "flows.csv")  # compiled code and, if it is not too large, the file are in memory
        ours = meter(capture, folder / "flows.csv")
        result["flowlake"] = _told(ours, made, ours.said["flows"])
        say(f"flowlake: {result['flowlake']['kpps']:,} kpps")
        if python is not None:
            theirs = peer.run(
                python, capture, settings.section(MeterSettings).idle_timeout_s, settings.section(MeterSettings).active_timeout_s
            )
            result["nfstream"] = {**_told(theirs, made, theirs.said["flows"]), "packets_metered": theirs.said["packets"]}
            say(f"NFStream: {result['nfstream']['kpps']:,} kpps")
            result["ratio"] = round(theirs.seconds / ours.seconds, 2)
            result["ratio_per_cpu_second"] = round(theirs.cpu_seconds / ours.cpu_seconds, 2)
        result["profile"] = profile(settings, capture, folder / "profile.csv")
        return {**result, "machine": facts}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def meter(capture: Path, out: Path, *options: str) -> Measured:
    """``flowlake meter`` in a process of its own."""
    return measure(flowlake("meter", capture, "--out", out, "--json", *options))


def _told(measured: Measured, packets: int, flows: int) -> dict[str, Any]:
    return {**measured.as_dict(), "flows": flows, "kpps": round(packets / measured.seconds / 1000, 1)}


def profile(settings: Settings, capture: Path, out: Path) -> dict[str, Any]:
    """Seconds by stage on the first two million packets, each stage after the other in one thread."""
    from jobs.metering.batch import digests_of, records_of
    from jobs.metering.bucket import BucketMeter
    from jobs.metering.files import RecordWriter
    from sensors.packets.capture import CaptureReader
    from sensors.packets.replay import chunks

    spent: dict[str, float] = defaultdict(float)
    seen = flows = 0
    bucket = BucketMeter(0, 1, settings.section(MeterSettings).model_copy(update={"interim": False}))
    source = chunks(CaptureReader(capture, settings.section(SensorSettings).snaplen), settings.section(SensorSettings))
    enough = -(-_PROFILED // settings.section(SensorSettings).batch_packets)
    with RecordWriter(out) as writer:
        for seq, chunk in enumerate(_timed(islice(source, enough), spent, "read")):
            seen += len(chunk.frames)
            began = time.perf_counter()
            digested = digests_of(chunk, "bench", seq)
            spent["decode"] += time.perf_counter() - began
            began = time.perf_counter()
            emission = bucket.ingest_decoded([digested], 0)
            spent["meter"] += time.perf_counter() - began
            for batch in _timed(records_of(emission), spent, "features"):
                flows += batch.num_rows
                began = time.perf_counter()
                writer.write([batch])
                spent["write CSV"] += time.perf_counter() - began
    return {
        "packets": seen,
        "flows": flows,
        "seconds": {stage: round(s, 2) for stage, s in spent.items()},
        "us_per_packet": {stage: round(s / seen * 1e6, 3) for stage, s in spent.items()},
    }


def _timed(items: Iterable[T], spent: dict[str, float], name: str) -> Iterator[T]:
    source = iter(items)
    while True:
        began = time.perf_counter()
        try:
            item = next(source)
        except StopIteration:
            return
        finally:
            spent[name] += time.perf_counter() - began
        yield item
