"""Entry point: train a model anew, as ``flowlake models retrain`` does. Takes the same options; needs no Spark session.

On a schedule: ``python -m jobs.retrain --conf-file conf/production.yaml --no-wait``; a run that waits goes on at the next call.
"""

from __future__ import annotations

import sys

import typer

from infra.errors import FlowlakeError
from jobs.models.commands import retrain
from jobs.runtime import runner

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(retrain)
    try:
        app()
    except FlowlakeError as e:
        sys.exit(runner.report(e))
