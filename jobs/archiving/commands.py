"""The command that archives, for ``flowlake archive run`` and for ``jobs/archive.py``; what it says meanwhile goes to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config
from infra.config import Settings
from infra.console import looks
from infra.console.options import ConfFile, Json
from infra.errors import ConfigError
from schemas.records import RecordType, hot_records

if TYPE_CHECKING:
    from jobs.archiving.run import Wish

Table = Annotated[str | None, typer.Option("--table", help="A hot table alone; default: those of all record types.", show_default=False)]
_COLUMNS = ("table", "month", "state", "rows", "files", "MB", "deleted")


def records(settings: Settings, table: str | None) -> list[RecordType]:
    """The record types with a hot table, or the one of a table.

    Raises
    ------
    ConfigError
        No record type has a hot table of that name.
    """
    found = hot_records(settings.catalogue.records)
    chosen = [record for record in found if record.hot and table in (None, record.hot.name)]
    if table and not chosen:
        known = ", ".join(record.hot.name for record in found if record.hot)
        raise ConfigError(f"--table {table!r}: no record type has such a hot table", f"hot tables: {known or 'none'}")
    return chosen


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def run(
    table: Table = None,
    before: Annotated[str | None, typer.Option(help="Only months before this one (YYYY-MM).", show_default=False)] = None,
    month: Annotated[str | None, typer.Option(help="Only this month (YYYY-MM).", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which months would leave; change nothing.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Archive and verify, and delete nothing.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Move whole months that are older than archive.after_days from the hot store into the archive.

    Each month is written, read back and compared before a row of it is deleted. A run that was broken off goes on at the next.
    """
    from jobs.archiving import run as runs

    settings = config.load(conf_file)
    wish = _wish(before, month, keep=keep)
    chosen = records(settings, table)
    if dry_run:
        planned = [asdict(item) for item in runs.plan(settings, chosen, wish, say)]
        _show(planned, ("table", "month", "rows", "state"), "Months that would leave the hot store", as_json=as_json)
    else:
        done = [asdict(item) for item in runs.run(settings, chosen, wish, say)]
        columns = (*_COLUMNS, *(["differing"] if any(row["differing"] for row in done) else []))
        _show(done, columns, "Archived", as_json=as_json)


run.epilog = "Examples:  flowlake archive run   |   flowlake archive run --dry-run   |   flowlake archive run --month 2026-03 --keep"  # type: ignore[attr-defined]


def in_mb(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their ``size`` as ``MB`` too, for people."""
    return [{**row, "MB": round(row.get("size", 0) / 1e6, 3)} for row in rows]


def _wish(before: str | None, month: str | None, *, keep: bool) -> Wish:
    from jobs.archiving import months
    from jobs.archiving.run import Wish

    if before and month:
        raise ConfigError(f"--before {before} and --month {month} exclude each other", "give one of them")
    return Wish(months.parse(before, "--before") if before else None, months.parse(month, "--month") if month else None, keep)


def _show(rows: Sequence[dict[str, Any]], columns: Sequence[str], title: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(rows), indent=2))
    elif rows:
        looks.show(in_mb(rows), columns, form="table", title=title)
    else:
        print("nothing to archive")
