"""Entry point: archive the months that are old enough, as ``flowlake archive run`` does. Takes the same options; needs no Spark session.

On a schedule: ``python -m jobs.archive --conf-file conf/production.yaml``.
"""

from __future__ import annotations

import sys

import typer

from infra.errors import FlowlakeError
from jobs.archiving.commands import run
from jobs.runtime import runner

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(run)
    try:
        app()
    except FlowlakeError as e:
        sys.exit(runner.report(e))
