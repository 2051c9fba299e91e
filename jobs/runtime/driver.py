"""A driver: configuration, session, queries until SIGTERM. Every entry point of ``jobs/`` that streams is a call of :func:`main`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from infra import config, log, metrics, paths, process
from infra.config import Settings
from infra.errors import ConfigError, FlowlakeError
from infra.kafka.progress import ACCEPT
from infra.sources import Query, Service


def main(app: str, names: Sequence[str] = (), argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, run queries of the sources, exit with their code.

    Parameters
    ----------
    app
        Application name, as it is shown by Spark and by ``--help``.
    names
        The queries that may be run; all of them for none.
    argv
        Arguments; the process's own by default.
    """
    parser = argparse.ArgumentParser(prog=app, description=f"Streaming queries: {', '.join(names) or 'those of all sources'}.")
    parser.add_argument("--conf-file", help="configuration; default: FLOWLAKE_CONF, else conf/local.yaml")
    parser.add_argument("--only", default="", help="run only these of the queries, by name, comma-separated")
    parser.add_argument(
        "--reset-checkpoint", action="store_true", help="forget the queries' checkpoints, of any version, before they start"
    )
    parser.add_argument(ACCEPT, dest="accept", action="store_true", help="read topics that were deleted and made anew from their beginning")
    arguments = parser.parse_args(argv)
    from jobs.runtime import runner

    try:
        settings = config.load(arguments.conf_file)
        chosen = settings.catalogue.select(names, app)
        if wanted := listed(arguments.only):
            inside = {query.name for query in chosen}
            if outside := [name for name in wanted if names and name not in inside]:
                raise ConfigError(f"--only {arguments.only}: no query {outside[0]!r} of {app}", f"queries: {', '.join(names)}")
        chosen = settings.catalogue.chosen(settings, wanted, names)
        sys.exit(run(settings, app, chosen, reset=arguments.reset_checkpoint, accept=arguments.accept))
    except FlowlakeError as e:
        sys.exit(runner.report(e))


def listed(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def run(settings: Settings, app: str, queries: Sequence[Query], *, reset: bool = False, accept: bool = False) -> int:
    """Run the queries in one driver until they are stopped or have ended; returns the exit code.

    ``reset`` forgets their checkpoints before; ``accept`` lets them go on in topics that were deleted and made anew.

    Raises
    ------
    FlowlakeError
        A folder that cannot be used, something is missing, or one of the queries runs on this machine already: two would write to one
        checkpoint.
    """
    paths.check_settings(settings, lake=any("lake" in query.stores for query in queries))
    with ExitStack() as claims:
        for query in queries:
            claims.enter_context(process.query(settings, query.name).claimed())
        return _run(settings, app, queries, reset=reset, accept=accept)


def _run(settings: Settings, app: str, queries: Sequence[Query], *, reset: bool, accept: bool) -> int:
    from infra.kafka import topics
    from jobs.runtime import checkpoints, inputs, lake, runner, session
    from jobs.scoring import serving

    lake.check(settings)
    log.setup(settings.log)
    logger = log.get("driver")
    metrics.serve(settings.metrics.host, settings.metrics.stream_port)
    topics.ensure(settings)
    spark = session.build(settings, app)
    with ExitStack() as ends:
        ends.callback(runner.shut_down, spark)
        ends.callback(serving.stop)
        if reset:
            for query in queries:
                for path in checkpoints.reset(settings, query.name):
                    logger.info("checkpoint forgotten", query=query.name, path=path)
        if accept:
            for query in queries:
                for why in inputs.accept(settings, query.name):
                    logger.info("new topic is read from its beginning", query=query.name, cause=why)
        watcher = inputs.Watcher(settings)
        for service in (watcher, *_keepers(settings, queries), *(query.service(settings) for query in queries if query.service)):
            service.start()
            ends.callback(service.stop)
        logger.info("stream starts", queries=[query.name for query in queries], broker=settings.kafka.bootstrap_servers)
        ready = [
            runner.StartedQuery(q.name, partial(q.start, spark, settings), q.essential or len(queries) == 1, partial(watcher.fault, q.name))
            for q in queries
        ]
        return runner.run(spark, ready, observer=watcher.observe)


def _keepers(settings: Settings, queries: Sequence[Query]) -> Sequence[Service]:
    """Who looks after the stores that the queries write, beside them."""
    if not settings.hot.maintain_s or not any("hot" in query.stores for query in queries):
        return ()
    from jobs.hotstore.keeper import HotKeeper

    return (HotKeeper(settings),)
