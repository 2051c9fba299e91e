"""A driver: configuration, session, queries until SIGTERM. Every entry point of ``jobs/`` that streams is a call of :func:`main`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from infra import config, log, metrics, paths
from infra.config import Settings
from infra.errors import ConfigError, FlowlakeError
from infra.kafka.progress import ACCEPT
from infra.stack.local import LocalStack

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

Start = Callable[["SparkSession", Settings], "StreamingQuery"]


def main(app: str, queries: Mapping[str, Start], argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, run the queries, exit with their code.

    Parameters
    ----------
    app
        Application name, as it is shown by Spark and by ``--help``.
    queries
        Name -> start. The first is essential: when it ends for good, so does the driver.
    """
    parser = argparse.ArgumentParser(prog=app, description=f"Streaming queries: {', '.join(queries)}.")
    parser.add_argument("--conf-file", help="configuration; default: FLOWLAKE_CONF, else conf/local.yaml")
    parser.add_argument("--only", default="", help="run only these of the queries, by name, comma-separated")
    parser.add_argument(
        "--reset-checkpoint", action="store_true", help="forget the queries' checkpoints, of any version, before they start"
    )
    parser.add_argument(ACCEPT, dest="accept", action="store_true", help="read topics that were deleted and made anew from their beginning")
    arguments = parser.parse_args(argv)
    from jobs.runtime import runner

    try:
        chosen = select(queries, arguments.only)
        sys.exit(run(config.load(arguments.conf_file), app, chosen, reset=arguments.reset_checkpoint, accept=arguments.accept))
    except FlowlakeError as e:
        sys.exit(runner.report(e))


def select(queries: Mapping[str, Start], only: str, option: str = "--only") -> dict[str, Start]:
    """The queries named in ``only`` (comma-separated; all when empty).

    Raises
    ------
    ConfigError
        A name is unknown.
    """
    names = [n.strip() for n in only.split(",") if n.strip()]
    for name in names:
        if name not in queries:
            raise ConfigError(f"{option} {only}: no query {name!r}", f"queries: {', '.join(queries)}")
    return {n: s for n, s in queries.items() if not names or n in names}


def run(settings: Settings, app: str, queries: Mapping[str, Start], *, reset: bool = False, accept: bool = False) -> int:
    """Run the queries in one driver until they are stopped or have ended; returns the exit code.

    ``reset`` forgets their checkpoints before; ``accept`` lets them go on in topics that were deleted and made anew.

    Raises
    ------
    FlowlakeError
        A folder that cannot be used, something is missing, or one of the queries runs on this machine already: two would write to one
        checkpoint.
    """
    paths.check_settings(settings, lake="lake" in queries)
    with ExitStack() as claims:
        for name in queries:
            claims.enter_context(LocalStack(settings).query(name).claimed())
        return _run(settings, app, queries, reset=reset, accept=accept)


def _run(settings: Settings, app: str, queries: Mapping[str, Start], *, reset: bool, accept: bool) -> int:
    from infra.kafka import topics
    from jobs.runtime import checkpoints, inputs, runner, session
    from jobs.sources.packets.accounts import Exporter

    log.setup(settings.log)
    logger = log.get("driver")
    metrics.serve(settings.metrics.host, settings.metrics.stream_port)
    topics.ensure(settings)
    spark = session.build(settings, app)
    exporter, watcher = Exporter(settings), inputs.Watcher(settings)
    try:
        if reset:
            for name in queries:
                for path in checkpoints.reset(settings, name):
                    logger.info("checkpoint forgotten", query=name, path=path)
        if accept:
            for name in queries:
                for why in inputs.accept(settings, name):
                    logger.info("new topic is read from its beginning", query=name, cause=why)
        exporter.start()
        watcher.start()
        first = next(iter(queries))
        logger.info("stream starts", queries=list(queries), broker=settings.kafka.bootstrap_servers)
        ready = [runner.Query(n, partial(s, spark, settings), n == first, partial(watcher.fault, n)) for n, s in queries.items()]
        return runner.run(spark, ready, observer=watcher.observe)
    finally:
        watcher.stop()
        exporter.stop()
        runner.shut_down(spark)
