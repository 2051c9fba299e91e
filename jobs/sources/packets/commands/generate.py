"""``flowlake sensor generate``: labelled traffic into a capture file or to the broker."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.console.options import ConfFile, Json
from infra.console.signals import handled
from infra.errors import CaptureError, ConfigError
from infra.names import printable
from jobs.captures.arguments import DASH, capture_path
from jobs.sending.options import Domain, SensorId
from jobs.sending.preparing import prepare
from sensors.packets.settings import SensorSettings

if TYPE_CHECKING:
    from infra.config import Settings
    from sensors.generate import Scenario, TrafficGenerator

EXAMPLE = "Example:  flowlake sensor generate --preset demo --seed 7 --out demo.pcap"


Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same bytes.", show_default=False)]
Duration = Annotated[float | None, typer.Option("--duration", help="Seconds of capture time.", show_default=False)]
Rate = Annotated[float | None, typer.Option("--rate", help="Packets per second to aim at.", show_default=False)]
AttackShare = Annotated[
    float | None, typer.Option("--attack-share", help="Share of packets that belong to attacks, 0..1.", show_default=False)
]
Kinds = Annotated[
    str | None,
    typer.Option(
        "--kinds", help="Only these attacks and benign kinds, with commas; attacks alone keep all benign kinds.", show_default=False
    ),
]
Start = Annotated[
    str | None, typer.Option("--start", help="Time of the first moment: ISO 8601, or now.", show_default="2026-01-05T09:00:00Z")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", parser=capture_path, help="Write a capture file (pcap, ns), and the truth beside it; -: to stdout.", show_default=False
    ),
]
TruthFile = Annotated[
    Path | None, typer.Option("--truth", help="Where the ground truth goes (Parquet); default: beside --out.", show_default=False)
]


def generate_command(
    preset_name: Annotated[str, typer.Option("--preset", help="demo, train, bench, flood, flood-1m, slow or quiet.")] = "demo",
    seed: Seed = None,
    duration: Duration = None,
    rate: Rate = None,
    attack_share: AttackShare = None,
    kinds: Kinds = None,
    start: Start = None,
    out: Out = None,
    to_kafka: Annotated[bool, typer.Option("--to-kafka", help="Send to raw-packets.")] = False,
    speed: Annotated[float, typer.Option("--speed", min=0.0, help="With --to-kafka: times real time; 0: flat out.")] = 1.0,
    truth: TruthFile = None,
    sensor_id: SensorId = None,
    domain: Domain = None,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Generate labelled traffic from a seed: benign and attacks, as real frames. Nothing is put on a wire.

    Example:  flowlake sensor generate --preset demo --seed 7 --out demo.pcap
    """
    from sensors.generate import TrafficGenerator

    if to_kafka == (out is not None):
        raise ConfigError("generate needs one of --out FILE and --to-kafka" + (", not both" if to_kafka else ""), EXAMPLE)
    traffic = TrafficGenerator(_scenario(preset_name, seed, duration, rate, attack_share, kinds, start))
    truth_file = _truth_file(out, truth)
    stop = threading.Event()
    began = time.monotonic()
    report: dict[str, Any] = {"preset": preset_name, "seed": traffic.scenario.seed}
    with handled(stop.set):
        if out is not None:
            report |= _to_file(traffic, out, stop)
        else:
            report |= _to_kafka(traffic, prepare(conf_file, sensor_id), sensor_id, domain, speed, stop)
    seconds = time.monotonic() - began
    if truth_file is not None:
        report |= _write_truth(traffic, truth_file)
    report |= {"seconds": round(seconds, 3), "pps": round(traffic.packets / seconds, 1) if seconds else 0.0, "stopped": stop.is_set()}
    _tell(report, traffic.packets, out, as_json)
    raise typer.Exit(130 if stop.is_set() and out is not None else 0)  # a capture that is shorter than asked for


def _scenario(
    preset_name: str,
    seed: int | None,
    duration: float | None,
    rate: float | None,
    attack_share: float | None,
    kinds: str | None,
    start: str | None,
) -> Scenario:
    """What the options ask for.

    Raises
    ------
    ConfigError
        Out of range, unknown, or kinds that contradict the share.
    """
    from sensors.generate import preset

    names = tuple(k.strip() for k in kinds.split(",") if k.strip()) if kinds is not None else None
    scenario = preset(
        preset_name, seed=seed, duration_s=duration, rate=rate, attack_share=attack_share, kinds=names, start_ns=start_time(start)
    )
    if names and attack_share is not None and (attack_share > 0) != bool(scenario.attack_kinds):
        named = "none of them is an attack" if attack_share else "attacks are among them"
        raise ConfigError(f"--kinds {kinds} with --attack-share {attack_share:g}: {named}", "name other kinds, or leave one of the two out")
    return scenario


