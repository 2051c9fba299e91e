"""What the benchmarks' commands share: options, and how a result is told and kept."""

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
from infra.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

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


def prepare(conf_file: Path | None, json_file: Path | None) -> Settings:
    """Settings; where the result cannot be written is told before minutes of measuring."""
    settings = config.load(conf_file)
    log.setup(settings.log)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    if json_file is not None and not Path(os.path.realpath(json_file)).parent.is_dir():
        raise ConfigError(f"--json {json_file}: there is no such folder", "name a file in a folder that exists")
    return settings


def with_meter(settings: Settings, queries: str) -> tuple[str, ...]:
    """Names of the queries that are asked for, the meter among them.

    Raises
    ------
    ConfigError
        It is not, or there is no such query.
    """
    names = tuple(query.name for query in settings.catalogue.select((name.strip() for name in queries.split(",")), "--queries"))
    if "meter" not in names:
        known = ", ".join(query.name for query in settings.catalogue.queries)
        raise ConfigError(f"--queries {queries}: without the meter there is nothing to measure", f"queries: {known}")
    return names


def say(text: str) -> None:
    """A line of progress, on standard error."""
    typer.echo(text, err=True)


def show(tables: Iterable[Table]) -> None:
    """Tables for people."""
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables:
        console.print(table)


def keep(result: dict[str, Any], file: Path | None) -> None:
    """The result as JSON, where a file is named."""
    if file is not None:
        files.replace(file, json.dumps(result, indent=2) + "\n")


def tell(result: dict[str, Any], file: Path | None) -> None:
    """A table for people, JSON for programs."""
    from rich.console import Console
    from rich.table import Table

    keep(result, file)
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
