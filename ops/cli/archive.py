"""``flowlake archive``: whole months from the hot store into Parquet, what is there, whether it still is, and back again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from infra import config
from infra.console import looks
from infra.console.options import ConfFile, Json, group
from infra.errors import StoreError
from infra.plurals import counted
from jobs.archiving import commands
from jobs.archiving.commands import Table

app = group("Archive of the hot store: whole months as Parquet, verified, restored.", "flowlake archive run --dry-run")


@app.callback()
def _group() -> None:
    """Archive of the hot store: whole months as Parquet, verified, restored."""


app.command("run", epilog=commands.run.epilog)(commands.run)  # type: ignore[attr-defined]


@app.command("list", epilog="Examples:  flowlake archive list   |   flowlake archive list --json")
def listed(table: Table = None, as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Show the months that are archived: rows, files, bytes, state. Changes nothing."""
    from jobs.archiving import overview

    settings = config.load(conf_file)
    found = [asdict(item) for item in overview.listed(settings, commands.records(settings, table))]
    if as_json:
        print(json.dumps(found, indent=2))
    elif found:
        columns = ("table", "month", "state", "rows", "files", "MB", *(["until"] if any(row["until"] for row in found) else []))
        looks.show(commands.in_mb(found), columns, form="table", title="Archived months (state: of their rows in the hot store)")
    else:
        print("nothing is archived yet: flowlake archive run --dry-run says what can be")


@app.command(epilog="Examples:  flowlake archive verify   |   flowlake archive verify 2026-03 --json")
def verify(
    month: Annotated[str | None, typer.Argument(help="YYYY-MM; default: all.", show_default=False)] = None,
    write_manifests: Annotated[
        bool, typer.Option("--write-manifests", help="Write damaged or missing manifests anew, where the files are whole.")
    ] = False,
    table: Table = None,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Read the files and manifests again and compare them with what was written.

    Exit code: 0 when all is as it was written, 1 when a file is damaged, missing, or put there by somebody else; names it.
    """
    from jobs.archiving import months, overview

    settings = config.load(conf_file)
    wanted = months.parse(month, "month") if month else None
    chosen = commands.records(settings, table)
    files, damages = overview.verify(settings, chosen, wanted, commands.say, anew=write_manifests)
    if month and not files and not damages:
        raise StoreError(f"{month} is not archived", "flowlake archive list shows what is")
    if as_json:
        print(json.dumps({"files": files, "damaged": [asdict(item) for item in damages]}, indent=2))
    else:
        for item in damages:
            print(f"{item.path}: {item.problem}")
        print(f"{counted(files, 'file')} read, {len(damages):,} damaged")
    if damages:
        raise typer.Exit(1)


@app.command(epilog="Examples:  flowlake archive restore 2026-03   |   flowlake archive restore 2026-03 --into flows_of_march")
def restore(
    month: Annotated[str, typer.Argument(help="YYYY-MM.", show_default=False)],
    into: Annotated[str, typer.Option(help="A table to make instead; default: the hot table itself.", show_default=False)] = "",
    table: Table = None,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Bring a month back into the hot store. What is there already stays as it is; the archive keeps its files.

    In the hot table the month stays for archive.restored_days; then the next `flowlake archive run` takes it out again.
    """
    from jobs.archiving import months
    from jobs.archiving import restore as restores

    settings = config.load(conf_file)
    wanted = months.parse(month, "month")
    done = restores.restore(settings, commands.records(settings, table), wanted, into, commands.say)
    if as_json:
        print(json.dumps([asdict(item) for item in done], indent=2))
        return
    for item in done:
        stays = f"; it stays until {item.until}" if item.until else ""
        print(f"{item.into} {item.month}: {counted(item.rows, 'row')} came back, {item.there:,} were there{stays}")
