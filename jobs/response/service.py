"""``flowlake respond``: the rules, once a second; and the blocks kept in step with the responder, twice a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2

from infra.config import Settings
from infra.errors import ResponseError, StoreError
from infra.log import get
from jobs.response import acts, rules
from jobs.response.machine import surroundings
from jobs.response.rules import Looked
from jobs.sinks import postgres
from jobs.sinks.stores import StoreUnavailable

#: Seconds between two attempts to find the database, or to be the one that acts.
_WAIT_S = 5.0
#: Seconds after which names and routes are read again.
_AROUND_S = 60.0


def once(settings: Settings) -> Looked:
    """One look at all alerts that have changed, and one comparison.

    Raises
    ------
    StoreError
        The database is away; or another process applies the rules.
    ResponseError
        The responder cannot be looked at.
    """
    with closing(_connected(settings)) as connection:
        if not _mine(connection):
            raise StoreError("another process applies the rules of this database", "it looks at the alerts already; nothing is to do")
        acts.sync(settings, rules.ACTOR)
        return _all(settings)


def _all(settings: Settings) -> Looked:
    if not settings.response.rules:
        return Looked()
    around, total = surroundings(settings), Looked()
    while True:
        found = rules.look(settings, around)
        total = Looked(total.blocked + found.blocked, total.refused + found.refused, total.failed + found.failed)
        if not found.full:
            return total


def run(settings: Settings, going: Callable[[], bool] = lambda: True) -> None:
    """Look and compare until ``going`` says no. Who comes second waits, and takes over when the first ends.

    A database that is away is waited for. A responder that fails is told of in the log, and tried again with the next comparison.
    """
    log, told = get("respond"), ""
    while going():
        try:
            with closing(_connected(settings)) as connection:
                if _mine(connection):
                    told = ""
                    _loop(settings, connection, going)
                elif told != "standby":
                    told = "standby"
                    log.info("another process applies the rules: waiting to take over")
        except StoreError as e:
            if told != str(e):
                told = str(e)
                log.error("waiting", why=told, hint=e.hint)
        if going():
            time.sleep(min(_WAIT_S, settings.response.poll_s * 10))


def _loop(settings: Settings, connection: Any, going: Callable[[], bool]) -> None:
    log = get("respond")
    around, known, compared = surroundings(settings), time.monotonic(), 0.0
    while going():
        now = time.monotonic()
        if now - known > _AROUND_S:
            around, known = surroundings(settings), now
        long_ago = not compared or now - compared > settings.response.sync_s
        if long_ago:
            compared = now
            try:
                if found := acts.sync(settings, rules.ACTOR):
                    log.warning("mended", missing=len(found.missing), extra=len(found.extra), other_time=len(found.other_time))
            except ResponseError as e:
                log.error("cannot compare", why=str(e), hint=e.hint)
        overlap_s = rules.LONG_OVERLAP_S if long_ago else rules.OVERLAP_S
        full = settings.response.rules and rules.look(settings, around, overlap_s).full
        if not _mine(connection):
            return
        if not full:
            time.sleep(settings.response.poll_s)


def _connected(settings: Settings) -> Any:
    try:
        connection = postgres.connect(settings.alerts, "flowlake-respond")
    except StoreUnavailable as e:
        raise StoreError(str(e), "start it: flowlake up") from e
    connection.autocommit = True
    return connection


def _mine(connection: Any) -> bool:
    """Whether this process is the one that applies the rules; the lock goes with its connection."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted "
                "AND (classid::bigint << 32) | objid::bigint = %(lock)s) OR pg_try_advisory_lock(%(lock)s)",
                {"lock": postgres.LOCK_RULES},
            )
            return bool(cursor.fetchone()[0])
    except psycopg2.Error as e:
        raise StoreError(f"the database went away: {type(e).__name__}", "it is waited for") from e
