"""``flowlake bench netflow-decode | netflow``: records of routers."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.console.options import ConfFile
from infra.console.signals import stoppable
from infra.errors import ConfigError
from ops.cli.bench.telling import JsonFile, Seconds, prepare, say, tell

app = typer.Typer()


@app.command("netflow-decode", epilog="Example:  flowlake bench netflow-decode --json netflow.json")
def netflow_decode(
    records: Annotated[int, typer.Option("--records", min=20_000, max=20_000_000, help="Of each kind of datagram.")] = 1_000_000,
    peer: Annotated[
        bool,
        typer.Option(
            "--peer/--no-peer",
            help="Measure the package netflow beside it (installed below var/bench), and nfcapd and goflow2 where they are installed.",
        ),
    ] = True,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """NetFlow, IPFIX and sFlow decoded, records per second of one core; beside a record at a time, and beside the package netflow.

    Exit code 0 when a core decodes a million records a second of templates of fixed length.
    """
    from ops.bench import netflowdecode as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, records=records, with_peer=peer, say=say)
    tell(result, json_file)
    return 0 if result["met"] else 1


@app.command(
    "netflow",
    epilog="Examples:  flowlake bench netflow   |   flowlake bench netflow --exporters 2000   |   flowlake bench netflow --mode direct",
)
def netflow(
    rate: Annotated[float, typer.Option("--rate", min=100.0, max=2_000_000.0, help="Records a second, of all exporters.")] = 50_000.0,
    seconds: Seconds = 30.0,
    exporters: Annotated[int, typer.Option("--exporters", min=1, max=60_000, help="So many, each with an address of its own.")] = 20,
    burst: Annotated[float, typer.Option("--burst", min=1.0, max=100.0, help="For ten seconds so many times the rate.")] = 1.0,
    mode: Annotated[str, typer.Option("--mode", help="kafka: through the stream; direct: the collector alone, into PostgreSQL.")] = "kafka",
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """NetFlow v9 over UDP, collected, decoded, enriched, in lake and hot store: records a second, and what is lost.

    Exit code 0 when nothing was lost.
    """
    from ops.bench import netflow as bench
    from ops.bench import netflowdirect

    if mode not in ("kafka", "direct"):
        raise ConfigError(f"--mode {mode}: there is no such way to measure", "--mode kafka, or --mode direct")
    settings = prepare(conf_file, json_file)
    with stoppable():
        if mode == "direct":
            alone = netflowdirect.run(settings, rate=rate, seconds=seconds, exporters=exporters, burst=burst, say=say)
            tell(alone, json_file)
            return int(alone["stored"] != alone["records"])
        result = bench.run(settings, rate=rate, seconds=seconds, exporters=exporters, burst=burst, say=say)
    tell(result, json_file)
    return 0 if not result["behind"] and not any(result["given_up"].values()) and not result["lost_by_sequence"] else 1
