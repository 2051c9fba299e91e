"""``flowlake assets``: hosts and networks by name, and how much each matters."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from infra import config
from infra.console import looks
from infra.console.options import ConfFile, Json, group, me
from infra.errors import ConfigError, InputError, one_line
from infra.names import printable
from infra.networks import network
from infra.plurals import are, counted
from schemas.assets import IMPORTANCES

app = group(
    "Assets: hosts and networks by name, and how much each matters.", "flowlake assets set 192.0.2.10 --name shop --importance CRITICAL"
)
_SHOWN = ("network", "name", "importance", "owner", "notes", "changed_by", "updated_at")
#: So many rows that are not right are named.
_TOLD = 50

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Address or network, IPv4 or IPv6.")]
By = Annotated[str, typer.Option("--by", help="Who does it; default: you.", show_default=False)]


@app.callback()
def _group() -> None:
    """Assets: hosts and networks by name, and how much each matters: alerts about what matters more are more severe."""


@app.command("import", epilog="Example:  flowlake assets import assets.csv --by anna")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with the columns address, name, importance, owner, notes.")],
    replace: Annotated[bool, typer.Option("--replace", help="Remove the assets that the file does not name.")] = False,
    by: By = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Take a list in: all of it, or nothing when a row is not right. Excel's CSV is read, too."""
    from jobs.incidents import people
    from jobs.suppression import assetcsv, assets

    found = assetcsv.read(file)
    for line, why in found.bad[:_TOLD]:
        print(printable(f"line {line}: {why}"), file=sys.stderr)
    if found.bad:
        more = f", {len(found.bad) - _TOLD:,} of them not shown" if len(found.bad) > _TOLD else ""
        count = f"{counted(len(found.bad), 'row')} {are(len(found.bad))} not right{more}"
        raise InputError(f"{file}: {count}; nothing was imported", "mend the lines named above, and import the file again")
    if not found.assets:
        raise InputError(f"{file}: there is no row below the header", "a row an asset; flowlake assets remove takes one off the list")
    if found.unread:
        print(printable(f"not read: {', '.join(one_line(name, 40) for name in found.unread)}"), file=sys.stderr)
    who = by or me()
    with people.acting(config.load(conf_file).alerts, who) as cursor:
        done = assets.store(cursor, found.assets, who, replace=replace)
    if as_json:
        print(json.dumps({"new": done.new, "changed": done.changed, "same": done.same, "removed": done.removed}))
        return
    print(f"{done.new:,} new, {done.changed:,} changed, {done.same:,} as before, {done.removed:,} removed")


@app.command("set", epilog="Example:  flowlake assets set 192.0.2.10 --name shop --importance CRITICAL --owner 'web team'")
def set_(
    address: Address,
    name: Annotated[str, typer.Option("--name", help="What people call it.")],
    importance: Annotated[str, typer.Option("--importance", help=f"1 to 4, or {', '.join(IMPORTANCES)}.")],
    owner: Annotated[str, typer.Option("--owner", help="Whose it is.")] = "",
    notes: Annotated[str, typer.Option("--notes", help="What else there is to know.")] = "",
    by: By = "",
    conf_file: ConfFile = None,
) -> None:
    """Put a host or network on the list, or change what the list says of it."""
    from jobs.incidents import people
    from jobs.suppression import assets

    given = assets.Asset(
        network(address),
        _line(people.text(name, "--name", people.MAX_NAME)),
        assets.importance_of(importance),
        _line(people.text(owner, "--owner", people.MAX_NAME)) if owner else "",
        people.text(notes, "--notes", people.MAX_NOTE) if notes else "",
    )
    who = by or me()
    with people.acting(config.load(conf_file).alerts, who) as cursor:
        done = assets.store(cursor, [given], who)
    what = "new" if done.new else "changed" if done.changed else "as before"
    print(f"{given.network}  {printable(given.name)}  {IMPORTANCES[given.importance - 1]}  {what}")


@app.command(epilog="Example:  flowlake assets remove 192.0.2.10 --by anna")
def remove(address: Address, by: By = "", conf_file: ConfFile = None) -> None:
    """Take a host or network off the list; `list --all` shows it still."""
    from jobs.incidents import people
    from jobs.suppression import assets

    with people.acting(config.load(conf_file).alerts, by or me()) as cursor:
        row = assets.remove(cursor, network(address), by or me())
    print(f"{row['network']}  {printable(row['name'])}  removed by {printable(row['removed_by'])}")


@app.command("list", epilog="Example:  flowlake assets list --json")
def list_(
    removed: Annotated[bool, typer.Option("--all", help="Also those that were taken off.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The list, in the order of the addresses."""
    from jobs.incidents import people
    from jobs.suppression import assets

    with people.acting(config.load(conf_file).alerts, me()) as cursor:
        rows = assets.listed(cursor, removed=removed)
    _show(rows, as_json, counted(len(rows), "asset"), ("removed_at", "removed_by") if removed else ())


@app.command(epilog="Example:  flowlake assets show 192.0.2.10")
def show(address: Address, as_json: Json = False, conf_file: ConfFile = None) -> None:
    """The assets that hold an address; the first, of the longest prefix, counts."""
    from jobs.incidents import people
    from jobs.suppression import assets

    asked = network(address)
    with people.acting(config.load(conf_file).alerts, me()) as cursor:
        rows = assets.holding(cursor, asked)
    if not rows:
        raise ConfigError(f"no asset holds {asked}: it counts as {IMPORTANCES[1]}", "flowlake assets set puts it on the list")
    _show(rows, as_json, f"assets that hold {asked}; the first counts")


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _show(rows: Sequence[Mapping[str, Any]], as_json: bool, title: str, more: tuple[str, ...] = ()) -> None:
    if as_json:
        print(json.dumps([{name: looks.plain(value) for name, value in row.items()} for row in rows], indent=1))
        return
    shown = [{**row, "importance": IMPORTANCES[row["importance"] - 1]} for row in rows]
    looks.show(shown, (*_SHOWN, *more), form="table", title=title)
