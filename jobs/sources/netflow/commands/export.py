"""``flowlake netflow export``: an exporter of our own, fed with capture files."""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config
from infra.console.options import ConfFile, Json
from infra.console.signals import handled
from infra.errors import ConfigError, FlowlakeError
from infra.names import printable
from infra.plurals import counted
from jobs.captures.arguments import Captures, capture_path, raise_unread, refuse_overwriting, tell_unread

if TYPE_CHECKING:
    from jobs.sources.netflow.exporting import ExportJob, ExportOptions
    from sensors.netflow.sending import DatagramSink

_PORTS = "2055 of NetFlow, 4739 of IPFIX, 6343 of sFlow"
#: Datagrams a second, unless asked for otherwise: no collector's socket buffer runs over.
_RATE = 1000.0

As = Annotated[str, typer.Option("--as", help="v5, v9, ipfix or sflow.")]
To = Annotated[
    str, typer.Option("--to", metavar="HOST[:PORT]", help=f"The collector; port by default: {_PORTS}.", show_default="127.0.0.1")
]
Into = Annotated[
    Path | None, typer.Option("--into", parser=capture_path, help="Write a pcap file of the datagrams instead.", show_default=False)
]
Sampling = Annotated[int, typer.Option("--sampling", min=1, help="Take one packet of so many, at random, and say so.")]
Speed = Annotated[float, typer.Option("--speed", min=0.0, help="Times the capture's clock; 0: as fast as --rate allows.")]
Rate = Annotated[float, typer.Option("--rate", help="Datagrams a second, at most.")]
Refresh = Annotated[
    int, typer.Option("--templates-every", min=1, help="Templates again in front of every so many datagrams, and every minute.")
]
Shift = Annotated[bool, typer.Option("--shift-to-now", help="Move the times of each file so that its first packet is now.")]
Agent = Annotated[
    str | None,
    typer.Option("--exporter", help="Address of the exporter: sFlow's agent, the sender in a file.", show_default="127.0.0.1 or ::1"),
]


