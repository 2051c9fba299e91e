"""``flowlake athena``: the statements that make Athena's tables over lake and archive."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from infra import config, files
from infra.console.options import ConfFile, group
from infra.errors import ConfigError, StoreError

app = group("Athena over lake and archive: the statements that make its tables.", "flowlake athena ddl --into ddl")


@app.callback()
def _group() -> None:
    """Athena over lake and archive: the statements that make its tables."""


@app.command(epilog="Examples:  flowlake athena ddl   |   flowlake athena ddl --into ddl --years 2017-2049")
def ddl(
    into: Annotated[Path | None, typer.Option(help="Folder for a file a statement; without, all are printed.")] = None,
    years: Annotated[str, typer.Option(help="First and last year whose months are looked for in the archive.")] = "2010-2049",
    conf_file: ConfFile = None,
) -> None:
    """Print the statements that make Athena's tables: the lake's Delta tables, and the archives with their months projected.

    Athena runs one statement at a time, in the order in which they are printed.
    """
    from jobs.engines import athena

    made = athena.statements(config.load(conf_file), _range(years))
    if into is None:
        print("\n".join(made.values()), end="")
        return
    try:
        into.mkdir(parents=True, exist_ok=True)
        for name, statement in made.items():
            files.replace(into / f"{name}.sql", statement)
            print(into / f"{name}.sql")
    except OSError as e:
        raise StoreError(f"{into} cannot be written: {e.strerror}", "name another folder: --into") from e


def _range(text: str) -> tuple[int, int]:
    if not (found := re.fullmatch(r"(\d{4})-(\d{4})", text)):
        raise ConfigError(f"--years {text!r} is no range of years", "write it as 2010-2049")
    return int(found[1]), int(found[2])
