"""Options that several commands share."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import ConfigError

ConfFile = Annotated[
    Path | None, typer.Option("--conf-file", help="Configuration file; default: FLOWLAKE_CONF, else conf/local.yaml.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def names(option: str, given: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """The names in the comma-separated value of an option, each once; all of ``known`` when it was not given.

    Raises
    ------
    ConfigError
        A name is unknown, or there is none.
    """
    if given is None:
        return tuple(known)
    chosen = [name.strip() for name in given.split(",") if name.strip()]
    choice = f"one or more of: {', '.join(known)}"
    if not chosen:
        raise ConfigError(f"{option} {given!r}: no name", choice)
    for name in chosen:
        if name not in known:
            raise ConfigError(f"{option} {given}: no part {name!r}", choice)
    return tuple(dict.fromkeys(chosen))


def me() -> str:
    """Who runs this: the login name, or the number of a user whom the system has no name for, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def group(purpose: str, example: str) -> typer.Typer:
    """A group of commands, its help ending with an example."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        help=purpose,
        epilog=f"Example:  {example}",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
