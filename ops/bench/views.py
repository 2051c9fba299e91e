"""How fast the pages of the dashboards are there: every question of every view, all of a page asked at once as a browser does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from queue import SimpleQueue
from typing import Any

import psycopg2

from infra.config import Settings
from infra.errors import StoreError, one_line
from jobs.archiving import ledger
from jobs.sinks import postgres
from jobs.sinks.migrations import migrate
from ops.bench import hotrows, hotstore
from ops.bench.dashboards import ALERTS_OF_FLOWS, TIMEOUT_S, AnswerTimes
from ops.bench.hotrows import HotRows
from ops.bench.place import machine
from ops.views.catalogue import views
from ops.views.macros import expand, interval, span
from ops.views.model import Panel, View
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS

#: Milliseconds within which a page is to be there.
GOAL_MS = 300.0
#: Ranges that each page is asked for, beside its own.
SPANS = ("24h", "7d", "30d")
#: Points of a series, as wide as a panel is on a screen.
_POINTS = 400


def run(
    settings: Settings,
    *,
    flows: int,
    days: int = 30,
    dsn: str = "",
    connections: int = 4,
    times: int = 10,
    seed: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Load flows of some weeks, maintain the store, and ask for every page often.

    Parameters
    ----------
    settings
        Of meter and sensor; the hot store is one of the benchmark's own.
    flows
        To load.
    days
        That they are spread over, up to now.
    dsn
        A server to measure instead of the embedded one.
    connections
        To the database, over which the questions of a page are spread.
    times
        How often each page is asked for, for each range.
    seed
        Of the rows.
    say
        Told the progress.

    Returns
    -------
    dict
        ``pages``: by view and range p50, p95, p99 and the slowest of the whole page in milliseconds, and its slowest questions; ``met``:
        whether every page that is opened as it is has its p95 within the goal; server and machine.

    Raises
    ------
    StoreError
        A question fails.
    """
    facts = machine()
    pool = hotrows.generated(settings, seed, flows)
    made = hotrows.told(say, pool)
    with hotstore.store(settings, dsn) as own:
        hotstore.prepare(own, NETWORK_FLOWS)
        migrate(ledger.component(own))
        until = datetime.now(UTC)
        rows = HotRows(pool, until - timedelta(days=days), until, flows, seed)
        pages = hotstore.interruptible(own, partial(_filled_and_asked, own, rows, until, connections, times, say))
        server = hotstore.facts(own)
    first = [page["ranges"][page["opens_with"]]["p95_ms"] for page in pages.values()]
    return {
        "flows": flows,
        "days": days,
        "pages": pages,
        "goal_ms": GOAL_MS,
        "met": max(first) <= GOAL_MS,
        "connections": connections,
        **made,
        "server": server,
        "machine": facts,
    }


def _filled_and_asked(
    settings: Settings, rows: HotRows, until: datetime, connections: int, times: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Load, maintain, ask."""
    hotstore.load(settings, NETWORK_FLOWS, rows, say)
    say("alerts of these flows")
    with hotstore.asking(settings) as cursor:
        cursor.execute(ALERTS_OF_FLOWS)
        cursor.execute("ANALYZE alerts")
    hotstore.settle(settings, NETWORK_FLOWS, say)
    with _Asking(settings, connections) as asking:
        return {view.name: _page(asking, view, until, times, say) for view in views([FLOWS]) if _questions(view)}


def _questions(view: View) -> list[Panel]:
    return [panel for panel in view.panels if panel.source != "metrics"]


def _page(asking: _Asking, view: View, until: datetime, times: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The page of a view, for its own range and the others."""
    ranges = {}
    for length in dict.fromkeys((view.span, *SPANS)):
        asked = {panel.key: _expanded(panel, until - span(length), until, view) for panel in _questions(view)}
        asking.page(asked)  # what a connection pays once: catalogue caches, and pages that no one has read
        shown = [asking.page(asked) for _ in range(times)]
        each = {key: AnswerTimes([answers[key][0] for _, answers in shown], shown[-1][1][key][1]) for key in asked}
        slowest = sorted(each, key=lambda key: -each[key].p(50))[:3]
        whole = AnswerTimes([ms for ms, _ in shown], sum(answers.rows for answers in each.values())).told()
        ranges[length] = {**whole, "slowest": {key: each[key].told()["p50_ms"] for key in slowest}}
        say(f"{view.name}, {length}: {whole['p50_ms']:,.0f} ms, 95 of 100 within {whole['p95_ms']:,.0f} ms")
    return {"opens_with": view.span, "questions": len(_questions(view)), "ranges": ranges}


def _expanded(panel: Panel, begin: datetime, end: datetime, view: View) -> str:
    nothing = {variable.name: "" for variable in view.variables}
    width = interval(begin, end, points=_POINTS, least=panel.interval)
    return expand(panel.query, start=begin, end=end, interval=width, variables=nothing)


class _Asking:
    """Connections that ask at once."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._free: SimpleQueue[Any] = SimpleQueue()
        self._connections = [postgres.connect(settings.hot, "flowlake-bench") for _ in range(count)]
        for connection in self._connections:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = %s", (TIMEOUT_S * 1000,))
            self._free.put(connection)
        self._pool = ThreadPoolExecutor(count, "bench")

    def __enter__(self) -> _Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()

    def page(self, asked: dict[str, str]) -> tuple[float, dict[str, tuple[float, int]]]:
        """Ask all questions; milliseconds until the last answer is there, and of each question those of it alone and its rows."""
        began = time.perf_counter()
        answers = dict(zip(asked, self._pool.map(self._answer, asked.items()), strict=True))
        return (time.perf_counter() - began) * 1000, answers

    def _answer(self, question: tuple[str, str]) -> tuple[float, int]:
        key, sql = question
        with self._connection() as connection, closing(connection.cursor()) as cursor:
            began = time.perf_counter()
            try:
                cursor.execute(sql)
                rows = len(cursor.fetchall())
            except psycopg2.Error as e:
                raise StoreError(f"panel {key}: {one_line(e)}", "a panel is asked as it stands in its view") from e
            return (time.perf_counter() - began) * 1000, rows

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        connection = self._free.get()
        try:
            yield connection
        finally:
            self._free.put(connection)
