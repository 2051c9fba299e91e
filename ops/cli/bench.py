"""``flowlake bench``: measurements that are published in docs/reference/benchmarks.md."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config, files, log
from infra.config import Settings
from infra.console.options import ConfFile, group
from infra.console.signals import stoppable
from infra.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

app = group("Benchmarks.", "flowlake bench stream --rate 50000 --json stream.json")

JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON into FILE.", show_default=False)]
Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        metavar="DSN",
        help="A server to measure instead of the embedded one; a database of its own is made on it, and dropped.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of the rows.")]
Seconds = Annotated[float, typer.Option("--seconds", min=10.0, max=1800.0, help="How long packets are sent.")]


@app.callback()
def _group() -> None:
    """Benchmarks. Nothing has to run, and no data of yours is touched: those of the stream bring a stack of their own up in a temporary
    folder, on free ports, and remove it; those of the hot store do so with a database. Most take two to six minutes; meter and growth
    a quarter of an hour. Have 8 GB of memory and 20 GB of disk free."""


@app.command(epilog="Example:  flowlake bench meter --packets 20000000 --json meter.json")
def meter(
    packets: Annotated[int, typer.Option("--packets", min=100_000, help="Of the generated capture file.")] = 20_000_000,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Measure NFStream beside it (installed below var/bench).")] = True,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """flowlake meter on a large capture file, beside NFStream in the same run, and where its time goes."""
    from ops.bench import meter as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, packets=packets, with_peer=peer, say=_say)
    _tell(result, json_file)


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

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, say=_say)
        if through:
            result["stream"] = open_flows.run(settings, say=_say)
    _tell(result, json_file)


@app.command(epilog="Example:  flowlake bench archive --rows 1000000 --json archive.json")
def archive(
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Flows of the month.")] = 1_000_000,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """A month of flows from a hot store into the archive, verified and deleted, and back again."""
    from ops.bench import archive as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, rows=rows, say=_say)
    _tell(result, json_file)


@app.command(epilog="Examples:  flowlake bench alerts --json alerts.json   |   flowlake bench alerts --stream --rate 50000")
def alerts(
    seconds: Annotated[float, typer.Option("--seconds", min=5.0, max=3600.0, help="Batches, and seconds of each stream.")] = 60.0,
    storm: Annotated[int, typer.Option("--storm", min=1000, help="Forged sources of the alert storm.")] = 1_000_000,
    through: Annotated[bool, typer.Option("--stream", help="Then the stream alone, and beside a hundred alerts a second.")] = False,
    rate: Annotated[float, typer.Option("--rate", min=100.0, max=5_000_000.0, help="Packets per second of the streams.")] = 50_000.0,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Alerts written and grouped into incidents: how many a second, what a storm leaves, whether a stream beside them is harmed."""
    from ops.bench import alerts as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, seconds=seconds, storm=storm, say=_say)
        if through:
            result["stream"] = bench.beside(settings, rate=rate, seconds=seconds, alerts_per_s=100.0, say=_say)
    _tell(result, json_file)


@app.command(epilog="Example:  flowlake bench flood --json flood.json")
def flood(json_file: JsonFile = None, conf_file: ConfFile = None) -> None:
    """A million one-packet flows with ordinary traffic beside them: memory, evictions, and whether ordinary flows are harmed."""
    from ops.bench import flood as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, say=_say)
    _tell(result, json_file)


@app.command(epilog="Example:  flowlake bench explain --json explain.json")
def explain(
    flows: Annotated[int, typer.Option("--flows", min=10, max=100_000, help="Attacks that are explained, in several rounds.")] = 500,
    peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Measure the package shap beside it.")] = True,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Explanations of scores per second of one core, beside shap in the same run, and how far both are apart."""
    from ops.bench import explain as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, flows=flows, with_peer=peer, say=_say)
    _tell(result, json_file)


