"""``flowlake demo``."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config, log
from infra.console.options import ConfFile, Json
from infra.console.signals import stoppable
from infra.errors import ConfigError
from infra.sources import resolve
from ops.demo.options import DemoOptions
from sensors.packets.settings import SensorSettings

if TYPE_CHECKING:
    from infra.config import Settings
    from ops.harness.place import Place
    from ops.harness.traffic import Traffic


def demo(
    pcap: Annotated[Path | None, typer.Option("--pcap", metavar="FILE", help="Send this capture file instead.", show_default=False)] = None,
    iface: Annotated[
        str | None, typer.Option("--iface", metavar="NAME", help="Send live traffic of this interface.", show_default=False)
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=1.0, max=3600.0, help="Of live traffic (default 30), or of generated traffic.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the generated traffic.", show_default=False)] = None,
    speed: Annotated[
        float | None,
        typer.Option("--speed", min=0.0, help="Times the recorded speed, 0: flat out. Default: a file flat out.", show_default=False),
    ] = None,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="With --pcap: move the file's times, its first packet is now.")
    ] = False,
    source_name: Annotated[str, typer.Option("--source", help="packets, or another source that has a demo: netflow.")] = "packets",
    lake: Annotated[str, typer.Option("--lake", help="folder, or s3: on an object store that is started here.")] = "folder",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="No HTML report.")] = False,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> int:
    """The whole stream on this machine: starts it, sends traffic through it, shows what happens, ends with accounts and a report.

    Everything is the demo's own (topics, database, lake folder, checkpoints) and starts empty each time; your data is not touched.
    Exit code 0 only when every packet and every flow is accounted for in all stores.

    Examples:

      flowlake demo

      flowlake demo --pcap capture.pcap

      flowlake demo --iface lo --seconds 20

      flowlake demo --lake s3

      flowlake demo --source netflow
    """
    from rich.console import Console

    from ops.harness import place

    base = config.load(conf_file)
    log.setup(base.log)
    where = place.place(base)
    if source_name != "packets":
        for name, given in (("--iface", iface is not None), ("--speed", speed is not None), ("--shift-to-now", shift_to_now)):
            if given:
                raise ConfigError(f"{name} with --source {source_name}", "leave it out")
        other = _of_source(base, source_name)
        source = None
    else:
        source = _source(base, where, pcap, iface, seconds, seed, speed, shift_to_now)
    if lake not in ("folder", "s3"):
        raise ConfigError(f"--lake {lake!r} is none", "--lake folder, or --lake s3")
    settings = place.own(base, where, s3=lake == "s3")
    # With --json standard output is the report alone; what happens is told on standard error.
    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=as_json, highlight=False, width=200)
    # The client reports every attempt to reach a broker that still starts.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with where.lock():
        if source is None:
            return _other(other, settings, where, DemoOptions(pcap, seconds, seed, keep, not no_report), console, as_json=as_json)
        return _run(settings, where, source, console, keep=keep, page=not no_report, as_json=as_json)


def _of_source(settings: Settings, name: str) -> str:
    """Where the demo of a source lies.

    Raises
    ------
    ConfigError
        There is no such source, or it has none.
    """
    if target := settings.catalogue.source(name).demo:
        return target
    having = ["packets", *(source.name for source in settings.catalogue.sources if source.demo)]
    raise ConfigError(f"--source {name}: it has no demo", f"these have one: {', '.join(having)}")


def _other(target: str, settings: Settings, where: Place, options: DemoOptions, console: Any, *, as_json: bool) -> int:
    report, closes = resolve(target)(settings, where, options, console)
    if as_json:
        print(json.dumps(report, indent=2))
    if not closes:
        typer.echo("the accounts do not close", err=True)
    return 0 if closes else 1


def _source(
    settings: Settings,
    where: Place,
    pcap: Path | None,
    iface: str | None,
    seconds: float | None,
    seed: int | None,
    speed: float | None,
    shift: bool,
) -> Traffic:
    """What to send; a file or an interface that cannot be read is told before anything starts.

    Raises
    ------
    ConfigError
        Options that do not go together.
    CaptureError
        The file or the interface cannot be read.
    """
    from ops.harness.traffic import Traffic

    if pcap is not None and iface is not None:
        raise ConfigError("--pcap and --iface are both given", "one of them")
    if speed is not None and (speed != speed or speed == float("inf")):
        raise ConfigError(f"--speed {speed} is not a number of times", "0 is flat out")
    for name, given, fits in (
        ("--seed", seed is not None, pcap is None and iface is None),
        ("--speed", speed is not None, iface is None),
        ("--seconds", seconds is not None, pcap is None),
        ("--shift-to-now", shift, pcap is not None),
    ):
        if given and not fits:
            raise ConfigError(
                f"{name} has no meaning with {'--pcap' if pcap else '--iface' if iface else 'generated traffic'}", "leave it out"
            )
    if pcap is not None:
        from sensors.generate import truth_path
        from sensors.packets.bytestream import is_pipe
        from sensors.packets.capture import CaptureReader

        if os.path.isdir(pcap) or is_pipe(pcap):
            raise ConfigError(
                f"--pcap {pcap}: a {'folder' if os.path.isdir(pcap) else 'pipe'}",
                "the demo sends one file; flowlake sensor replay takes these",
            )
        CaptureReader(pcap).close()
        truth = truth_path(pcap)
        return Traffic(
            "replay", str(pcap.resolve()), 0.0 if speed is None else speed, shift, truth=str(truth.resolve()) if truth.is_file() else ""
        )
    if iface is not None:
        from sensors.packets.afpacket import PacketSocket

        PacketSocket(iface, settings.section(SensorSettings).snaplen, "", 1 << 20).close()
        return Traffic("live", iface, seconds=seconds or 30.0)
    return Traffic("generate", "demo", 1.0 if speed is None else speed, seconds=seconds, seed=seed, truth=str(where.truth))


def _run(settings: Settings, where: Place, source: Traffic, console: Any, *, keep: bool, page: bool, as_json: bool) -> int:
    from ops.demo import report, view
    from ops.harness.run import Trial

    def say(text: str) -> None:
        console.print(text, markup=False)

    trial = Trial(settings, where, source, say)
    stopped: list[str] = []
    outcome = None
    with stoppable():
        try:
            outcome = trial.run(view.page(console) if console.is_terminal else view.lines(say))
        except KeyboardInterrupt:
            say("interrupted: stopping what was started")
            raise
        finally:
            stopped = trial.stop(keep=keep)
    values = report.write(outcome, where.report)
    if page:
        _page(outcome, where)
    report.summary(console, outcome, settings, where, stopped, page)
    if as_json:
        print(json.dumps(values, indent=2))
    for check in outcome.checks:
        if not check.closes:
            typer.echo(f"the accounts do not close: {check.text}", err=True)
    return 0 if outcome.closes else 1


def _page(outcome: Any, where: Place) -> None:
    from ops.demo import html

    html.write(outcome, where.page)
