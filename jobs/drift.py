"""Entry point: watch models for drift, as ``flowlake drift`` does. Takes the same options.

On a schedule: ``./spark-submit.sh jobs/drift.py --conf-file conf/production.yaml``.
"""

from __future__ import annotations

import sys

import typer

from infra.errors import FlowlakeError
from jobs.runtime import runner
from jobs.watching.commands import drift

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(drift)
    try:
        app()
    except FlowlakeError as e:
        sys.exit(runner.report(e))
