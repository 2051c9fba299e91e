"""``flowlake stream``: the whole stream in the foreground, on the local session."""

from __future__ import annotations

from typing import Annotated

import typer

from infra import config
from infra.console.options import ConfFile


def stream(
    only: Annotated[str, typer.Option("--only", help="Run only these queries, comma-separated; flowlake sources names them.")] = "",
    reset_checkpoint: Annotated[
        bool, typer.Option("--reset-checkpoint", help="Forget the queries' checkpoints before they start.")
    ] = False,
    accept_new_topics: Annotated[
        bool,
        typer.Option("--accept-new-topics", help="Read topics that were deleted and made anew from their beginning; keep the checkpoints."),
    ] = False,
    conf_file: ConfFile = None,
) -> int:
    """Run the stream until interrupted: of each source the queries that make and score its records, then lake, hot store and alerts.

    Queries that the settings switch off run only where they are named; flowlake sources shows which.

    On a cluster: ./spark-submit.sh stream --master spark://host:7077 --conf-file conf/cluster.yaml

    Example:  flowlake stream --only meter,alerts
    """
    from jobs.runtime import driver
    from jobs.stream import APP

    settings = config.load(conf_file)
    chosen = settings.catalogue.chosen(settings, driver.listed(only))
    return driver.run(settings, APP, chosen, reset=reset_checkpoint, accept=accept_new_topics)
