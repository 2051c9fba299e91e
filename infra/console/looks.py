"""What commands that show rows share: output for people and programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TextIO

from infra.names import printable, visible

Row = Mapping[str, Any]


#: What to do where a store has no table.
NO_TABLE = "start the stream first: flowlake stream; what the demo wrote: --conf-file var/demo/conf.yaml"
#: What to do where a table has no rows.
NO_ROWS = "flowlake status shows whether packets arrive and which query is behind; what the demo wrote: --conf-file var/demo/conf.yaml"


def plain(value: Any) -> Any:
    """A value for JSON and CSV."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, date) else value


def nested(value: Any) -> Any:
    """A value for JSON, with whatever it holds."""
    if isinstance(value, Mapping):
        return {name: nested(one) for name, one in value.items()}
    return [nested(one) for one in value] if isinstance(value, list) else plain(value)


def show(rows: Sequence[Row], columns: Sequence[str], *, form: str, title: str) -> None:
    """Print rows as ``table`` (Rich), ``json`` (an array) or ``csv``."""
    if form == "json":
        print(json.dumps([{name: plain(row[name]) for name in row} for row in rows], indent=1, default=str))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        names = list(rows[0]) if rows else list(columns)
        writer.writerow(names)
        writer.writerows([plain(row[name]) for name in names] for row in rows)
    else:
        table(rows, columns, title)


def explain_nothing(what: str, conditions: Sequence[str], newest: datetime | None) -> None:
    """Say on stderr why a list is empty, and what to do next.

    Parameters
    ----------
    what
        What was looked for, and where: ``flows in lake var/lake/flows``.
    conditions
        Options that left rows out, as they were written.
    newest
        Time of the newest row without them; None when there is none at all.
    """
    if newest is None:
        text = f"no {what} yet\n  {NO_ROWS}"
    else:
        text = (
            f"no {what} match {', '.join(conditions)}; without, the newest is of {plain(newest)}\n"
            "  leave out a condition, or look further back"
        )
    print(text, file=sys.stderr)


def explain_empty(what: str, conditions: Sequence[str], others: int, begin: str, leads: str = "leave out a condition") -> None:
    """Say on stderr why a list is empty, and what to do next; standard output stays what a program reads.

    Parameters
    ----------
    what
        What was looked for, and where, in the plural: ``incidents in PostgreSQL at ...``.
    conditions
        Options that left rows out, as they were written, or what the list is of.
    others
        Rows there are without them.
    begin
        How the first one comes to be; told where there is none at all.
    leads
        How to see the others.
    """
    if others:
        have = "there is 1" if others == 1 else f"there are {others:,}"
        text = f"no {what} match {', '.join(conditions)}; without, {have}\n  {leads}"
    else:
        text = f"no {what} yet\n  {begin}"
    print(visible(text), file=sys.stderr)


def given(**options: object) -> list[str]:
    """Options that were given, as they are written: ``--open``, ``--since 2h``."""
    return [
        f"--{name}" if value is True else f"--{name} {word(value, 60)}" for name, value in options.items() if value not in (None, False)
    ]


def table(rows: Sequence[Row], columns: Sequence[str], title: str, into: TextIO | None = None) -> None:
    """Print rows as a table; where the terminal is too narrow for one, a record after the other, as psql does."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    into = into or sys.stdout
    columns, rows = [printable(name) for name in columns], [{printable(name): value for name, value in row.items()} for row in rows]
    terminal = into.isatty()
    console = Console(file=into, width=None if terminal else max(200, _natural(rows, columns)))
    if terminal and _natural(rows, columns) > console.width:
        console.print(title, highlight=False)
        width = max(map(len, columns))
        for row in rows:
            print(file=into)
            for name in columns:
                print(f"{name:<{width}}  {_cell(row.get(name))}", file=into)
        return
    shown = Table(title=title, title_justify="left")
    for name in columns:
        shown.add_column(name, overflow="fold", justify="right" if rows and isinstance(rows[0].get(name), int | float) else "left")
    for row in rows:
        shown.add_row(*(Text(_cell(row.get(name)), style="red" if row.get("predicted_label") == 1 else "") for name in columns))
    console.print(shown)


def _natural(rows: Sequence[Row], columns: Sequence[str]) -> int:
    """Characters that a table needs to have each cell in one line; borders and padding take three a column."""
    return sum(3 + max([len(name), *(len(_cell(row.get(name))) for row in rows)]) for name in columns) + 1


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    if isinstance(value, float):
        # not 0.000 for what is not 0, and no hundred digits
        return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e15 else f"{value:.4g}"
    return visible(str(value))


def word(text: object, limit: int = 100) -> str:
    """A name that somebody else has written (a label, an action), within a line for people: printable, and not longer than ``limit``."""
    whole = str(text)
    return printable(whole if len(whole) <= limit else f"{whole[: limit - 3]}...")
