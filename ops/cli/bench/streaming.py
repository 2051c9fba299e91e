"""``flowlake bench stream | backlog | latency | windows``: queries that run."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.console.options import ConfFile
from infra.console.signals import stoppable
from infra.errors import ConfigError
from ops.cli.bench.telling import JsonFile, Seconds, keep, prepare, say, tell, with_meter

app = typer.Typer()


@app.command(epilog="Examples:  flowlake bench stream --rate 100000 --peer --json stream.json   flowlake bench stream --queries meter")
def stream(
    rate: Annotated[float, typer.Option("--rate", min=100.0, max=5_000_000.0, help="Packets per second.")] = 100_000.0,
    seconds: Seconds = 180.0,
    find: Annotated[
        bool, typer.Option("--find", help="Look for the highest rate that is sustained, from --rate on: up to seven runs.")
    ] = False,
    peer: Annotated[
        bool, typer.Option("--peer", help="Afterwards, measure NFStream (installed below var/bench) on such traffic, for the ratio.")
    ] = False,
    queries: Annotated[
        str,
        typer.Option(
            "--queries", help="Queries of the stream to run, with commas: meter, and of alerts, hot, lake those wished.  [default: all]"
        ),
    ] = "",
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """Kafka -> scored -> lake, hot store, alerts: is a rate sustained with the lag flat? Exit code 0 when it is."""
    from ops.bench import stream as bench

    if find and peer:
        raise ConfigError("--find and --peer: one or the other", "the peer is measured in a run of one rate")
    settings = prepare(conf_file, json_file)
    names = with_meter(settings, queries) if queries else ()
    with stoppable():
        if find:
            result = bench.find(settings, rate=rate, seconds=seconds, queries=names, say=say)
        else:
            result = bench.run(settings, rate=rate, seconds=seconds, queries=names, with_peer=peer, say=say)
    tell(result, json_file)
    return 0 if result["sustained"] else 1


@app.command(epilog="Example:  flowlake bench backlog --queries meter --json backlog.json")
def backlog(
    packets: Annotated[int, typer.Option("--packets", min=100_000, help="On the broker before the stream starts.")] = 6_000_000,
    queries: Annotated[str, typer.Option("--queries", help="Of the stream, with commas; meter is one of them.")] = "meter",
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Kafka -> scored predictions (and stores): how fast is a backlog worked off, with no sensor beside it?"""
    from ops.bench import backlog as bench

    settings = prepare(conf_file, json_file)
    names = with_meter(settings, queries)
    with stoppable():
        result = bench.run(settings, packets=packets, queries=names, say=say)
    tell(result, json_file)


@app.command(epilog="Example:  flowlake bench latency --rate 10000 --json latency.json")
def latency(
    rate: Annotated[float, typer.Option("--rate", min=100.0, max=1_000_000.0, help="Packets per second.")] = 10_000.0,
    seconds: Seconds = 60.0,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """From capture to alert row, stage by stage. Exit code 0 when all accounts close."""
    from ops.bench import latency as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, rate=rate, seconds=seconds, say=say)
    tell(result, json_file)
    return 0 if result["closes"] else 1


@app.command(epilog="Examples:  flowlake bench windows --seconds 60 --json windows.json   |   flowlake bench windows --only sources,flood")
def windows(
    seconds: Seconds = 40.0,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=9, help="Pairs of runs, with and without windows.")] = 3,
    only: Annotated[str, typer.Option("--only", help="Parts, with commas: ratio, delay, sources, flood; default: all.")] = "",
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Windows per source: their cost beside the meter, how late a record is, what more sources cost. Each size needs a model."""
    from ops.bench import windows as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        parts = [name.strip() for name in only.split(",")] if only else bench.PARTS
        result = bench.run(settings, seconds=seconds, repeats=repeats, only=parts, kept=lambda found: keep(found, json_file), say=say)
    tell(result, json_file)