def _truth_file(out: Path | None, truth: Path | None) -> Path | None:
    """Where the ground truth goes; None for nowhere. Told before packets are made: that may take long."""
    from sensors.generate import truth_path

    file = truth or (truth_path(out) if out and out != DASH else None)
    if file is not None and out is not None and os.path.realpath(file) == os.path.realpath(out):
        raise ConfigError(f"--out and --truth are the same file {out}", "leave --truth out: the truth goes beside the capture")
    if file is not None and not Path(os.path.realpath(file)).parent.is_dir():
        raise CaptureError(f"cannot write {file}: no such folder", "name a folder that exists")
    return file


def _write_truth(traffic: TrafficGenerator, file: Path) -> dict[str, Any]:
    """Write it; what the report says of it."""
    from sensors.generate import write_truth

    table = traffic.truth()
    try:
        write_truth(table, file)
    except OSError as e:
        raise CaptureError(f"cannot write {file}: {e.strerror or e}", "name a folder that exists and is writable") from e
    counts = table["label"].value_counts().to_pylist()
    labels = {c["values"]: c["counts"] for c in sorted(counts, key=lambda c: c["values"])}
    return {"truth": printable(file), "flows": table.num_rows, "labels": labels}


def _tell(report: dict[str, Any], packets: int, out: Path | None, as_json: bool) -> None:
    told = sys.stderr if out == DASH else sys.stdout  # nothing but the capture goes there
    if as_json:
        print(json.dumps(report), file=told)
        return
    if report["stopped"]:
        print("stopped by a signal before its end", file=sys.stderr)
    where = printable(out) if out else "to raw-packets"
    speed = f"in {report['seconds']:.1f} s ({report['pps']:,.0f} packets/s)"
    print(f"{packets:,} packets written {speed}, {where}", file=told)
    if "truth" in report:
        print(f"ground truth: {report['truth']}, {report['flows']:,} flows", file=told)


def start_time(text: str | None) -> int | None:
    """``now`` or an ISO 8601 time as ns since the epoch (UTC where no zone is given); None stays None.

    Raises
    ------
    ConfigError
        Neither, or before 1970.
    """
    if text is None:
        return None
    if text == "now":
        return time.time_ns()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as e:
        raise ConfigError(f"--start {text!r} is no ISO 8601 time", "e.g. 2026-01-05T09:00:00Z, or now") from e
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = int(moment.timestamp())
    if not 0 <= seconds < 1 << 32:
        raise ConfigError(f"--start {text} does not fit a capture file", "1970 to 2105")
    return seconds * 1_000_000_000 + moment.microsecond * 1000


def _to_file(traffic: TrafficGenerator, out: Path, stop: threading.Event) -> dict[str, Any]:
    from sensors.packets.pcapwriter import PcapWriter

    with PcapWriter(out) as writer:
        for frames in traffic:
            writer.write(frames)
            if stop.is_set():
                break
    return {"out": printable(out), "packets": writer.packets, "bytes": writer.bytes}


def _to_kafka(
    traffic: TrafficGenerator, settings: Settings, sensor_id: str | None, domain: str | None, speed: float, stop: threading.Event
) -> dict[str, Any]:
    from sensors.generate.cut import cut_all
    from sensors.packets.pacing import Pacer
    from sensors.packets.publisher import publishing
    from sensors.packets.replay import ordered

    with publishing(settings, sensor_id, domain, stop=stop) as publisher:
        Pacer(publisher, settings.section(SensorSettings), speed=speed, stop=stop).send(
            ordered(cut_all(traffic, settings.section(SensorSettings).snaplen), settings.section(SensorSettings))
        )
    counters = publisher.counters
    return {
        "sensor": publisher.sensor_id,
        "packets": traffic.packets,
        "packets_sent": counters.sent,
        "messages": counters.messages,
        "bytes": counters.bytes,
        "dropped": counters.dropped,
    }
