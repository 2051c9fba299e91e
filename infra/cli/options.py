"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfFile = Annotated[
    Path | None, typer.Option("--conf-file", help="Configuration file; default: FLOWLAKE_CONF, else conf/local.yaml.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
