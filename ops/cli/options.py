"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.errors import ConfigError

if TYPE_CHECKING:
    from sensors.packets.following import Follow

ConfFile = Annotated[
    Path | None, typer.Option("--conf-file", help="Configuration file; default: FLOWLAKE_CONF, else conf/local.yaml.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
FollowTimeout = Annotated[
    float, typer.Option("--follow-timeout", min=0.0, help="End when the file was silent for so many seconds; 0: never.")
]
Sort = Annotated[
    bool,
    typer.Option("--sort", help="Put all packets of a file in time order first, in bounded memory; else sensor.reorder_ms is put right."),
]


def names(option: str, given: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """The names in the comma-separated value of an option; all of ``known`` when it was not given.

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
    return tuple(chosen)


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


def follow_one(files: list[Path], follow: bool, timeout_s: float, *, sort: bool = False) -> Follow | None:
    """What ``--follow`` and ``--follow-timeout`` say about the files named; None when nothing is to be followed.

    Raises
    ------
    ConfigError
        Several files, a folder, a time limit without anything to limit, or ``sort`` of what is not there yet.
    """
    if timeout_s == float("inf"):
        raise ConfigError("--follow-timeout inf", "0: never")
    if not follow:
        if timeout_s:
            raise ConfigError("--follow-timeout without --follow", "it ends the following of a file: add --follow")
        return None
    if sort:
        raise ConfigError("--follow with --sort", "sort the file when it is finished: the same command without --follow")
    if len(files) != 1:
        raise ConfigError(f"--follow with {len(files)} files", "one file can be followed: one command for each")
    if files[0] == Path("-"):
        raise ConfigError("--follow -: standard input is read as it comes", "leave --follow out")
    if os.path.isdir(files[0]):
        raise ConfigError(f"--follow {files[0]}: a folder", "name the one file in it that is being written")
    from sensors.packets.following import Follow

    return Follow(timeout_s)
