"""Maintenance by the stream itself: a thread of the driver, beside the queries, which it never stops."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from infra.config import Settings
from infra.errors import FlowlakeError, one_line
from infra.log import get
from infra.sections import HotSettings
from jobs.hotstore.maintain import Maintained, maintain
from jobs.hotstore.shape import TableKind
from jobs.sinks.counters import MAINTAINED, MAINTENANCES, TOO_OLD, WITHOUT_DAY
from jobs.sinks.stores import StoreUnavailable
from schemas.records import HotTable, hot_records

_LOG = get("hot.maintenance")
_OLDER = "the lake keeps them; hot.retention_days says how long rows live here; see to the clock of who sent them"


class HotKeeper:
    """Maintains hot tables every ``hot.maintain_s`` seconds, from the start on.

    Parameters
    ----------
    settings
        Of the process.
    tables
        Which, each group by settings of its own; by default those of all record types.
    """

    def __init__(self, settings: Settings, tables: Sequence[tuple[HotSettings, Sequence[HotTable]]] = ()) -> None:
        self._settings = settings.hot
        self._tables = tables or [(settings.hot, [r.hot for r in hot_records(settings.catalogue.records) if r.hot])]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hot-maintenance", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being done is left to end with the process, and goes on the next time where it was."""
        self._end.set()

    def _work(self) -> None:
        while True:
            self._once()
            if self._end.wait(self._settings.maintain_s):
                return

    def _once(self) -> None:
        """All groups, one after the other."""
        for settings, tables in self._tables:
            self._maintained(settings, tables)

    def _maintained(self, settings: HotSettings, tables: Sequence[HotTable]) -> None:
        """Whatever happens is logged: the stream goes on, and the next time may do better."""
        try:
            done = maintain(settings, tables, _LOG.info)
        except (FlowlakeError, StoreUnavailable) as e:
            _failed(str(e))
            return
        except Exception as e:
            _failed(one_line(e))
            return
        if done is None:
            MAINTENANCES.labels(result="busy").inc()
            _LOG.info("another process is maintaining the hot tables; this time it is left to it")
            return
        MAINTENANCES.labels(result="done").inc()
        for item in done:
            if item.kind != TableKind.MISSING.value:  # the queries make those of a new database at this moment, with all their days
                _tell(item)


def _failed(cause: str) -> None:
    MAINTENANCES.labels(result="failed").inc()
    _LOG.warning("not maintained", cause=cause)


def _tell(item: Maintained) -> None:
    MAINTAINED.labels(table=item.table).set_to_current_time()
    WITHOUT_DAY.labels(table=item.table).set(item.left)
    _LOG.info("maintained", table=item.table, made=len(item.made), dropped=item.dropped, moved=item.moved, deleted=item.deleted,
              refreshed=item.refreshed, left=item.left)  # fmt: skip
    for gone in item.deletions:
        TOO_OLD.labels(table=item.table).inc(gone.rows)
        _LOG.warning("rows older than rows live were deleted", table=item.table, place=gone.place, rows=gone.rows, first=gone.first,
                     last=gone.last, hint=_OLDER)  # fmt: skip
    for problem, hint in item.problems:
        _LOG.warning("a person must see to a hot table", table=item.table, cause=problem, hint=hint)
