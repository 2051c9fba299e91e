"""``flowlake sensor live | replay | generate``."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.config import Settings
from infra.console.options import ConfFile, Json, group
from infra.console.progress import ProgressLine
from infra.console.signals import handled
from infra.errors import CaptureError
from jobs.captures.arguments import Captures, ending, raise_unread, tell_unread, waiting
from jobs.sending.options import Domain, Duration, MetricsPort, SensorId
from jobs.sending.preparing import port_of_metrics, prepare
from jobs.sources.packets.commands.options import FollowTimeout, Sort, follow_one
from jobs.sources.packets.commands.replaying import Replay, ReplayOptions
from sensors.packets.settings import SensorSettings

if TYPE_CHECKING:
    from sensors.packets.publisher import PacketPublisher

app = group("Sensors: packets into raw-packets, and those of other sources.", "flowlake sensor replay capture.pcap")


@app.callback()
def _group() -> None:
    """Sensors: packets into raw-packets, from an interface, capture files or the traffic generator; and those of other sources."""


@app.command(epilog="Example:  flowlake sensor live eth0 --filter 'tcp port 80' --duration 60")
def live(
    interface: Annotated[str, typer.Argument(help="Interface to capture, e.g. eth0 or lo.")],
    filter_text: Annotated[str, typer.Option("--filter", help="pcap-filter expression, e.g. 'tcp and not port 22'.")] = "",
    sensor_id: SensorId = None,
    domain: Domain = None,
    duration: Duration = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many packets.", show_default=False)] = None,
    metrics_port: MetricsPort = None,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Capture an interface until interrupted. Frames are taken as they are and cut at the snap length; nothing is put on the wire."""
    from sensors.packets.live import LiveSensor
    from sensors.publish import metrics

    settings = prepare(conf_file, sensor_id)
    began = time.monotonic()
    sensor = LiveSensor(settings, interface, filter_text=filter_text, sensor_id=sensor_id, domain=domain, duration_s=duration, count=count)
    line = ProgressLine(as_json)
    with handled(sensor.stop), _metrics(metrics, settings, metrics_port, sensor_id, lambda: sensor.counters):
        counters = sensor.run(
            lambda s: line.show(f"{s.captured:,} packets captured, {s.counters.sent:,} sent, {s.counters.dropped:,} dropped")
        )
    line.end()
    _report(
        {
            "sensor": sensor_id or settings.section(SensorSettings).name,
            "interface": interface,
            "packets_received": counters.received,
            "packets_sent": counters.sent,
            "messages": counters.messages,
            "bytes": counters.bytes,
            "dropped": counters.dropped,
            "kernel_dropped": counters.kernel_dropped,
            "send_errors": counters.send_errors,
        },
        began,
        as_json,
    )


@app.command(epilog="Example:  flowlake sensor replay capture.pcapng.gz --speed 0")
def replay(
    files: Captures,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            min=0.0,
            help="Times the recorded speed; 0: flat out. Default: 1; of a pipe, or with --follow, 0.",
            show_default=False,
        ),
    ] = None,
    shift_to_now: Annotated[bool, typer.Option("--shift-to-now", help="Move the file's times: its first packet is now.")] = False,
    loop: Annotated[int, typer.Option("--loop", min=1, help="So many times; later rounds get later times.")] = 1,
    follow: Annotated[bool, typer.Option("--follow", help="The file is still being written: send it as it grows, until Ctrl-C.")] = False,
    follow_timeout: FollowTimeout = 0.0,
    sort: Sort = False,
    sensor_id: SensorId = None,
    domain: Domain = None,
    metrics_port: MetricsPort = None,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Send capture files one after the other, with the times of the files, at a pace. When the broker is away, the replay waits for it.

    A folder is every capture file in it, as for flowlake meter. Exit code 3: a file could not be read; the others are sent.
    """
    from sensors.packets.files import find_captures
    from sensors.packets.following import Heartbeats
    from sensors.packets.publisher import publishing
    from sensors.publish import metrics

    following = follow_one(files, follow, follow_timeout, sort=sort)
    found = find_captures(files)
    options = ReplayOptions(speed, shift_to_now, loop, sort, following, waiting(found) if following is None else None)
    settings = prepare(conf_file, sensor_id)
    if following is None:
        found.open_all()  # before anything is sent
    began = time.monotonic()
    line = ProgressLine(as_json)
    replayed = Replay(found, options, settings.section(SensorSettings), line.show, threading.Event())
    published: PacketPublisher | None = None
    try:
        on_signal = replayed.stop.set if options.waited is None else ending(options.waited, replayed.stop)
        with handled(on_signal), publishing(settings, sensor_id, domain, stop=replayed.stop) as publisher:
            published = publisher
            if options.waited is not None:
                options.waited.idle = Heartbeats(publisher, settings.section(SensorSettings).heartbeat_ms / 1000)
            with _metrics(metrics, settings, metrics_port, sensor_id, lambda: publisher.counters):
                replayed.send(publisher)
    finally:
        line.end()
        if published is not None:  # also when the broker did not take everything: what it did take is told first
            tell_unread(found.skipped, found.failed)
            _report(replayed.summary(published), began, as_json)
            for name, late in replayed.disorder.items():
                print(f"warning: {name}: {late.told(settings.section(SensorSettings).reorder_ms)}", file=sys.stderr)
    if following is not None and following.problem:  # what was read is sent, but there is more to follow
        raise CaptureError(following.problem, "the same command again follows the new file")
    raise_unread(found, found.failed, "sent")


@contextmanager
def _metrics(module: Any, settings: Settings, port: int | None, sensor_id: str | None, counters: Callable[[], Any]) -> Iterator[None]:
    port = port_of_metrics(settings, port)
    if not port:
        yield
        return
    stop = module.serve(settings.metrics.host, port, sensor_id or settings.section(SensorSettings).name, counters)
    try:
        yield
    finally:
        stop()


def _report(summary: dict[str, Any], began: float, as_json: bool) -> None:
    seconds = time.monotonic() - began
    summary["seconds"] = round(seconds, 3)
    summary["pps"] = round(summary["packets_sent"] / seconds, 1) if seconds > 0 else 0.0
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"{summary['packets_sent']:,} packets sent in {summary['messages']:,} messages, {seconds:.1f} s, {summary['pps']:,.0f} packets/s; "
        f"dropped {summary['dropped']:,}, by the kernel {summary['kernel_dropped']:,}"
    )
    for path in summary.get("truncated", ()):
        print(f"cut or damaged, used up to there: {path}")


if importlib.util.find_spec("jobs.sources.packets.commands.generate") is not None:
    from jobs.sources.packets.commands.generate import generate_command

    app.command("generate")(generate_command)