@app.command(
    epilog="Examples:  flowlake bench detection --seeds 201-206   |   flowlake bench detection --preset demo --seeds 301-304 --seconds 60"
)
def detection(
    seeds: Annotated[
        str, typer.Option("--seeds", help="Of the generated traffic: a list or a range; none that trained the model.")
    ] = "201-206",
    preset: Annotated[str, typer.Option("--preset", help="Of the generator.")] = "train",
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, max=3600.0, help="Of traffic of each seed.")] = 18.0,
    version: Annotated[str, typer.Option("--model", metavar="VERSION", help="Of the registry.  [default: the champion]")] = "",
    family: Annotated[
        str, typer.Option("--family", help="Classifiers of this family instead, fitted for the purpose; nothing is registered.")
    ] = "",
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """What the model finds in generated traffic that it has not seen, by kind of attack and age of the flow, and its false alarms.

    Exit code 0 when it finds 95 of 100 attacks that a flow shows, and 60 of each kind, at one false alarm in a thousand flows.
    """
    from jobs.training.families import family as known_family
    from jobs.training.seeds import parse_seeds
    from ops.bench import detection as bench
    from ops.bench.detectiontables import tables

    if family and version:
        raise ConfigError("--family and --model: one or the other", "--family fits a model of its own")
    if family:
        known_family(family)
    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, seeds=parse_seeds(seeds), preset=preset, seconds=seconds, version=version, family=family, say=_say)
    _tell(result, json_file)
    _show(tables(result))
    return 0 if result["met"] else 1


