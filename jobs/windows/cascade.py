"""The cascade: summaries of 5 s come in any order, windows of 5, 30 and 180 s go out once each, when their time is over.

Time is event time, by domain: the clock below which the meter has metered every packet. A 5 s record is made when its slot is over, and
the larger ones when the last slot of theirs is. So a window does not depend on where batches were cut, and one call over all that there
is gives the same windows: that is how they are computed in batch.

A slot without a packet of a source gives no record. A larger window is **complete** when it has a record of each of its slots; then it has
been counted to six, or to thirty-six. With ``partial`` those that have fewer are made as well, and marked: a source that says something
once a minute has no complete window at all. Empty slots count as nothing in sums and as 0 in the least of a series.

What comes for a slot whose time is over is late: counted, and in no window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

import schemas.windows
from jobs.windows.slots import SECONDS
from jobs.windows.summary import SERIES, Summaries, closed, merge, widened

#: 5 s slots by window size in seconds, the smallest first.
SIZES: dict[int, int] = {size: size // SECONDS for size in schemas.windows.SIZES}
#: A clock that is behind every packet: the input has ended.
END = np.iinfo(np.int64).max
_SLOT_US = SECONDS * 1_000_000


@dataclass
class WindowCascade:
    """Windows that are still open, of some sources.

    Attributes
    ----------
    partial
        Whether larger windows are made that lack a record of some slot.
    open_slots
        Summaries of slots whose time is not over.
    building
        By window size, what the larger windows consist of so far.
    clocks
        By domain, us: below it every packet was metered.
    accounts
        By domain: packets that came ``late``.
    """

    partial: bool = True
    open_slots: Summaries = field(default_factory=Summaries.none)
    building: dict[int, Summaries] = field(default_factory=lambda: {size: Summaries.none() for size in SIZES if SIZES[size] > 1})
    clocks: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, Counter[str]] = field(default_factory=dict)

    def take(self, summaries: Summaries, clocks: Mapping[str, int]) -> dict[int, Summaries]:
        """Add summaries of parts of slots, move the clocks on, and give the windows that are over then, by size.

        A clock that is behind the one before it stays where it was.
        """
        fresh = self._in_time(summaries)
        for domain, clock in clocks.items():
            self.clocks[domain] = max(clock, self.clocks.get(domain, 0))
        pending = merge([self.open_slots, fresh])
        over = self._over(pending, 1)
        records = closed(pending.where(over))
        self.open_slots = pending.where(~over)
        windows = {SECONDS: records}
        for size, slots in SIZES.items():
            if slots > 1:
                built = merge([self.building[size], widened(records, slots)])
                over = self._over(built, slots)
                self.building[size] = built.where(~over)
                windows[size] = self._finished(built.where(over), slots)
        return windows

    def _in_time(self, summaries: Summaries) -> Summaries:
        late = self._over(summaries, 1)
        if late.any():
            rows = summaries.rows[late]
            for number in np.unique(rows["domain"]):
                some = rows[rows["domain"] == number]
                counts = self.accounts.setdefault(summaries.domains[number], Counter())
                counts["late"] += int((some["packets_out"] + some["packets_in"]).sum())
        return summaries.where(~late)

    def _over(self, windows: Summaries, slots: int) -> npt.NDArray[np.bool_]:
        """bool[n]: windows whose last slot is over."""
        clock = np.array([self.clocks.get(name, 0) for name in windows.domains] or [0], np.int64)
        return np.asarray((windows.rows["begin"] + slots) * _SLOT_US <= clock[windows.rows["domain"]])

    def _finished(self, windows: Summaries, slots: int) -> Summaries:
        complete = windows.rows["parts"] == slots
        for name in SERIES:  # of empty slots
            windows.rows[f"{name}_min"][~complete] = 0
        return windows if self.partial else windows.where(complete)
