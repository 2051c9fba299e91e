"""``flowlake sensor replay-netflow``."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.console.options import ConfFile, Json
from infra.console.progress import ProgressLine
from infra.console.signals import handled
from infra.errors import ConfigError
from infra.names import printable
from infra.plurals import counted
from jobs.captures.arguments import Captures, ending, raise_unread, tell_unread, waiting
from jobs.sending.options import Domain, SensorId
from jobs.sending.preparing import prepare
from jobs.sources.netflow.commands.options import Ports, with_options
from sensors.netflow.settings import ExporterSensorSettings

if TYPE_CHECKING:
    from jobs.sources.netflow.replayed import ReplayedCaptures
    from sensors.netflow.publishing import RawFlowPublisher


def replay_netflow(
    files: Captures,
    speed: Annotated[float, typer.Option("--speed", min=0.0, help="Times the recorded speed; 0: flat out.")] = 1.0,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move the times of receipt: the first datagram of each file is received now.")
    ] = False,
    loop: Annotated[int, typer.Option("--loop", min=1, help="So many times; later rounds get later times of receipt.")] = 1,
    port: Ports = None,
    sensor_id: SensorId = None,
    domain: Domain = None,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Send the datagrams of exporters that capture files hold to flows.raw, with the times of the files, at a pace.

    Those are UDP datagrams to the ports that exporters send to. When the broker is away, the replay waits for it. A folder is every capture
    file in it. Exit code 3: a file could not be read; the others are sent.

    Example:  flowlake sensor replay-netflow netflow.pcap --speed 0
    """
    from jobs.sources.netflow.replayed import ReplayedCaptures
    from sensors.netflow.publishing import raw_flow_publisher
    from sensors.netflow.replaying import ReplayPace
    from sensors.packets.files import find_captures
    from sensors.publish.publisher import publishing

    if speed == float("inf"):
        raise ConfigError(f"--speed {speed} is not a number of times", "0 is flat out")
    found = find_captures(files)
    waited = waiting(found)
    if waited is not None and loop > 1:
        raise ConfigError(f"--loop {loop} with a pipe", "what comes through a pipe can be sent once")
    settings = with_options(prepare(conf_file, sensor_id), port)
    found.open_all()  # before anything is sent
    began, line, stop = time.monotonic(), ProgressLine(as_json), threading.Event()
    own = settings.section(ExporterSensorSettings)
    replayed = ReplayedCaptures(found, own, ReplayPace(speed, loop, shift_to_now, own.flush_ms * 1000), waited, stop)
    published: RawFlowPublisher | None = None
    try:
        on_signal = stop.set if waited is None else ending(waited, stop)
        with handled(on_signal), publishing(raw_flow_publisher(settings, sensor_id, domain, stop=stop)) as publisher:
            published = publisher
            replayed.send(publisher, lambda name: line.show(f"{name}  {publisher.counters.sent:,} datagrams sent"))
    finally:
        line.end()
        if published is not None:  # also when the broker did not take everything: what it did take is told first
            tell_unread(found.skipped, found.failed)
            _report(_summary(published, replayed), began, as_json)
    if not replayed.counts["datagrams"] and not stop.is_set():
        print(f"warning: no datagram to UDP port {', '.join(map(str, own.ports))}; name others with --port", file=sys.stderr)
    raise_unread(found, found.failed, "sent")


def _summary(publisher: RawFlowPublisher, replayed: ReplayedCaptures) -> dict[str, Any]:
    from sensors.packets.files import told

    counters, found = publisher.counters, replayed.found
    return {
        "sensor": publisher.sensor_id,
        "files": [printable(f) for f in found.files],
        **{name: replayed.counts[name] for name in ("packets", "datagrams", "fragments", "cut")},
        "datagrams_sent": counters.sent,
        "messages": counters.messages,
        "bytes": counters.bytes,
        "dropped": counters.received - counters.sent,
        "send_errors": counters.send_errors,
        "truncated": replayed.truncated,
        "skipped": told(found.skipped),
        "failed": told(found.failed),
        "runs": counters.runs,
        "stopped": replayed.stopped,
    }


def _report(summary: dict[str, Any], began: float, as_json: bool) -> None:
    summary["seconds"] = round(time.monotonic() - began, 3)
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"{counted(summary['datagrams_sent'], 'datagram')} of {counted(summary['packets'], 'packet')} sent in "
        f"{counted(summary['messages'], 'message')}, {summary['seconds']:.1f} s"
    )
    if summary["fragments"] or summary["cut"]:
        print(f"left out: {summary['fragments']:,} in fragments, {summary['cut']:,} cut by a snap length")
    for path in summary["truncated"]:
        print(f"cut or damaged, used up to there: {path}")