@app.command(
    "windows-detection",
    epilog="Examples:  flowlake bench windows-detection --json windows.json   |   flowlake bench windows-detection --quick",
)
def windows_detection(
    seeds: Annotated[str, typer.Option("--seeds", help="Of runs with attacks: a list or a range; none that is trained on.")] = "3001-3020",
    quiet_seeds: Annotated[str, typer.Option("--quiet-seeds", help="Of benign days, in the same way.")] = "4001-4007",
    hours: Annotated[float, typer.Option("--hours", min=0.5, max=24.0, help="Capture time of each run with attacks.")] = 4.0,
    quick: Annotated[bool, typer.Option("--quick", help="Train on a sixth, judge on four runs and one day: a few minutes.")] = False,
    flows: Annotated[bool, typer.Option("--flows", help="Judge a model of flows beside them: some minutes more.")] = False,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """What models of windows find of attacks that take hours, how soon, and their false alarms on whole benign days.

    A port in 10 s, a password in 15 s, a report in 60 s give or take a tenth. A model is trained for each size, and none is registered.
    Exit code 0 when all sizes together find 95 of 100 campaigns of each kind at one false alarm a day.
    """
    from jobs.training.seeds import parse_seeds
    from ops.bench import windowsdetection as bench

    settings = _prepare(conf_file, json_file)
    attacks, days = parse_seeds(seeds), parse_seeds(quiet_seeds)
    if quick:
        attacks, days = attacks[:4], days[:1]
    with stoppable():
        result = bench.run(settings, seeds=attacks, quiet_seeds=days, hours=hours, quick=quick, flows=flows, say=_say)
    _tell(result, json_file)
    _show(bench.tables(result))
    return 0 if result["met"] else 1


@app.command(epilog="Example:  flowlake bench novelty --records cicids2017.parquet --json novelty.json")
def novelty(
    records: Annotated[list[str], typer.Option("--records", help="Labelled records of three days or more: files, folders or a table.")],
    only: Annotated[str, typer.Option("--only", help="Ways to compare, with commas, by their names in the table.  [default: all]")] = "",
    max_fpr: Annotated[
        float, typer.Option("--max-fpr", min=0.0, max=0.5, help="Share of benign records that may be taken for attacks.")
    ] = 0.005,
    seeds: Annotated[str, typer.Option("--seeds", help="Of every random choice: a list or a range; a row for each.")] = "7",
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """What finds attacks of a day when only the other days are known: detectors of what is unusual, classifiers, and both.

    Thresholds are chosen by benign records of the other days. Exit code 0 when what flowlake train fits finds 70 of 100 attacks at five
    false alarms in a thousand benign flows.
    """
    from jobs.training.seeds import parse_seeds
    from ops.bench import novelty as bench

    settings = _prepare(conf_file, json_file)
    names = [name.strip() for name in only.split(",") if name.strip()]
    with stoppable():
        result = bench.run(settings, records=records, names=names, max_fpr=max_fpr, seeds=parse_seeds(seeds), say=_say)
    _tell(result, json_file)
    _show(bench.tables(result))
    return 0 if result["met"] else 1


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

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, records=records, with_peer=peer, say=_say)
    _tell(result, json_file)
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
    settings = _prepare(conf_file, json_file)
    with stoppable():
        if mode == "direct":
            alone = netflowdirect.run(settings, rate=rate, seconds=seconds, exporters=exporters, burst=burst, say=_say)
            _tell(alone, json_file)
            return int(alone["stored"] != alone["records"])
        result = bench.run(settings, rate=rate, seconds=seconds, exporters=exporters, burst=burst, say=_say)
    _tell(result, json_file)
    return 0 if not result["behind"] and not any(result["given_up"].values()) and not result["lost_by_sequence"] else 1


@app.command(epilog="Example:  flowlake bench scoring --json scoring.json")
def scoring(
    flows: Annotated[int, typer.Option("--flows", min=10_000, max=10_000_000, help="Scored through Spark by each model.")] = 1_000_000,
    through: Annotated[bool, typer.Option("--spark/--no-spark", help="Measure Spark on two cores too, or one core only.")] = True,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """Milliseconds for 1,000 flows on one core, and flows per second through Spark on two: forest and boosted trees, with novelty and
    with a challenger, beside scikit-learn's own methods in the same run."""
    from ops.bench import scoring as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, flows=flows, through=through, say=_say)
    _tell(result, json_file)


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
    settings = _prepare(conf_file, json_file)
    names = _with_meter(settings, queries) if queries else ()
    with stoppable():
        if find:
            result = bench.find(settings, rate=rate, seconds=seconds, queries=names, say=_say)
        else:
            result = bench.run(settings, rate=rate, seconds=seconds, queries=names, with_peer=peer, say=_say)
    _tell(result, json_file)
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

    settings = _prepare(conf_file, json_file)
    names = _with_meter(settings, queries)
    with stoppable():
        result = bench.run(settings, packets=packets, queries=names, say=_say)
    _tell(result, json_file)


@app.command(epilog="Example:  flowlake bench latency --rate 10000 --json latency.json")
def latency(
    rate: Annotated[float, typer.Option("--rate", min=100.0, max=1_000_000.0, help="Packets per second.")] = 10_000.0,
    seconds: Seconds = 60.0,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """From capture to alert row, stage by stage. Exit code 0 when all accounts close."""
    from ops.bench import latency as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, rate=rate, seconds=seconds, say=_say)
    _tell(result, json_file)
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

    settings = _prepare(conf_file, json_file)
    with stoppable():
        parts = [name.strip() for name in only.split(",")] if only else bench.PARTS
        result = bench.run(settings, seconds=seconds, repeats=repeats, only=parts, kept=lambda found: _keep(found, json_file), say=_say)
    _tell(result, json_file)


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

    settings = _prepare(conf_file, json_file)
    facts = machine()
    with stoppable(), stack(settings) as (own, _):
        broker = LocalStack(own).kafka()
        assert broker is not None
        try:
            broker.start()
            result = {**bench.run(settings=own, packets=packets), "machine": facts}
        finally:
            broker.stop()
    _tell(result, json_file)


@app.command(epilog="Example:  flowlake bench lake --rows 1000000 --json lake.json")
def lake(
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Flows of the day.")] = 1_000_000,
    batches: Annotated[int, typer.Option("--batches", min=2, help="In so many files.")] = 500,
    commits: Annotated[int, typer.Option("--commits", min=10, help="On a second table, to see whether a commit's cost grows.")] = 10_000,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """What compaction of the lake saves a reader, and the cost of commits as a table's log grows."""
    from ops.bench import lake as bench

    _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(rows, batches, commits, say=_say)
    _tell(result, json_file)


@app.command(epilog="Example:  flowlake bench migrate --rows 2000000 --json migrate.json")
def migrate(
    rows: Annotated[int, typer.Option("--rows", min=10_000, help="Of the larger file; the other has a quarter.")] = 2_000_000,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """CSV files of two sizes into the hot store and into the lake: rows per second, peak memory."""
    from ops.bench import migrate as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, rows=rows, say=_say)
    _tell(result, json_file)


@app.command(epilog="Example:  flowlake bench hot --json hot.json")
def hot(
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Of the phases new and mixed; late and replayed have a fifth.")] = 1_000_000,
    batch: Annotated[int, typer.Option("--batch", min=100, max=50_000, help="Rows of one transaction.")] = 20_000,
    writers: Annotated[int, typer.Option("--writers", min=1, max=32, help="Processes, with a connection each.")] = 2,
    dsn: Dsn = "",
    seed: Seed = 1,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """Idempotent inserts into the hot table, by the stream's own writer: new rows, late ones, replayed ones, and all mixed.

    Exit code 0 when the mixed ones reach 100,000 rows a second, and every row is there once.
    """
    from ops.bench import hot as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, rows=rows, batch=batch, dsn=dsn, writers=writers, seed=seed, say=_say)
    _tell(result, json_file)
    return 0 if result["met"] else 1


@app.command(epilog="Example:  flowlake bench dashboards --flows 1000000 --json dashboards.json")
def dashboards(
    flows: Annotated[int, typer.Option("--flows", min=1000, help="In the hot store.")] = 10_000_000,
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="That they are spread over, up to now.")] = 30,
    clients: Annotated[int, typer.Option("--clients", min=1, max=32, help="Connections that ask at once.")] = 2,
    times: Annotated[int, typer.Option("--times", min=1, help="How often each question is asked.")] = 20,
    dsn: Dsn = "",
    seed: Seed = 1,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """Questions of dashboards and of the cookbook to a hot store that holds weeks of flows.

    Exit code 0 when 99 of 100 answers are there within 100 ms, dashboards and cookbook together, each question asked equally often.
    Exports are left out: their answer is a file.
    """
    from ops.bench import dashboards as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, flows=flows, days=days, dsn=dsn, clients=clients, times=times, seed=seed, say=_say)
    _tell(result, json_file)
    return 0 if result["met"] else 1


