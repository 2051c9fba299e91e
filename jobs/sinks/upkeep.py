"""Housekeeping of a lake table by its owner, a bounded time after each batch: compaction, the log's checkpoints, removal of what is old.

Nothing of it has to be finished: each step of a compaction is a commit of its own, and what is left is found in the table's log by the next
run, in this process or another. So a failure is a line in the log and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.errors import one_line
from infra.log import get
from infra.sections import LakeSettings
from jobs.sinks import compaction, parquet
from schemas.records import RecordType

#: Removing what is old: with the first compaction of a process, and then once in so many seconds.
_CLEAN_EVERY_S = 86_400.0
#: Time spent on compaction is at most one part in so many, where there is more to do than one run may.
_REST = 5


@dataclass(frozen=True)
class Done:
    """What a run did: files before and after, bytes written; whether something is left; files and versions' logs removed."""

    joined: int = 0
    made: int = 0
    bytes: int = 0
    left: int = 0
    removed: int = 0


class Upkeep:
    """Housekeeping of one table. Only its owner has one.

    Parameters
    ----------
    record
        What the table holds.
    root
        The table, as delta-rs spells its place.
    lake
        Settings: file size, how often, how long.
    log
        The owner's, so that both see one table.
    """

    def __init__(self, record: RecordType, root: str, lake: LakeSettings, log: parquet.Log) -> None:
        self._record = record
        self._root = root
        self._lake = lake
        self._log = log
        self._batches = 0
        self._left = False
        self._resting_until = 0.0
        self._cleaned = float("-inf")

    def after_batch(self) -> Done:
        """What is due after a batch. Does not raise: the table's rows are safe whatever happens here."""
        self._batches += 1
        done = Done()
        try:
            if self._log.since_checkpoint() >= self._lake.checkpoint_every:
                self._log.checkpoint()
            due = self._batches >= self._lake.compact_every or (self._left and time.monotonic() >= self._resting_until)
            if due:
                self._batches = 0
                done = self._timed()
            if due and time.monotonic() - self._cleaned > _CLEAN_EVERY_S:
                self._cleaned = time.monotonic()
                removed = self.clean()
                get("sink.lake").info("removed what is older than lake.history_days", days=self._lake.history_days, files=removed)
        except Exception as e:
            self._log.forget()
            get("sink.lake").warning("upkeep of the table failed, will be tried again", cause=one_line(e))
        return done

    def _timed(self) -> Done:
        began = time.monotonic()
        done = self.compact(self._lake.maintain_s)
        self._left = done.left > 0
        self._resting_until = time.monotonic() + _REST * (time.monotonic() - began)
        if done.joined:
            get("sink.lake").info("compacted", files_before=done.joined, files_after=done.made, bytes=done.bytes, steps_left=done.left)
        return done

    def compact(self, budget_s: float, told: Callable[[str], None] = lambda _: None) -> Done:
        """Join small files, step by step, and begin none when the time is over; one step is always done.

        Raises
        ------
        deltalake.exceptions.DeltaError, OSError, pa.ArrowException
            A step failed; those before it are done.
        """
        end = time.monotonic() + budget_s
        steps = compaction.plan(compaction.pieces(self._log.table(), self._record), self._lake.file_rows)
        joined = written = made = 0
        for step in steps:
            if made and time.monotonic() >= end:
                break
            written += compaction.join(step, self._record, self._root, self._lake, self._log)
            joined, made = joined + len(step), made + 1
            told(f"{made} of {len(steps)}: {len(step)} files of {step[0].day} are one")
        return Done(joined, made, written, len(steps) - made)

    def clean(self, *, full: bool = False) -> int:
        """Remove data files and log entries that no version of the last ``lake.history_days`` needs; returns how many data files.

        Raises
        ------
        deltalake.exceptions.DeltaError, OSError
        """
        removed = self._log.vacuum(self._lake.history_days, full=full)
        self._log.checkpoint()
        self._log.clean()
        return removed
