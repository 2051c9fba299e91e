"""Options that commands about capture files share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import ConfigError
from sensors.packets.following import Follow

FollowTimeout = Annotated[
    float, typer.Option("--follow-timeout", min=0.0, help="End when the file was silent for so many seconds; 0: never.")
]
Sort = Annotated[
    bool,
    typer.Option("--sort", help="Put all packets of a file in time order first, in bounded memory; else sensor.reorder_ms is put right."),
]


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
    return Follow(timeout_s)
