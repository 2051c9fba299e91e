"""``flowlake db``: which version the tables in PostgreSQL are of, what they lack, bringing them up to date, and looking after them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from infra import config
from infra.config import Settings
from infra.console.options import ConfFile, Json, group
from infra.errors import ConfigError, StoreError
from infra.plurals import counted
from schemas.records import HotTable, hot_records

if TYPE_CHECKING:
    from rich.table import Table

    from jobs.hotstore.maintain import Maintained
    from jobs.sinks.migrations import Component, Status

app = group("Tables in PostgreSQL: their versions, what they lack, migrations.", "flowlake db status")
#: Exit code of ``status`` where something is to do.
TO_DO = 1


@app.callback()
def _group() -> None:
    """Tables in PostgreSQL: their versions, what they lack, migrations."""


@app.command(epilog="Examples:  flowlake db status   |   flowlake db status --json")
def status(as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Show which version the tables of each store are of, and what is missing. Changes nothing.

    Exit code: 0 when all is current, 1 when `flowlake db migrate` has something to do, 5 when a person must see to it.
    """
    found = [_look(component) for component in components(config.load(conf_file))]
    if as_json:
        print(json.dumps([{**asdict(item), "current": item.current} for item in found], indent=2))
    else:
        from ops.cli.tables import console

        console().print(_table(found))
        for item in found:
            if item.hint:
                print(f"{item.component}: {item.hint}")
    if any(item.problem for item in found):
        raise typer.Exit(StoreError.exit_code)
    if not all(item.current for item in found):
        raise typer.Exit(TO_DO)


@app.command(epilog="Examples:  flowlake db migrate --dry-run   |   FLOWLAKE_HOT__USER=owner flowlake db migrate")
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL, as a script for psql; change nothing.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """Bring the tables of each store to the newest version, and put back what was dropped. Rows stay.

    A stream does the same at its start. The command is for a user who owns the tables where the stream's own may not change them.
    """
    from jobs.sinks import migrations

    for component in components(config.load(conf_file)):
        with _told():
            if dry_run:
                lines = migrations.sql(component) or [f"-- {component.name}: nothing to do"]
                print("\n".join([f"-- {component.where}", *lines]))
            else:
                version = migrations.migrate(component, _tell)
                print(f"{component.name}: current, version {version}, in {component.where}")


