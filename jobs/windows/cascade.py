"""The cascade: summaries of 5 s come in any order, windows of 5, 30 and 180 s go out once each, when their time is over.

Time is event time, by domain: the clock below which the meter has metered every packet. A 5 s record is made when its slot is over, and
the larger ones when the last slot of theirs is. So a window does not depend on where batches were cut, and one call over all that there
is gives the same windows: that is how they are computed in batch.

A slot without a packet of a source gives no record. A larger window is **complete** when it has a record of each of its slots; then it has
been counted to six, or to thirty-six. With ``partial`` those that have fewer are made as well, and marked: a source that says something
once a minute has no complete window at all. Empty slots count as nothing in sums and as 0 in the least of a series.

What comes for a slot whose time is over is late: counted, and in no window. A domain that ends closes all that it has open. One that comes
back begins anew, with whatever time it has; what it adds to the windows that its end had cut off is late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

import schemas.windows
from jobs.windows.bounds import Bounds
from jobs.windows.fold import folded
from jobs.windows.hashing import named
from jobs.windows.level import Level, Pieces
from jobs.windows.memory import Memory, needed
from jobs.windows.rings import WINDOWS
from jobs.windows.slots import SECONDS
from jobs.windows.summary import SERIES, SLOTS, Summaries, closed, widened

#: 5 s slots by window size in seconds, the smallest first.
SIZES: dict[int, int] = {size: size // SECONDS for size in schemas.windows.SIZES}
#: A clock that is behind every packet: the input has ended.
END = np.iinfo(np.int64).max
_SLOT_US = SECONDS * 1_000_000
#: Domains that ended and are remembered: what they cut off is late when they come back, and they have an hour before.
_ENDED_KEPT = 64

#: The account of domains that ended so long ago that theirs is dropped; ``*`` is no name of a file or a sensor's.
OTHERS = "*"

#: Windows that were made together, by size.
Made = dict[int, Summaries]


@dataclass
class WindowCascade:
    """Windows that are still open, of some sources.

    Attributes
    ----------
    partial
        Whether larger windows are made that lack a record of some slot.
    bounds
        What is kept at most.
    levels
        By window size, what is not over yet: parts of slots, and the records that larger windows are made of.
    traces
        What the memory is made of.
    clocks
        By domain, us: below it every packet was metered.
    newest
        By domain and size, the first slot of the newest window that was made.
    ended
        The same of domains that ended.
    accounts
        By domain: packets that came ``late`` or were ``given_up``, summaries of sources that were ``folded``. Of domains that are away the
        newest are kept; the others are one, :data:`OTHERS`.
    """

    partial: bool = True
    bounds: Bounds = field(default_factory=Bounds)
    levels: dict[int, Level] = field(default_factory=lambda: {size: Level(slots) for size, slots in SIZES.items()})
    traces: Pieces[npt.NDArray[np.void]] = field(default_factory=Pieces)
    clocks: dict[str, int] = field(default_factory=dict)
    newest: dict[str, dict[int, int]] = field(default_factory=dict)
    ended: dict[str, dict[int, int]] = field(default_factory=dict)
    accounts: dict[str, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.memory = Memory()
        if len(self.traces):
            self.memory.add(np.concatenate(list(self.traces.values())))

    def take(self, summaries: Summaries, clocks: Mapping[str, int], ended: Collection[str] = ()) -> list[Made]:
        """Add summaries of parts of slots, move the clocks on, and give the windows that are over then.

        A clock that is behind the one before it stays where it was. Windows come in the order of their time, one time of the largest size
        after the other; so what is remembered does not depend on how far the clocks went at once.
        """
        self.add(summaries)
        goals = {domain: max(clock, self.clocks.get(domain, 0)) for domain, clock in clocks.items()} | dict.fromkeys(ended, END)
        found: list[Made] = []
        while goals:
            first = self._first_open()
            for domain, goal in list(goals.items()):
                now = max(self.clocks.get(domain, 0), first.get(domain, END))
                self.clocks[domain] = min(goal, (now // (SLOTS * _SLOT_US) + 1) * SLOTS * _SLOT_US) if now < END else goal
                if self.clocks[domain] == goal:
                    del goals[domain]
            made = self._make()
            if any(map(len, made.values())):
                found.append(made)
        for domain in ended:
            del self.clocks[domain]
            before, last = self.ended.pop(domain, {}), self.newest.pop(domain, {})
            if before or last:
                self.ended[domain] = {size: max(before.get(size, -END), last.get(size, -END)) for size in before | last}
        while len(self.ended) > _ENDED_KEPT:
            gone = next(iter(self.ended))
            del self.ended[gone]
            self._forget(gone)
        self._sum_up_accounts()
        return found

    def add(self, summaries: Summaries) -> None:
        """Add summaries of parts of slots. A domain that comes back with a time before its end has no hour before."""
        for domain in (self.ended.keys() & set(summaries.domains)) - self.newest.keys():  # since: what it remembers is its own
            of = summaries.rows["begin"][summaries.rows["domain"] == summaries.domains.index(domain)]
            if len(of) and int(of.min()) < self.ended[domain].get(SECONDS, -END) - SLOTS:
                self._forget(domain)
        self.levels[SECONDS].add(self._in_time(summaries))
        self._bound(self.levels[SECONDS])

    def give_up(self) -> None:
        """Drop what is open, and forget all clocks: it will come again."""
        open_parts = self.levels[SECONDS].together()
        self._account(open_parts.rows, open_parts.domains, "given_up", packets=True)
        for level in self.levels.values():
            level.put_instead(Summaries.none())
        for number in list(self.traces):
            self.traces.remove(number)
        self.memory = Memory()
        self.clocks, self.newest, self.ended = {}, {}, {}

    def _forget(self, domain: str) -> None:
        """Drop what is remembered of a domain."""
        self.memory.forget(named(domain))
        for number, old in list(self.traces.items()):
            left = old[old["domain"] != named(domain)]
            if len(left) < len(old):
                self.traces.remove(number)
                if len(left):
                    self.traces.add(left)

    def count(self, domain: str, what: str, by: int) -> None:
        """Add to a domain's account."""
        if by:
            self.accounts.setdefault(domain, Counter())[what] += by

    def _sum_up_accounts(self) -> None:
        """Keep the accounts of as many domains as may come back: a capture file a minute is half a million domains a year."""
        away = [domain for domain in self.accounts if domain not in self.clocks and domain != OTHERS]
        for domain in away[: max(len(away) - _ENDED_KEPT, 0)]:
            self.accounts.setdefault(OTHERS, Counter()).update(self.accounts.pop(domain))

    def _first_open(self) -> dict[str, int]:
        """By domain, us: when its first slot or window that is open began."""
        first: dict[str, int] = {}
        for level in self.levels.values():
            for domain, begin in level.first.items():
                first[domain] = min(first.get(domain, END), begin * _SLOT_US)
        return first

    def _make(self) -> Made:
        over = self._limit()
        parts = self.levels[SECONDS].take_over(over)
        records = closed(self._folded(parts))
        self.memory.unseen(records)
        windows = {SECONDS: records}
        below = records
        for size, slots in SIZES.items():
            if slots == 1:
                continue
            self.levels[size].add(self._not_cut(widened(below, slots), size))
            below = self._folded(self.levels[size].take_over(over))
            windows[size] = self._finished(below, slots)
        if len(below):
            self._remember(below)
            self.memory.rhythms(windows[SLOTS * SECONDS])
        for size, some in windows.items():
            for number in np.unique(some.rows["domain"]).tolist():
                begin = int(some.rows["begin"][some.rows["domain"] == number].max())
                newest = self.newest.setdefault(some.domains[number], {})
                newest[size] = max(begin, newest.get(size, begin))
        return windows

    def _limit(self) -> dict[str, int]:
        """By domain, the first slot that is not over."""
        return {domain: clock // _SLOT_US if clock < END else END for domain, clock in self.clocks.items()}

    def _not_cut(self, parts: Summaries, size: int) -> Summaries:
        """Without what belongs to windows that the end of a domain had cut off."""
        return self._without(parts, self._cut(parts, size))

    def _cut(self, parts: Summaries, size: int) -> npt.NDArray[np.bool_]:
        if not self.ended:
            return np.zeros(len(parts), bool)
        made = np.array([self.ended.get(name, {}).get(size, -END) for name in parts.domains] or [-END], np.int64)
        back = made[parts.rows["domain"]] - parts.rows["begin"]
        return np.asarray((back >= 0) & (back < SLOTS))

    def _in_time(self, summaries: Summaries) -> Summaries:
        limit = self._limit()
        below = np.array([limit.get(name, 0) for name in summaries.domains] or [0], np.int64)
        late = summaries.rows["begin"] < below[summaries.rows["domain"]]
        return self._without(summaries, late | self._cut(summaries, SECONDS))

    def _without(self, summaries: Summaries, late: npt.NDArray[np.bool_]) -> Summaries:
        if not late.any():
            return summaries
        self._account(summaries.rows[late], summaries.domains, "late", packets=True)
        return summaries.where(~late)

    def _account(self, rows: npt.NDArray[np.void], domains: tuple[str, ...], what: str, *, packets: bool = False) -> None:
        for number in np.unique(rows["domain"]):
            some = rows[rows["domain"] == number]
            self.count(domains[number], what, int((some["packets_out"] + some["packets_in"]).sum()) if packets else len(some))

    def _bound(self, level: Level) -> None:
        """A flood of sources is summed up while its slot is open."""
        if level.rows - level.settled > 2 * self.bounds.sources:
            level.put_instead(self._folded(level.together()))

    def _folded(self, windows: Summaries) -> Summaries:
        if len(windows) <= self.bounds.sources:
            return windows
        few, gone = folded(windows, self.bounds.sources, self.memory.knows(windows))
        self._account(gone, windows.domains, "folded")
        return few

    def _remember(self, windows: Summaries) -> None:
        left = self.memory.traces(windows, max(self.bounds.known // WINDOWS, 1))
        self.memory.add(left)
        self.traces.add(left)
        for number, old in list(self.traces.items()):
            if not needed(old, left).any():
                self.traces.remove(number)

    def _finished(self, windows: Summaries, slots: int) -> Summaries:
        made = Summaries(windows.rows.copy(), windows.items, windows.domains)
        complete = made.rows["parts"] == slots
        for name in SERIES:  # of empty slots
            made.rows[f"{name}_min"][~complete] = 0
        self.memory.unseen(made)
        return made if self.partial else made.where(complete)
