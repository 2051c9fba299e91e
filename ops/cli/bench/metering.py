"""``flowlake bench meter | growth | flood | sensor``: from packets to records."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.console.options import ConfFile
from infra.console.signals import stoppable
from ops.cli.bench.telling import JsonFile, prepare, say, tell

app = typer.Typer()


@app.command(epilog="Example:  flowlake bench meter --packets 20000000 --json meter.json")
def meter(
    packets: Annotated[int, typer.Option("--packets", min=100_000, help="Of the generated capture file.")] = 20_000_000,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Measure NFStream beside it (installed below var/bench).")] = True,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """flowlake meter on a large capture file, beside NFStream in the same run, and where its time goes."""
    from ops.bench import meter as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, packets=packets, with_peer=peer, say=say)
    tell(result, json_file)


@app.command(epilog="Example:  flowlake bench growth --json growth.json")
def growth(
    through: Annotated[
        bool,
        typer.Option("--stream/--no-stream", help="Measure the growth by open flows through Kafka and Spark too, or without them only."),
    ] = True,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Cost per packet as captures grow from 10^5 to 10^7 packets; cost per batch as open flows grow from 10^4 to 10^6."""
    from ops.bench import growth as bench
    from ops.bench import open_flows

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, say=say)
        if through:
            result["stream"] = open_flows.run(settings, say=say)
    tell(result, json_file)


@app.command(epilog="Example:  flowlake bench flood --json flood.json")
def flood(json_file: JsonFile = None, conf_file: ConfFile = None) -> None:
    """A million one-packet flows with ordinary traffic beside them: memory, evictions, and whether ordinary flows are harmed."""
    from ops.bench import flood as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, say=say)
    tell(result, json_file)


@app.command(epilog="Example:  flowlake bench sensor --json sensor.json")
def sensor(
    packets: Annotated[int, typer.Option("--packets", min=10_000, help="Of the replay.")] = 1_500_000,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Replay of a capture file to the broker, and live capture of loopback, packets per second."""
    from infra.stack.local import LocalStack
    from ops.bench import sensor as bench
    from ops.bench.place import machine, stack

    settings = prepare(conf_file, json_file)
    facts = machine()
    with stoppable(), stack(settings) as (own, _):
        broker = LocalStack(own).kafka()
        assert broker is not None
        try:
            broker.start()
            result = {**bench.run(settings=own, packets=packets), "machine": facts}
        finally:
            broker.stop()
    tell(result, json_file)