def export(
    captures: Captures,
    to: To = "127.0.0.1",
    into: Into = None,
    kind: As = "v9",
    sampling: Sampling = 1,
    seed: Annotated[int, typer.Option("--seed", help="Chooses which packets are taken.")] = 0,
    biflow: Annotated[bool, typer.Option("--biflow", help="IPFIX: both directions in one record (RFC 5103).")] = False,
    templates_every: Refresh = 20,
    speed: Speed = 0.0,
    rate: Rate = _RATE,
    shift_to_now: Shift = False,
    sort: Annotated[bool, typer.Option("--sort", help="Put all packets of a file in time order first.")] = False,
    exporter: Agent = None,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Export capture files as a router would: metered, put into datagrams, sent to a collector.

    Each file is an observation domain of its own. sFlow is made of the packets, everything else of flows by the rules of the section
    meter. What was sent is told at the end, to the byte, so that the collector's accounts can be compared with it.

    Examples:

      flowlake netflow export capture.pcap --as v9 --to 127.0.0.1:2055

      flowlake netflow export capture.pcap --as ipfix --biflow --sampling 10 --speed 1 --shift-to-now

      flowlake netflow export captures/ --as sflow --sampling 100 --into sflow.pcap
    """
    from jobs.sources.netflow.exporting import PORTS, ExportJob
    from sensors.packets.files import find_captures

    options = _options(kind, sampling=sampling, seed=seed, biflow=biflow, refresh=templates_every, shift=shift_to_now, sort=sort)
    target, port = _target(to, PORTS[options.kind])
    agent = exporter or ("127.0.0.1" if ":" not in target else "::1")
    options = _with_agent(options, agent, target if into is not None else "")
    pace_given = (speed, rate) != (0.0, _RATE)
    if into is not None and pace_given:
        raise ConfigError("--into with a pace", "a file has the datagrams' own times: leave --speed and --rate out")
    if not 0 < rate < float("inf") or speed == float("inf"):
        raise ConfigError(f"--rate {rate} --speed {speed} is no pace", "datagrams a second above 0, and a number of times")
    found = find_captures(captures)
    refuse_overwriting(into, list(found.files), "--into")
    job = ExportJob(found, options, config.load(conf_file), threading.Event())
    began = time.monotonic()
    try:
        refused = _sent(job, _sink(into, agent, target, port), None if into is not None else (speed, rate))
    finally:
        tell_unread(found.skipped, job.failed)
    summary = job.summary(time.monotonic() - began, refused) | {"to": str(into) if into is not None else f"{target} port {port}"}
    if as_json:
        print(json.dumps(summary))
    else:
        _tell(summary)
    if refused:
        what = f"{counted(refused, 'datagram')} of {summary['datagrams']:,} refused: nobody listens on {target} port {port}"
        raise FlowlakeError(what, "start a collector first, e.g. flowlake sensor netflow")
    raise_unread(found, job.failed, "exported")


def _options(kind: str, *, sampling: int, seed: int, biflow: bool, refresh: int, shift: bool, sort: bool) -> ExportOptions:
    from jobs.flowexport.exporting.netflow5out import MOST_INTERVAL
    from jobs.sources.netflow.exporting import ExportKind, ExportOptions

    if kind not in list(ExportKind):
        raise ConfigError(f"--as {kind}: no such protocol", f"one of: {', '.join(ExportKind)}")
    if biflow and kind != ExportKind.IPFIX:
        raise ConfigError(f"--biflow with --as {kind}", "only IPFIX has both directions in one record: --as ipfix")
    if kind == ExportKind.V5 and sampling > MOST_INTERVAL:
        raise ConfigError(f"--sampling {sampling} with --as v5", f"its header has room for {MOST_INTERVAL}; v9 and IPFIX say more")
    return ExportOptions(ExportKind(kind), sampling, seed, biflow, refresh, shift, sort)


def _with_agent(options: ExportOptions, agent: str, beside: str) -> ExportOptions:
    """With the exporter's address; ``beside``: the other address of a datagram in a file."""
    from dataclasses import replace

    try:
        version = ipaddress.ip_address(agent).version
    except ValueError as e:
        raise ConfigError(f"--exporter {agent}: {e}", "an IPv4 or IPv6 address") from e
    if beside and ipaddress.ip_address(beside).version != version:
        raise ConfigError(f"--exporter {agent} with --to {beside}", "both of one IP version")
    return replace(options, agent=agent)


def _target(to: str, port: int) -> tuple[str, int]:
    """Address and port of ``HOST[:PORT]``; an IPv6 address with a port stands in brackets."""
    host, number = to, ""
    if to.startswith("["):
        host, _, number = to[1:].partition("]")
        number = number.removeprefix(":")
    elif to.count(":") == 1:
        host, _, number = to.partition(":")
    if number and not (number.isascii() and number.isdigit() and 0 < int(number) < 65_536):
        raise ConfigError(f"--to {to}: {number!r} is no port", "HOST:PORT, or [IPv6]:PORT")
    try:
        found = socket.getaddrinfo(host, int(number or port), type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as e:
        raise ConfigError(f"--to {to}: no such host", "an address, or a name that this machine can resolve") from e
    address = found[0][4]
    return str(address[0]), int(address[1])


def _sink(into: Path | None, agent: str, target: str, port: int) -> DatagramSink:
    from sensors.netflow.sending import DatagramFile, UdpSender

    return UdpSender(target, port) if into is None else DatagramFile(into, agent, target, port)


def _sent(job: ExportJob, sink: DatagramSink, pace: tuple[float, float] | None) -> int:
    """Export until the end or a signal; datagrams that were refused."""
    from sensors.netflow.sending import SendPace

    with sink, handled(job.stop.set, once=True):
        job.run(sink, SendPace(*pace, job.stop) if pace else None)
    return sink.refused


def _tell(summary: dict[str, Any]) -> None:
    sampled = f", 1 of {summary['sampling']} packets" if summary["sampling"] > 1 else ""
    print(
        f"{counted(summary['records'], 'record')} of {counted(summary['packets'], 'packet')} and {summary['bytes']:,} bytes{sampled} "
        f"in {counted(summary['datagrams'], 'datagram')} ({summary['as']}) -> {printable(summary['to'])}"
    )
    for reason, tally in summary["unsaid"].items():
        print(f"{summary['as']} cannot say {counted(tally['records'], 'record')} ({counted(tally['packets'], 'packet')}): {reason}")
    if summary["rejected"]:
        rejected = ", ".join(f"{n:,} {reason}" for reason, n in summary["rejected"].items())
        print(f"not metered: {rejected}", file=sys.stderr)
