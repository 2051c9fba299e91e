"""Answers to a view's panels: asked at once, each at most once a second, however many people look.

What cannot be answered is an answer too: its panel says why, and the others stand.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from infra.config import Settings
from infra.errors import FlowlakeError, one_line
from infra.log import get
from ops.dash import prometheus
from ops.dash.pool import NotThereError, Pools
from ops.dash.span import PageSpan
from ops.views import macros
from ops.views.model import TOTAL, Panel, View

#: Seconds for which an answer serves whoever asks the same.
KEEP_S = 1.0
#: Rows of a table that are read at most, and points of all series of a picture; that there are more is said.
MAX_ROWS, MAX_POINTS = 1000, 6000
_MOST_KEPT = 500
_POINTS = 120
_log = get("flowlake.dash")


@dataclass(frozen=True)
class Answer:
    """What a panel shows.

    Parameters
    ----------
    names : tuple of str
        Columns.
    rows : tuple of tuple
        Their values.
    more : bool
        Whether rows were left out.
    error, hint : str
        Why there is none, and the way out; empty: there is one.
    absent : bool
        Whether that is no fault: what is asked is not there yet.
    total : int
        How many rows there are, with those that were left out; 0: that is not known.
    """

    names: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    more: bool = False
    error: str = ""
    hint: str = ""
    absent: bool = False
    total: int = 0


class Answers:
    """Asks panels; any thread may. To be closed.

    Parameters
    ----------
    settings
        Where stores and Prometheus are.
    max_rows
        Of one table.
    """

    def __init__(self, settings: Settings, max_rows: int = MAX_ROWS) -> None:
        self.settings = settings
        self.pools = Pools(settings.hot, settings.alerts, settings.dash.timeout_s)
        self._max_rows = max_rows
        self._metrics = ThreadPoolExecutor(4, thread_name_prefix="dash-metrics")
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, Future[Any]]] = OrderedDict()

    def close(self) -> None:
        """Let the databases go."""
        self._metrics.shutdown(wait=False, cancel_futures=True)
        self.pools.close()

    def of(self, view: View, span: PageSpan, variables: Mapping[str, str]) -> dict[str, Answer]:
        """Key of each panel -> its answer, all asked at the same time."""
        asked = {panel.key: self._ask(panel, span, variables) for panel in view.panels}
        return {key: _answer(key, future) for key, future in asked.items()}

    def kept(self, key: Hashable, seconds: float, ask: Callable[[], Future[Any]]) -> Future[Any]:
        """What was asked under a key within the last seconds, else what ``ask`` begins; who comes meanwhile waits for the same.

        That it failed is not remembered for longer than an answer is: the database may be back.
        """
        with self._lock:
            now = time.monotonic()
            found = self._kept.get(key)
            if found is not None:
                failed = found[1].done() and not found[1].cancelled() and found[1].exception() is not None
                if not found[1].done() or now < found[0] + (min(seconds, KEEP_S) if failed else seconds):
                    return found[1]
            future = ask()
            self._kept[key] = (now, future)
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return future

    def _ask(self, panel: Panel, span: PageSpan, variables: Mapping[str, str]) -> Future[Any]:
        try:
            if panel.source == "metrics":
                return self._ask_metrics(panel, span)
            sql = macros.expand(
                panel.query, start=span.start, end=span.end, interval=step(panel, span), sensors=span.sensors, variables=variables
            )
        except FlowlakeError as e:
            return _failed(e)
        pool = self.pools.hot if panel.source == "hot" else self.pools.alerts

        most = self._most(panel)

        def rows(cursor: Any) -> Answer:
            cursor.execute(sql)
            found = cursor.fetchmany(most + 1)
            names = tuple(column.name for column in cursor.description)
            return whole(Answer(names, tuple(map(tuple, found[:most])), len(found) > most, total=cursor.rowcount))

        return self.kept((panel.source, sql), KEEP_S, lambda: pool.submit(rows))

    def _ask_metrics(self, panel: Panel, span: PageSpan) -> Future[Any]:
        url = self.settings.dash.prometheus
        if not url:
            return _failed(
                NotThereError("needs a Prometheus that scrapes flowlake", "name it: FLOWLAKE_DASH__PROMETHEUS=http://127.0.0.1:9090")
            )
        timeout = self.settings.dash.timeout_s

        most = self._most(panel)

        def rows() -> Answer:
            names, found = prometheus.ask(url, panel, span, step(panel, span), timeout)
            return Answer(names, tuple(found[:most]), len(found) > most, total=len(found))

        return self.kept((url, panel.query, panel.kind, span.start, span.end), KEEP_S, lambda: self._metrics.submit(rows))

    def _most(self, panel: Panel) -> int:
        return MAX_POINTS if panel.kind in ("timeseries", "bars_over_time") else self._max_rows


def whole(answer: Answer) -> Answer:
    """An answer with the number of rows that its question says there are (:data:`ops.views.model.TOTAL`), where it says one."""
    if TOTAL not in answer.names or not answer.rows:
        return answer
    total = int(answer.rows[0][answer.names.index(TOTAL)])
    return replace(answer, total=total, more=total > len(answer.rows))


def step(panel: Panel, span: PageSpan) -> Any:
    """Width of a point of a panel's series."""
    return macros.interval(span.start, span.end, points=_POINTS, least=panel.interval)


def _failed(error: FlowlakeError) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _answer(key: str, future: Future[Any]) -> Answer:
    try:
        found = future.result()
    except FlowlakeError as e:
        return Answer(error=str(e), hint=e.hint, absent=isinstance(e, NotThereError))
    except Exception as e:  # one panel's fault must not take the page away
        _log.warning("a panel has no answer", panel=key, cause=one_line(e))
        return Answer(error=one_line(e), hint="the server's log says more")
    assert isinstance(found, Answer)
    return found
