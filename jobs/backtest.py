"""Entry point: score what lies in the lake with a version of a model, as ``flowlake models backtest`` does. Takes the same arguments.

On a cluster: ``./spark-submit.sh backtest --conf-file conf/cluster.yaml -- 3 --from 7d``.
"""

from __future__ import annotations

import sys

import typer

from infra.errors import FlowlakeError
from jobs.runtime import runner
from jobs.watching.commands import backtest

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(backtest)
    try:
        app()
    except FlowlakeError as e:
        sys.exit(runner.report(e))
