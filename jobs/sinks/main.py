"""Runs one query as a program of its own: configuration, session, until SIGTERM."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from infra import config, log
from infra.errors import FlowlakeError


def main(app: str, start: Callable[..., Any]) -> None:
    """Start the query and wait for it; exits with the error's code, one line and a hint, when it fails."""
    parser = argparse.ArgumentParser(prog=app)
    parser.add_argument("--conf-file", help="configuration; default: FLOWLAKE_CONF, else conf/local.yaml")
    arguments = parser.parse_args()
    try:
        _run(app, start, arguments.conf_file)
    except FlowlakeError as e:
        if os.environ.get("FLOWLAKE_DEBUG", "") not in ("", "0"):
            raise
        print(f"error: {e}" + (f"\n  {e.hint}" if e.hint else ""), file=sys.stderr)
        sys.exit(e.exit_code)


def _run(app: str, start: Callable[..., Any], conf_file: str | None) -> None:
    settings = config.load(conf_file)
    log.setup(settings.log)
    from jobs.platform import session

    spark = session.build(settings, app)
    try:
        query = start(spark, settings)
        stopping = [False]

        def stop(*_: object) -> None:
            stopping[0] = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        # Short waits: a signal is only handled between two calls into the JVM.
        while not stopping[0] and not _ended(query):
            pass
        query.stop()
    finally:
        spark.stop()


def _ended(query: Any) -> bool:
    from pyspark.errors import StreamingQueryException

    try:
        return bool(query.awaitTermination(0.5))
    except StreamingQueryException as e:
        raise failure(query.name, e) from e


def failure(name: str, error: BaseException) -> FlowlakeError:
    """The one line of a query that ended in failure: ours where a sink raised it, else the cause that Spark tells."""
    from infra.errors import StoreError

    text = str(error)
    ours = "infra.errors.StoreError: "
    for line in text.splitlines():
        if ours in line:
            return StoreError(line.split(ours, 1)[1].strip()[:500])
    return StoreError(f"query {name}: " + (text.strip().splitlines() or [type(error).__name__])[0][:400], "the log of the job says more")
