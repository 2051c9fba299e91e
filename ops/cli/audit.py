"""``flowlake audit``: who did what to alerts and incidents, and whether that record is whole."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import psycopg2
import typer

from infra import config
from infra.console import looks, times
from infra.console.options import ConfFile, Json, group
from infra.errors import ConfigError, StoreError, one_line
from infra.plurals import counted, so_many
from schemas.incidents import ACTIONS

if TYPE_CHECKING:
    from jobs.incidents.audit import Verified

app = group("Who did what to alerts and incidents, and whether that record is whole.", "flowlake audit verify")
_SHOWN = ("id", "timestamp", "user_id", "action", "target", "details")
#: `flowlake audit verify` found something.
EXIT_FAULTS = 10


@app.callback()
def _group() -> None:
    """Who did what to alerts and incidents, and whether that record is whole."""


@app.command("list", epilog="Examples:  flowlake audit list --user anna --since 7d   |   flowlake audit list --target incident:0b4c --json")
def list_(
    user: Annotated[str | None, typer.Option("--user", help="Only what this person did.", show_default=False)] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Beginning of what was changed: alert:ID, incident:ID.", show_default=False)
    ] = None,
    since: Annotated[str | None, typer.Option(help="Since: 15m, 2h, 7d, 2w, or 2026-03-01T12:00.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Newest rows, so many.")] = 20,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The newest rows of the audit."""
    from jobs.sinks import ask

    settings = config.load(conf_file)
    where, values = ["true"], list[Any]()
    for condition, value in (("user_id = %s", user), ("starts_with(target, %s)", target), ("timestamp >= %s", times.since(since))):
        if value is not None:
            where.append(condition)
            values.append(value)
    rows = ask.query(
        settings.alerts,
        f"SELECT id, timestamp, user_id, action, target, details, db_user FROM {ACTIONS} "
        f"WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT %s",
        [*values, limit],
    )
    there = len(rows)
    if not as_json:
        rows = [{**row, "details": one_line(json.dumps(row["details"]), 80)} for row in rows]
        if len(rows) == limit:
            there = ask.query(settings.alerts, f"SELECT count(*) AS there FROM {ACTIONS} WHERE {' AND '.join(where)}", values)[0]["there"]
    title = f"{so_many(len(rows), there, 'row')} of the audit, newest first"
    looks.show(rows, _SHOWN, form="json" if as_json else "table", title=title)
    if not rows:
        every = ask.query(settings.alerts, f"SELECT count(*) AS there FROM {ACTIONS}")[0]["there"]
        begin = "every change of an alert, an incident or a block makes one"
        looks.explain_empty("rows of the audit", looks.given(user=user, target=target, since=since), every, begin)


@app.command(epilog="Examples:  flowlake audit verify   |   flowlake audit verify --noted 1042:9f2c...")
def verify(
    noted: Annotated[
        str, typer.Option("--noted", help="A head that this command has printed before: it must still be in the chain.", metavar="HEAD")
    ] = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Compute every hash of the audit anew; exit code 10 where a row was changed, removed or put in.

    Note the head that it prints somewhere else: whoever owns the server can write a whole chain, but not this one again.
    """
    from jobs.incidents import audit
    from jobs.sinks import postgres, transaction
    from jobs.sinks.stores import StoreUnavailable

    number, colon, digest = noted.partition(":")
    if noted and not (colon and re.fullmatch("[0-9]+", number) and len(digest) == 64 and not set(digest) - set("0123456789abcdef")):
        raise ConfigError(f"--noted {one_line(noted, 60)!r} is no head", "as flowlake audit verify prints it: number:hash")
    settings = config.load(conf_file)
    try:
        connection = postgres.connect(settings.alerts, "flowlake-audit")
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    with closing(connection):
        try:
            found = audit.verify(connection, noted)
        except psycopg2.Error as e:
            if not connection.closed:
                connection.rollback()
            raise transaction.told(e, connection, settings.alerts) from e
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        for fault in found.faults[: audit.MAX_TOLD]:
            print(f"row {fault.row}: {fault.what}" if fault.row else fault.what)
        if len(found.faults) > audit.MAX_TOLD:
            print(f"and {len(found.faults) - audit.MAX_TOLD:,} more")
        told = counted(len(found.faults), "fault") if found.faults else "whole"
        print(f"{counted(found.rows, 'row')}, {told}; head {found.head}")
        print(_about_head(found, noted))
    if found.faults:
        raise typer.Exit(EXIT_FAULTS)


def _about_head(found: Verified, noted: str) -> str:
    """What the head is for."""
    if noted and not found.faults:
        return f"the head that was noted is in the chain: up to row {int(noted.partition(':')[0])} it is the one from then"
    return "write the head down elsewhere: flowlake audit verify --noted HEAD finds out later whether all was written anew"
