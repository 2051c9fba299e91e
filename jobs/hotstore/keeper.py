"""Maintenance by the stream itself: a thread of the driver, beside the queries, which it never stops."""

from __future__ import annotations

import threading

from infra.config import Settings
from infra.errors import FlowlakeError, one_line
from infra.log import get
from jobs.hotstore.maintain import maintain
from jobs.sinks.stores import StoreUnavailable


class Keeper:
    """Maintains the hot tables of all record types every ``hot.maintain_s`` seconds, from the start on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.hot
        self._tables = [record.hot for record in settings.catalogue.records if record.hot]
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
        """Whatever happens is logged: the stream goes on, and the next time may do better."""
        log = get("hot.maintenance")
        try:
            done = maintain(self._settings, self._tables, log.info)
        except (FlowlakeError, StoreUnavailable) as e:
            log.warning("not maintained", cause=str(e))
            return
        except Exception as e:
            log.warning("not maintained", cause=one_line(e))
            return
        for item in done or []:
            if item.changed:
                log.info("maintained", table=item.table, made=len(item.made), dropped=item.dropped, moved=item.moved, deleted=item.deleted,
                         refreshed=item.refreshed)  # fmt: skip
            for problem, hint in item.problems:
                log.warning("a person must see to a hot table", table=item.table, cause=problem, hint=hint)