@app.command(epilog="Examples:  flowlake db maintain   |   flowlake db maintain --table network_flows --dry-run")
def maintain(
    table: Annotated[str, typer.Option("--table", help="Only this hot table; default: those of all record types.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    jobs: Annotated[bool, typer.Option("--jobs", help="TimescaleDB: run the jobs of its policies now, too.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Roll up all rows there are anew, as after changing some by hand.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Look after the hot tables: days made ahead and dropped by age, hours rolled up, rows moved out of the default partition.

    A stream does the same by itself, every `hot.maintain_s`; the command is for cron, and for a user who owns the tables. One works at a
    time: a second one says so and ends with code 0. Exit code 5 when a person must see to something.
    """
    from jobs.hotstore.maintain import maintain as work
    from jobs.hotstore.shape import TableKind

    settings = config.load(conf_file)
    unarchived = settings.hot.model_copy(update={"keep_until_archived": False})  # only records are archived
    groups = [(settings.hot, _of_records(settings)), (unarchived, settings.catalogue.tables(settings))]
    known = [one.name for _, tables in groups for one in tables]
    if table and table not in known:
        _no_table(table, known)
    chosen = [(hot, [one for one in tables if table in ("", one.name)]) for hot, tables in groups]
    say = _mute if as_json else lambda text: print(text, flush=True)
    with _told():
        found = [work(hot, tables, say, dry_run=dry_run, jobs=jobs, rebuild=rebuild) for hot, tables in chosen if tables]
    done = None if None in found else [item for items in found for item in items or ()]
    if done is not None and not table:
        off = _switched_off(settings)
        done = [item for item in done if item.table not in off or item.kind != TableKind.MISSING.value]
    if as_json:
        print(json.dumps({"busy": done is None, "dry_run": dry_run, "tables": [asdict(item) for item in done or []]}, indent=2))
    elif done is None:
        print("another process is maintaining the hot tables; nothing was done")
    else:
        print("\n".join(line for item in done for line in _maintained(item, dry_run)))
    if any(item.problems for item in done or []):
        raise typer.Exit(StoreError.exit_code)


def _of_records(settings: Settings) -> list[HotTable]:
    return [record.hot for record in hot_records(settings.catalogue.records) if record.hot]


def _switched_off(settings: Settings) -> set[str]:
    """Hot tables that no query writes where nobody names it: nobody misses one."""
    names = {query.name for query in settings.catalogue.chosen(settings, ())}
    records = [record for record in settings.catalogue.records if record.hot]
    return {record.hot.name for record in records if record.hot and record.query("hot") not in names}


def _tell(text: str) -> None:
    print(text, flush=True)


def _mute(text: str) -> None:
    """JSON is all that is printed."""


def _no_table(name: str, known: list[str]) -> NoReturn:
    raise ConfigError(f"--table {name}: there is no such hot table", f"hot tables: {', '.join(known)}")


def _maintained(item: Maintained, dry_run: bool) -> Iterator[str]:
    """What was done for a table, in lines for a person."""
    would = "would be " if dry_run else ""
    told = [
        (len(item.made), f"{would}made: {', '.join(item.made)}"),
        (item.moved, f"{counted(item.moved, 'row')} {would}moved out of the default partition"),
        (item.refreshed, f"{item.refreshed:,} {'aggregates' if item.kind == 'a hypertable' else 'hours'} {would}refreshed"),
        (len(item.dropped), f"{would}dropped: {', '.join(item.dropped)}"),
        *(
            (
                gone.rows,
                f"{counted(gone.rows, 'row')} older than rows live (of {gone.first} to {gone.last}) {would}deleted from {gone.place}",
            )
            for gone in item.deletions
        ),
        (item.analyzed, f"statistics {would}gathered"),
        (item.left, f"{counted(item.left, 'row')} of days to come left in the default partition: see to the clock of who sent them"),
    ]
    lines = [text for amount, text in told if amount]
    yield from (f"{item.table}: {line}" for line in lines or ([] if item.problems else ["nothing to do"]))
    for problem, hint in item.problems:
        yield f"{item.table}: {problem}"
        if hint:
            yield f"  {hint}"


def components(settings: Settings) -> list[Component]:
    """All that has tables of its own in PostgreSQL."""
    from jobs.archiving import ledger
    from jobs.sinks import alerts, hot

    records = settings.catalogue.records
    tables = [hot.component(settings, table) for table in (*_of_records(settings), *settings.catalogue.tables(settings))]
    if tables:
        tables.append(ledger.component(settings))
    return [*tables, *([alerts.component(settings)] if any(record.alerts for record in records) else [])]


@contextmanager
def _told() -> Iterator[None]:
    """A database that is away is no reason to wait for a command."""
    from jobs.sinks.stores import StoreUnavailable

    try:
        yield
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e


def _look(component: Component) -> Status:
    """Of a database that cannot be asked the reason is the problem: the others are still shown."""
    from jobs.sinks import migrations

    try:
        with _told():
            return migrations.status(component)
    except StoreError as e:
        return migrations.Status(component.name, component.where, None, component.newest, (), str(e), e.hint)


def _table(found: list[Status]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Tables in PostgreSQL", title_justify="left")
    for name in ("component", "database", "version", "newest", "state"):
        table.add_column(name, justify="right" if name in ("version", "newest") else "left", overflow="fold")
    for item in found:
        version = "" if item.version is None else str(item.version)
        table.add_row(item.component, Text(item.database), version, str(item.newest), Text(_state(item), style=_style(item)))
    return table


def _state(item: Status) -> str:
    if item.problem:
        return item.problem
    told = ["another process is migrating"] if item.busy else []
    if item.version == 0:
        told.append("no tables yet")
    elif item.version != item.newest:
        told.append("older")
    if item.missing:
        told.append(f"missing: {'; '.join(item.missing)}")
    return ", ".join(told) or "current"


def _style(item: Status) -> str:
    return "red" if item.problem else "green" if item.current else "yellow"