@app.command(epilog="Example:  flowlake bench views --flows 1000000 --json views.json")
def views(
    flows: Annotated[int, typer.Option("--flows", min=1000, help="In the hot store.")] = 10_000_000,
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="That they are spread over, up to now.")] = 30,
    connections: Annotated[int, typer.Option("--connections", min=1, max=32, help="That the questions of a page are spread over.")] = 4,
    times: Annotated[int, typer.Option("--times", min=1, help="How often each page is asked for, for each range.")] = 10,
    dsn: Dsn = "",
    seed: Seed = 1,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> int:
    """Pages of the dashboards (Grafana's, and those of whoever shows the same views) over a hot store that holds weeks of flows.

    Exit code 0 when every page, opened with its own range, is there within 300 ms 95 times of 100.
    """
    from ops.bench import views as bench

    settings = _prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, flows=flows, days=days, dsn=dsn, connections=connections, times=times, seed=seed, say=_say)
    _tell(result, json_file)
    return 0 if result["met"] else 1


@app.command(epilog="Example:  flowlake bench compression --dsn postgresql://postgres@127.0.0.1:5433/postgres --json compression.json")
def compression(
    dsn: Annotated[str, typer.Option("--dsn", metavar="DSN", help="Server with TimescaleDB; a database of its own is made and dropped.")],
    flows: Annotated[int, typer.Option("--flows", min=10_000, help="That are compressed.")] = 1_000_000,
    days: Annotated[int, typer.Option("--days", min=1, max=6, help="That they are spread over, up to now: as many chunks.")] = 3,
    captures: Annotated[
        Path | None,
        typer.Option(
            "--captures", metavar="FOLDER", help="Of capture files whose flows are taken; default: generated.", show_default=False
        ),
    ] = None,
    seed: Seed = 1,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """What TimescaleDB's compression saves and costs by the column that its segments are cut by."""
    from ops.bench import compression as bench

    settings = _prepare(conf_file, json_file)
    files = sorted(file for file in captures.iterdir() if file.is_file()) if captures else []
    with stoppable():
        result = bench.run(settings, dsn=dsn, flows=flows, days=days, captures=files, seed=seed, say=_say)
    _tell(result, json_file)


def _prepare(conf_file: Path | None, json_file: Path | None) -> Settings:
    """Settings; where the result cannot be written is told before minutes of measuring."""
    settings = config.load(conf_file)
    log.setup(settings.log)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    if json_file is not None and not Path(os.path.realpath(json_file)).parent.is_dir():
        raise ConfigError(f"--json {json_file}: there is no such folder", "name a file in a folder that exists")
    return settings


def _with_meter(settings: Settings, queries: str) -> tuple[str, ...]:
    names = tuple(query.name for query in settings.catalogue.select((name.strip() for name in queries.split(",")), "--queries"))
    if "meter" not in names:
        known = ", ".join(query.name for query in settings.catalogue.queries)
        raise ConfigError(f"--queries {queries}: without the meter there is nothing to measure", f"queries: {known}")
    return names


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _show(tables: Iterable[Table]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables:
        console.print(table)


def _keep(result: dict[str, Any], file: Path | None) -> None:
    if file is not None:
        files.replace(file, json.dumps(result, indent=2) + "\n")


def _tell(result: dict[str, Any], file: Path | None) -> None:
    """A table for people, JSON for programs."""
    from rich.console import Console
    from rich.table import Table

    _keep(result, file)
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, text in rows(result):
        table.add_row(name, text)
    console.print(table)


def rows(result: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested result as lines of name and value; long lists are left to the JSON."""
    for key, value in result.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from rows(value, f"{name}, ")
        elif isinstance(value, list):
            if value and len(value) <= 8 and not isinstance(value[0], dict):
                yield name, ", ".join(map(str, value))
        elif value not in (None, ""):
            yield name, f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
