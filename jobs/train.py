"""Entry point: train a model and register it, as ``flowlake train`` does. Takes the same options; needs Spark for a large lake only.

On a schedule, on new labelled traffic: ``python -m jobs.train --from lake``.
"""

from __future__ import annotations

import sys

import typer

from infra.errors import FlowlakeError
from jobs.runtime import runner
from jobs.sources.packets.commands.train import train

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(train)
    try:
        app()
    except FlowlakeError as e:
        sys.exit(runner.report(e))
