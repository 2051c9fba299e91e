"""``flowlake bench archive | alerts | lake | migrate | hot | dashboards | views | compression``: where records lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infra.console.options import ConfFile
from infra.console.signals import stoppable
from ops.cli.bench.telling import Dsn, JsonFile, Seed, prepare, say, tell

app = typer.Typer()


@app.command(epilog="Example:  flowlake bench archive --rows 1000000 --json archive.json")
def archive(
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Flows of the month.")] = 1_000_000,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """A month of flows from a hot store into the archive, verified and deleted, and back again."""
    from ops.bench import archive as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, rows=rows, say=say)
    tell(result, json_file)


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

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, seconds=seconds, storm=storm, say=say)
        if through:
            result["stream"] = bench.beside(settings, rate=rate, seconds=seconds, alerts_per_s=100.0, say=say)
    tell(result, json_file)


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

    prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(rows, batches, commits, say=say)
    tell(result, json_file)


@app.command(epilog="Example:  flowlake bench migrate --rows 2000000 --json migrate.json")
def migrate(
    rows: Annotated[int, typer.Option("--rows", min=10_000, help="Of the larger file; the other has a quarter.")] = 2_000_000,
    json_file: JsonFile = None,
    conf_file: ConfFile = None,
) -> None:
    """CSV files of two sizes into the hot store and into the lake: rows per second, peak memory."""
    from ops.bench import migrate as bench

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, rows=rows, say=say)
    tell(result, json_file)


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

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, rows=rows, batch=batch, dsn=dsn, writers=writers, seed=seed, say=say)
    tell(result, json_file)
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

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, flows=flows, days=days, dsn=dsn, clients=clients, times=times, seed=seed, say=say)
    tell(result, json_file)
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

    settings = prepare(conf_file, json_file)
    with stoppable():
        result = bench.run(settings, flows=flows, days=days, dsn=dsn, connections=connections, times=times, seed=seed, say=say)
    tell(result, json_file)
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

    settings = prepare(conf_file, json_file)
    files = sorted(file for file in captures.iterdir() if file.is_file()) if captures else []
    with stoppable():
        result = bench.run(settings, dsn=dsn, flows=flows, days=days, captures=files, seed=seed, say=say)
    tell(result, json_file)
