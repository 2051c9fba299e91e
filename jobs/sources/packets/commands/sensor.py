"""``flowlake sensor live | replay | generate``."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config, log
from infra.config import Settings
from infra.console.options import ConfFile, Json, group
from infra.console.signals import handled
from infra.errors import CaptureError, ConfigError
from infra.names import printable, valid_text
from jobs.sources.packets.commands.captures import Captures, raise_unread, tell_unread, waiting
from jobs.sources.packets.commands.options import FollowTimeout, Sort, follow_one
from sensors.packets.settings import SensorSettings

if TYPE_CHECKING:
    from sensors.packets.files import Found
    from sensors.packets.following import Follow
    from sensors.packets.ordering import Disorder
    from sensors.packets.publisher import PacketPublisher

app = group("Packets into raw-packets.", "flowlake sensor replay capture.pcap")

SensorId = Annotated[
    str | None,
    typer.Option(
        "--sensor-id", parser=valid_text, help="Name of this sensor; default: sensor.id, else the host's name.", show_default=False
    ),
]
Domain = Annotated[
    str | None, typer.Option("--domain", parser=valid_text, help="Observation domain; default: the sensor's name.", show_default=False)
]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", min=0, max=65535, help="Serve Prometheus metrics there; 0: off.", show_default=False)
]


@app.callback()
def _group() -> None:
    """Packets into raw-packets: from an interface, from capture files, from the traffic generator."""


@app.command(epilog="Example:  flowlake sensor live eth0 --filter 'tcp port 80' --duration 60")
def live(
    interface: Annotated[str, typer.Argument(help="Interface to capture, e.g. eth0 or lo.")],
    filter_text: Annotated[str, typer.Option("--filter", help="pcap-filter expression, e.g. 'tcp and not port 22'.")] = "",
    sensor_id: SensorId = None,
    domain: Domain = None,
    duration: Annotated[float | None, typer.Option("--duration", min=0.0, help="Stop after so many seconds.", show_default=False)] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many packets.", show_default=False)] = None,
    metrics_port: MetricsPort = None,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Capture an interface until interrupted. Frames are taken as they are and cut at the snap length; nothing is put on the wire."""
    from sensors.packets.live import LiveSensor
    from sensors.publish import metrics

    settings = _prepare(conf_file, sensor_id)
    began = time.monotonic()
    sensor = LiveSensor(settings, interface, filter_text=filter_text, sensor_id=sensor_id, domain=domain, duration_s=duration, count=count)
    line = _Line(as_json)
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
    pipe = waiting(found) if following is None else None
    waited = following or pipe
    if following is not None and loop > 1:
        raise ConfigError(f"--follow with --loop {loop}", "a file that is still being written can be sent once")
    if pipe is not None and loop > 1:
        raise ConfigError(f"--loop {loop} with a pipe", "what comes through a pipe can be sent once")
    if speed is None:
        speed = 1.0 if waited is None else 0.0  # what grows is sent as it grows, at the pace at which it is written
    if speed != speed or speed == float("inf"):
        raise ConfigError(f"--speed {speed} is not a number of times", "0 is flat out")
    settings = _prepare(conf_file, sensor_id)
    if following is None:
        found.open_all()  # before anything is sent
    stop = threading.Event()
    began = time.monotonic()
    line = _Line(as_json)
    truncated: list[str] = []
    disorder: dict[str, Disorder] = {}
    published: PacketPublisher | None = None
    try:
        ending = stop.set if waited is None else _ending(waited, stop)
        with handled(ending), publishing(settings, sensor_id, domain, stop=stop) as publisher:
            published = publisher
            if waited is not None:
                waited.idle = Heartbeats(publisher, settings.section(SensorSettings).heartbeat_ms / 1000)
            with _metrics(metrics, settings, metrics_port, sensor_id, lambda: publisher.counters):
                _replay_all(publisher, settings, found, speed, shift_to_now, loop, stop, line, truncated, disorder, following, pipe, sort)
    finally:
        line.end()
        if published is not None:  # also when the broker did not take everything: what it did take is told first
            stopped = stop.is_set() or (waited is not None and waited.stop.is_set())
            tell_unread(found.skipped, found.failed)
            summary = _summary(published, found, truncated, stopped)
            summary["out_of_order"] = {name: late.summary() for name, late in disorder.items()}
            _report(summary, began, as_json)
            for name, late in disorder.items():
                print(f"warning: {name}: {late.told(settings.section(SensorSettings).reorder_ms)}", file=sys.stderr)
    if following is not None and following.problem:  # what was read is sent, but there is more to follow
        raise CaptureError(following.problem, "the same command again follows the new file")
    raise_unread(found, found.failed, "sent")


