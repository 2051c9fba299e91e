"""``flowlake lake``: what the lake's tables hold, their housekeeping, labels, and the life of the archive's objects."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config
from infra.config import Settings
from infra.console import looks
from infra.console.options import ConfFile, Json, group
from infra.errors import StackError, StoreError
from infra.plurals import are, counted
from ops.cli import lakelabels, lakelifecycle

if TYPE_CHECKING:
    from jobs.sinks.lakestate import State
    from schemas.records import RecordType

app = group("The lake's tables: what they hold, their history and upkeep, labels, rules of the bucket.", "flowlake lake info")
app.add_typer(lakelabels.app, name="label")
app.add_typer(lakelifecycle.app, name="lifecycle")

#: A table on S3 that was written so lately is taken for one that a query on another machine owns, seconds.
_LATELY_S = 60.0
_COLUMNS = ("table", "version", "written", "files", "small", "MB", "rows", "dates", "newest", "checkpoint")


@app.callback()
def _group() -> None:
    """The lake's tables: what they hold, their history and upkeep, labels, rules of the bucket."""


@app.command(epilog="Examples:  flowlake lake info   |   flowlake lake info --json")
def info(as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Show what each table holds: versions, files, size, rows, small files, the log's last checkpoint.

    Exit code: 0, or 5 when a table cannot be read.
    """
    from jobs.runtime import lake
    from jobs.sinks import lakestate

    settings = config.load(conf_file)
    lake.check(settings)
    found = [state for table in lakestate.tables(settings) if (state := lakestate.state(settings, *table))]
    if as_json:
        print(json.dumps([asdict(state) for state in found], indent=2, default=str))
    elif not found:
        print(f"no tables yet beside {settings.lake.path}: flowlake stream writes them")
    else:
        looks.show([_shown(state) for state in found], _COLUMNS, form="table", title="Tables of the lake")
        for state in found:
            print(f"{state.table}: {state.problem or state.path}")
    if any(state.problem for state in found):
        raise typer.Exit(StoreError.exit_code)


@app.command(epilog="Examples:  flowlake lake history flows   |   flowlake lake history labels --limit 50 --json")
def history(
    table: Annotated[str, typer.Argument(help="Record type, labels, quarantine, model_drift or model_references.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="Newest versions to show.")] = 20,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Show the newest versions of a table, when each was written and by what."""
    from jobs.sinks import lakestate

    settings = config.load(conf_file)
    path, _ = lakestate.find(settings, table)
    found = lakestate.history(settings, path, limit)
    if as_json:
        print(json.dumps(found, indent=2, default=str))
        return
    from rich.table import Table

    from ops.cli.tables import console

    shown = Table(title=f"{table}: {path}", title_justify="left")
    for name in ("version", "time", "operation", "engine"):
        shown.add_column(name, justify="right" if name == "version" else "left", overflow="fold")
    for entry in found:
        shown.add_row(str(entry["version"]), f"{entry['time']:%Y-%m-%d %H:%M:%S.%f}"[:-3], str(entry["operation"]), str(entry["engine"]))
    console().print(shown)


@app.command(epilog="Examples:  flowlake lake maintain   |   flowlake lake maintain flows --full --seconds 600")
def maintain(
    table: Annotated[
        str,
        typer.Argument(
            help="Record type, labels, quarantine, model_drift or model_references; all of them when left out.", show_default=False
        ),
    ] = "",
    seconds: Annotated[float, typer.Option("--seconds", min=0.0, help="Begin no further step of a compaction after so long.")] = 3600.0,
    full: Annotated[bool, typer.Option("--full", help="List the tables too, for files that were never committed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Though the table was written a moment ago.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """Join small files, write the log's checkpoint, remove what is older than lake.history_days: what a running query does by itself.

    For tables whose query is stopped. Each step is a commit of its own: interrupt it when you like, and run it again.
    """
    from jobs.sinks import lakestate

    settings = config.load(conf_file)
    if table:
        lakestate.find(settings, table)
    for name, path, record in lakestate.tables(settings):
        if table not in ("", name):
            continue
        found = lakestate.state(settings, name, path, record)
        if found is None:
            print(f"{name}: no table yet")
        elif found.problem:
            raise StoreError(found.problem, "mend that first")
        elif record is None:
            _side(settings, name)
        else:
            _maintain(settings, record, path, seconds, full=full, force=force)


def _side(settings: Settings, name: str) -> None:
    import pyarrow as pa

    from jobs.runtime.sidetable import Side, SideTable

    Side(settings, SideTable(name, pa.schema([]), "")).maintain()
    print(f"{name}: maintained")


def _maintain(settings: Settings, record: RecordType, path: str, seconds: float, *, full: bool, force: bool) -> None:
    from deltalake.exceptions import DeltaError

    from jobs.runtime import lake, s3
    from jobs.sinks import parquet
    from jobs.sinks.upkeep import Upkeep

    if not parquet.reaches(path):
        raise StoreError(f"lake {path}: only a table in a folder or on S3 can be maintained without Spark", "its query compacts it")
    with ExitStack() as claim:
        _own(settings, record, path, claim, force=force)
        try:
            log = parquet.Log(s3.uri(path), settings.lake)
            upkeep = Upkeep(record, s3.uri(path), settings.lake, log)
            done = upkeep.compact(seconds, lambda text: print(f"{record.name}: {text}", flush=True))
            removed = upkeep.clean(full=full)
        except (DeltaError, OSError) as e:
            raise lake.problem(e, path, settings.lake) from e
    left = f", {counted(done.left, 'step')} left" if done.left else ""
    became = f"{counted(done.joined, 'file')} {are(done.joined)} {done.made} now{left}"
    print(f"{record.name}: {became}; {counted(removed, 'file')} too old and removed; checkpoint written")


def _own(settings: Settings, record: RecordType, path: str, claim: ExitStack, *, force: bool) -> None:
    """Be the table's owner on this machine, as its query would be; of another machine's the table's own log tells.

    Raises
    ------
    StoreError
        A query owns it, or seems to.
    """
    from datetime import UTC, datetime

    from infra import process
    from jobs.sinks import lakestate

    query = record.query("lake")
    try:
        claim.enter_context(process.query(settings, query).claimed())
    except StackError as e:
        raise StoreError(f"lake {path} has an owner that maintains it: {e}", "leave it to that query, or stop it: flowlake down") from e
    if "://" not in path or force:
        return
    written = [entry["time"] for entry in lakestate.history(settings, path, 5) if entry["operation"] == "WRITE"]
    ago = (datetime.now(UTC) - max(written)).total_seconds() if written else _LATELY_S
    if ago < _LATELY_S:
        raise StoreError(
            f"lake {path} was written {ago:.0f} s ago: query {query} seems to run on another machine, and maintains it",
            "stop that query and wait a minute, or say --force if none runs",
        )


def _shown(state: State) -> dict[str, Any]:
    """A table's state, as a person reads it."""
    if state.problem:
        return dict.fromkeys(_COLUMNS, "") | {"table": state.table, "written": "cannot be read"}
    checkpoint = "none" if state.checkpoint is None else f"{state.checkpoint} (-{state.since_checkpoint})"
    values = (
        *(state.table, state.version, _at(state.written), state.files, state.small_files, f"{state.bytes / 1e6:,.1f}", f"{state.rows:,}"),
        *(state.dates, _at(state.newest), checkpoint),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _at(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else ""
