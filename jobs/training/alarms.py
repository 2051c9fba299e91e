"""False alarms as a person meets them: so many a day, not so many of a thousand records.

Windows of one source that are taken for the same attack and follow each other within minutes are one alarm.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

#: Seconds between the end of a window and the begin of the next that still belongs to the same alarm.
GAP_S = 300
#: Whose alarm it is: anything that tells one from another.
Who = tuple[str, ...]


class Alarms:
    """Alarms that windows of one size make, counted as they are added, in any order."""

    def __init__(self, size: int) -> None:
        self._reach = size + GAP_S
        self._begins: dict[Who, list[int]] = defaultdict(list)
        self.count = 0

    def add(self, who: Who, begin: int) -> None:
        """A window that begins then (seconds)."""
        begins = self._begins[who]
        at = bisect_left(begins, begin)
        before, after = begins[at - 1 : at], begins[at : at + 1]
        self.count += 1 - self._linked(before, [begin]) - self._linked([begin], after) + self._linked(before, after)
        insort(begins, begin)

    def _linked(self, one: list[int], other: list[int]) -> int:
        return int(bool(one and other) and other[0] - one[0] <= self._reach)


def alarms_of(windows: Iterable[tuple[Who, float, float]]) -> int:
    """How many alarms windows of any sizes make together: ``(who, begin, end)`` of each, seconds."""
    ends: dict[Who, float] = {}
    count = 0
    for who, begin, end in sorted(windows):
        if who not in ends or begin > ends[who] + GAP_S:
            count += 1
        ends[who] = max(end, ends.get(who, end))
    return count


def allowed(per_day: float, days: float) -> int:
    """False alarms that benign days may show at a threshold which is chosen by them, for so many a day to be expected of others.

    As many windows of days to come lie above the highest score that was not allowed as of those days do: one more than were allowed.
    """
    return max(int(per_day * days) - 1, 0)


def must_lie_below(p: npt.NDArray[np.float64], who: list[Who], begin: npt.NDArray[np.int64], size: int, most: int) -> float:
    """The highest score of benign windows above which there are no more than ``most`` alarms; 0 where all may lie above.

    Parameters
    ----------
    p, who, begin
        Of n windows of one size: score float64[n], whose alarm it would be, start in seconds int64[n].
    size
        Seconds.
    most
        Alarms that may be there.
    """
    alarms = Alarms(size)
    for at in np.argsort(-p, kind="stable").tolist():
        alarms.add(who[at], int(begin[at]))
        if alarms.count > most:
            return float(p[at])
    return 0.0
