"""Cheap checks on each batch of a store: the rows of its messages that fail are taken out, the others go on.

Every store of a record type looks at the same columns and compares times with the same clock, that of the message, so all leave out the
same rows whenever they read them; the query of one of them writes them to the quarantine
(:mod:`jobs.quality.intake`). Alerts are raised of all records: one that is odd may be an attack none the less.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from infra.sections import QualitySettings
from jobs.quality import derive, vectorised
from jobs.quality.vectorised import Mask, TimeBounds
from jobs.sinks.messages import Message
from schemas.records import RecordType
from schemas.rules import Constraint


@dataclass(frozen=True)
class Failed:
    """The rows of one message that failed, all their columns as they were read.

    Attributes
    ----------
    message : where they lay; its ``rows`` are the failing ones.
    numbers : their places in the message, from 0.
    rules : the first constraint that each fails.
    reasons : all of them in one line, with the value.
    """

    message: Message
    numbers: tuple[int, ...]
    rules: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Checks:
    """The checks of one record type's batches. Picklable: made by the driver, used by the tasks."""

    record: RecordType
    found: tuple[Constraint, ...]
    quality: QualitySettings

    @property
    def columns(self) -> set[str]:
        """Columns that they look at."""
        return derive.columns_of(self.found)

    def sift(self, messages: Sequence[Message]) -> tuple[list[Message], list[Failed]]:
        """Take the final rows that fail out of messages.

        Returns
        -------
        tuple
            The messages with what is left in them, in their order, and what was taken out.
        """
        if not messages:
            return [], []
        rows = pa.concat_tables([message.rows for message in messages])
        bad = failures(rows, self.found, self._clock(messages))
        if self.record.final and bad:
            final = np.asarray(rows[self.record.final])
            bad = {constraint: mask & final for constraint, mask in bad.items() if (mask & final).any()}
        if not bad:
            return list(messages), []
        any_of = np.logical_or.reduce(list(bad.values()))
        good, failed, begin = [], [], 0
        for message in messages:
            end = begin + message.rows.num_rows
            if any_of[begin:end].any():
                failed.append(_failed(message, {c: mask[begin:end] for c, mask in bad.items()}, any_of[begin:end]))
                message = replace(message, rows=message.rows.filter(pa.array(~any_of[begin:end])))
            good.append(message)
            begin = end
        return good, failed

    def _clock(self, messages: Sequence[Message]) -> TimeBounds:
        """Of whoever published each message: the same whenever it is read."""
        now = time.time_ns() // 1000
        sent = np.array([message.published_us or now for message in messages], np.int64)
        return TimeBounds.of(self.quality, np.repeat(sent, [message.rows.num_rows for message in messages]))


def failures(rows: pa.Table, found: Iterable[Constraint], clock: TimeBounds) -> dict[Constraint, Mask]:
    """Which rows fail which constraints; those that all rows keep are left out."""
    masks = ((constraint, vectorised.failing(rows, constraint, clock)) for constraint in found)
    return {constraint: mask for constraint, mask in masks if mask is not None}


def told(constraint: Constraint, rows: pa.Table, row: int) -> str:
    """Why a row fails: the constraint, its values, and what is expected."""
    values = ", ".join(_shown(rows[name][row]) for name in constraint.columns)
    return f"{constraint.name}: {values}, expected {constraint.said}"


def _failed(message: Message, bad: dict[Constraint, Mask], any_of: Mask) -> Failed:
    numbers = np.flatnonzero(any_of).tolist()
    rules, reasons = [], []
    for row in numbers:
        broken = [constraint for constraint, mask in bad.items() if mask[row]]
        rules.append(broken[0].name)
        reasons.append("; ".join(told(constraint, message.rows, row) for constraint in broken[:_REASONS]))
    return Failed(replace(message, rows=message.rows.filter(pa.array(any_of))), tuple(numbers), tuple(rules), tuple(reasons))


#: Constraints that one row's reason names at most.
_REASONS = 5


def _shown(value: pa.Scalar) -> str:
    """A value as a reason names it; a time that Python knows no date for as microseconds."""
    if not value.is_valid:
        return "null"
    if pa.types.is_timestamp(value.type):
        try:
            return str(value.as_py().isoformat())
        except (ValueError, OverflowError):
            return f"{value.value} us"
    return repr(value.as_py())[:100]
