"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfFile = Annotated[
    Path | None, typer.Option("--conf-file", help="Configuration file; default: FLOWLAKE_CONF, else conf/local.yaml.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


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