def _ending(following: Follow, sending: threading.Event, linger_s: float = 10.0) -> Callable[[], None]:
    """What a signal does while a file is followed: the first one ends the reading, and what was read is still sent.

    ``sending`` is set, and what is not sent given up, by the second one, or when the broker did not take it all in ``linger_s``.
    """

    def give_up() -> None:
        following.stop.wait()
        sending.wait(linger_s)
        sending.set()

    # Begun now, since little is safe to do in a signal handler.
    threading.Thread(target=give_up, name="give up", daemon=True).start()
    return lambda: (sending if following.stop.is_set() else following.stop).set()


def _summary(publisher: PacketPublisher, found: Found, truncated: list[str], stopped: bool) -> dict[str, Any]:
    from sensors.packets.files import told

    counters = publisher.counters
    return {
        "sensor": publisher.sensor_id,
        "files": [printable(f) for f in found.files],
        "packets_received": counters.received,
        "packets_sent": counters.sent,
        "messages": counters.messages,
        "bytes": counters.bytes,
        "dropped": counters.received - counters.sent,
        "kernel_dropped": 0,
        "send_errors": counters.send_errors,
        "truncated": truncated,
        "skipped": told(found.skipped),
        "failed": told(found.failed),
        "runs": counters.runs,
        "stopped": stopped,
    }


def _replay_all(
    publisher: PacketPublisher,
    settings: Settings,
    found: Found,
    speed: float,
    shift: bool,
    loop: int,
    stop: threading.Event,
    line: _Line,
    truncated: list[str],
    disorder: dict[str, Disorder],
    following: Follow | None = None,
    pipe: Follow | None = None,
    sort: bool = False,
) -> None:
    """Every file in turn, ``loop`` times.

    Cut or damaged ones are added to ``truncated``, those not read to their end to what failed, those with late packets to ``disorder``.
    """
    from sensors.packets.capture import CaptureReader
    from sensors.packets.files import Problem
    from sensors.packets.ordering import Disorder
    from sensors.packets.pacing import Pacer
    from sensors.packets.replay import chunks

    offset = 0
    for _ in range(loop):
        first: int | None = None
        last: int | None = None
        for path in found.files:
            reader = CaptureReader(path, settings.section(SensorSettings).snaplen, following, pipe)
            pacer = Pacer(publisher, settings.section(SensorSettings), speed=speed, shift_to_now=shift, offset_ns=offset, stop=stop)

            def tick(reader: CaptureReader = reader) -> None:
                done = f"{100 * reader.bytes_read / reader.size:.0f} %" if reader.size else ""
                line.show(f"{printable(reader.path.name)} {done}  {publisher.counters.sent:,} packets sent")

            late = Disorder()
            finished = pacer.send(chunks(reader, settings.section(SensorSettings), sort=sort, disorder=late), tick)
            if late.late:
                disorder[printable(path)] = late
            if reader.truncated and printable(path) not in truncated:
                truncated.append(printable(path))
            if reader.failed:
                found.failed.append(Problem(path, reader.problem))
            if not finished or (pipe is not None and pipe.ending is not None):
                return
            for time_ns in (pacer.first, pacer.last):
                if time_ns is not None:
                    first = time_ns if first is None else min(first, time_ns)
                    last = time_ns if last is None else max(last, time_ns)
        if first is not None and last is not None:
            offset += last - first + 1_000_000_000


class _Line:
    """A progress line on a terminal, at most some times a second."""

    def __init__(self, quiet: bool) -> None:
        self._on = sys.stderr.isatty() and not quiet
        self._last = 0.0

    def show(self, text: str) -> None:
        now = time.monotonic()
        if self._on and now - self._last > 0.2:
            self._last = now
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._on and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _prepare(conf_file: Path | None, sensor_id: str | None) -> Settings:
    settings = config.load(conf_file)
    if sensor_id is not None and not 0 < len(sensor_id) <= 128:
        raise ConfigError(f"--sensor-id {sensor_id[:140]!r} has {len(sensor_id)} characters", "1 to 128")
    log.setup(settings.log)
    if settings.log.level != "debug":
        # The client reports every attempt to reach an absent broker; the sensor says it once, in words.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    return settings


@contextmanager
def _metrics(module: Any, settings: Settings, port: int | None, sensor_id: str | None, counters: Callable[[], Any]) -> Iterator[None]:
    port = settings.metrics.sensor_port if port is None else port
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
