"""Candidates: what is too little to be an alert yet.

One refused connection looks like one probe of a scan, and no model can tell them apart by the flow alone. So an alert about many flows is
raised when there are ``alerts.min_flows`` of them. An alert that one flow makes is raised when that has closed, or when open flows looked
like it ``alerts.min_looks`` times: the first eight packets of an upload are those of many an attack. Until then evidence waits here. It
waits in memory, and in the database as a log of one row a batch, written in the transaction of the batch's alerts: evidence merges in any
order and any number of times, so a log read again is the memory that was lost.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg2
import pyarrow as pa

from jobs.sinks import alertbook
from jobs.sinks.alertbook import Evidence
from schemas import alerts as table
from schemas import assets
from schemas.labels import AT_ONCE, STORM, kind_named
from schemas.wire import arrow_stream

#: Candidates held, a KB or two each; what has not changed for longest falls out.
MAX_HELD = 20_000
#: The log is written anew when it has so many rows, or twice as many candidates as are held.
LOG_ROWS = 200

Ids = Callable[[Sequence[UUID]], Collection[UUID]]


class Candidates:
    """The candidates of one database.

    Parameters
    ----------
    min_flows
        Distinct flows that make an alert about many.
    min_looks
        Looks at open flows that make one of a single flow; a closed record makes one at once.
    keep_s
        Wall clock: a candidate that has not changed for so long is forgotten.
    record_type
        What they are about: each type has a log of its own.
    """

    def __init__(self, min_flows: int, min_looks: int, keep_s: float, record_type: str) -> None:
        self._record_type = record_type
        self._min_flows = min_flows
        self._min_looks = min_looks
        self._keep_s = keep_s
        self._held: OrderedDict[UUID, tuple[float, Evidence]] = OrderedDict()
        self._current = False  # the log has been read
        self._log_rows = self._logged = 0  # its rows, and the candidates in them
        self._staged: dict[UUID, Evidence] = {}
        self._raised: list[UUID] = []

    def __len__(self) -> int:
        return len(self._held)

    def sift(self, cursor: Any, evidence: Iterable[Evidence], kept: Collection[UUID], alerts_among: Ids) -> list[Evidence]:
        """Evidence that is to be applied now: of alerts that there are, and of those that have become one; the rest is noted.

        Parameters
        ----------
        cursor
            Of the batch's transaction. :meth:`commit` or :meth:`forget` must follow.
        evidence
            One entry an alert.
        kept
            Alerts known to be in the store.
        alerts_among
            Which of some ids are alerts of the store.
        """
        if not self._current:
            self._recall(cursor, alerts_among)
        self._staged, self._raised = {}, []
        due: list[Evidence] = []
        few: list[Evidence] = []
        for item in evidence:
            held = self._held.get(item.id)
            if held is None and (item.id in kept or self._suffices(item)):
                due.append(item)
                continue
            merged = item if held is None else alertbook.merged(held[1], item)
            if not self._suffices(merged):
                few.append(item)
                self._staged[item.id] = merged
                continue
            # the packet that sufficed is one of this batch's: what was there before did not
            due.append(replace(merged, evidence=item.evidence))
            self._raised.append(item.id)
        strangers = [item.id for item in few if item.id not in self._held]
        there = set(alerts_among(strangers)) if strangers else set()
        for item in few:
            if item.id in there:
                due.append(self._staged.pop(item.id))
        self._write(cursor, [item for item in few if item.id not in there])
        return sorted(due, key=lambda item: item.id)

    def _suffices(self, item: Evidence) -> bool:
        if item.kind == STORM:
            return True
        if item.kind in AT_ONCE:
            return item.closed or len(item.looks) >= self._min_looks
        return len(item.flows) >= self._min_flows

    def commit(self) -> int:
        """The transaction is through; returns how many candidates were forgotten to make room."""
        now = time.monotonic()
        for key in self._raised:
            del self._held[key]
        for key, item in self._staged.items():
            self._held[key] = now, item
            self._held.move_to_end(key)
        forgotten = max(len(self._held) - MAX_HELD, 0)
        # What one flow is an alert of goes first: its closed record will tell it, and nothing else counts up to a scan.
        first = [key for key, (_, item) in self._held.items() if item.kind in AT_ONCE] if forgotten else []
        for key in first[:forgotten]:
            del self._held[key]
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
        while self._held and next(iter(self._held.values()))[0] < now - self._keep_s:
            self._held.popitem(last=False)
        return forgotten

    def forget(self) -> None:
        """What the database holds is not known: read it again."""
        self._held.clear()
        self._current = False

    def _recall(self, cursor: Any, alerts_among: Ids) -> None:
        """Read the log, the newest row first and one at a time: it may tell of more candidates than there is room for."""
        cursor.execute(f"DELETE FROM {table.CANDIDATES} WHERE written_at < clock_timestamp() - %s * interval '1 second'", (self._keep_s,))
        cursor.execute(f"SELECT seq FROM {table.CANDIDATES} WHERE record_type = %s ORDER BY seq DESC", (self._record_type,))
        numbers = [number for (number,) in cursor.fetchall()]
        found: dict[UUID, Evidence] = {}
        single = 0
        self._logged = 0
        for number in numbers:
            cursor.execute(f"SELECT evidence FROM {table.CANDIDATES} WHERE seq = %s", (number,))
            items = alertbook.gather([_renamed(alertbook.unpack(bytes(cursor.fetchone()[0])))])
            self._logged += len(items)
            there = set(alerts_among([item.id for item in items]))  # became alerts after they were logged
            for item in items:
                if item.id in found:
                    found[item.id] = alertbook.merged(item, found[item.id])
                elif item.id not in there and (len(found) - single if item.kind not in AT_ONCE else len(found)) < MAX_HELD:
                    found[item.id] = item
                    single += item.kind in AT_ONCE
        for key in [key for key, item in reversed(found.items()) if item.kind in AT_ONCE][: max(len(found) - MAX_HELD, 0)]:
            del found[key]  # the oldest of those that others have no room for
        now = time.monotonic()
        self._held = OrderedDict((key, (now, item)) for key, item in reversed(found.items()))
        self._log_rows = len(numbers)
        self._current = True

    def _write(self, cursor: Any, fresh: Sequence[Evidence]) -> None:
        if not fresh:
            return
        if self._log_rows >= LOG_ROWS or self._logged > 2 * MAX_HELD:
            cursor.execute(f"DELETE FROM {table.CANDIDATES} WHERE record_type = %s", (self._record_type,))
            raised = set(self._raised)
            held = [item for key, (_, item) in self._held.items() if key not in self._staged and key not in raised]
            fresh = [*held, *self._staged.values()]
            self._log_rows = self._logged = 0
        packed = psycopg2.Binary(arrow_stream(alertbook.rows(fresh)))
        cursor.execute(f"INSERT INTO {table.CANDIDATES} (evidence, record_type) VALUES (%s, %s)", (packed, self._record_type))
        self._log_rows += 1
        self._logged += len(fresh)


def _renamed(evidence: pa.Table) -> pa.Table:
    """Evidence that may have been logged when a kind had another name, or with fewer columns."""
    at = evidence.schema.get_field_index("kind")
    kinds = pa.array([kind_named(kind) for kind in evidence["kind"].to_pylist()], pa.string())
    evidence = evidence.set_column(at, evidence.schema.field(at), kinds)
    for field in table.PARTIAL_SCHEMA:
        if field.name not in evidence.column_names:
            evidence = evidence.append_column(field, pa.array([_nothing(field)] * evidence.num_rows, field.type))
    return evidence


def _nothing(field: pa.Field) -> Any:
    """The value of a column that a former version did not write."""
    if field.name == "importance":
        return assets.UNKNOWN
    kind = field.type
    if pa.types.is_boolean(kind):
        return False
    return [] if pa.types.is_list(kind) else b"" if pa.types.is_binary(kind) else "" if pa.types.is_string(kind) else 0
