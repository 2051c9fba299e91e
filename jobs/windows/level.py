"""What is open of one window size, in pieces that never change: what is kept of a batch is what it added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import numpy as np

from jobs.windows.summary import Summaries, merge

T = TypeVar("T")
#: A piece is merged with one that is at most so many times as large.
_ALIKE = 1.25


class Pieces(Generic[T]):
    """Pieces by number; a number is given once."""

    def __init__(self) -> None:
        self._pieces: dict[int, T] = {}
        self.next = 0

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[int]:
        return iter(self._pieces)

    def __getitem__(self, number: int) -> T:
        return self._pieces[number]

    def values(self) -> Iterator[T]:
        """In the order of their numbers."""
        return iter(self._pieces.values())

    def items(self) -> Iterator[tuple[int, T]]:
        """Numbers and pieces, in the order of the numbers."""
        return iter(self._pieces.items())

    @property
    def newest(self) -> int | None:
        """Its number; None when there is no piece."""
        return next(reversed(self._pieces), None)

    def add(self, piece: T) -> None:
        """Under the next number."""
        self._pieces[self.next] = piece
        self.next += 1

    def put(self, number: int, piece: T) -> None:
        """One that was kept."""
        self._pieces[number] = piece
        self.next = max(self.next, number + 1)

    def remove(self, number: int) -> None:
        """Drop a piece."""
        del self._pieces[number]


class Level:
    """Of one window size.

    Parameters
    ----------
    slots
        Slots of a window.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.pieces: Pieces[Summaries] = Pieces()
        #: Rows of what was last put together: no fewer can be made of them.
        self.settled = 0
        #: By domain, the first slot of what is open.
        self.first: dict[str, int] = {}

    @property
    def rows(self) -> int:
        """In all pieces."""
        return sum(map(len, self.pieces.values()))

    def add(self, some: Summaries) -> None:
        """Add summaries; those of one window may be there in many parts.

        Of windows of several slots pieces of like size are merged as they come: each row a few times (by the logarithm of their number),
        and not all of them in the batch in which the window ends. What is open takes less room, too. A slot is over before that is worth
        what it writes.
        """
        if not len(some):
            return
        self._note(some)
        while self._slots > 1 and (newest := self.pieces.newest) is not None and _ALIKE * _weight(some) >= _weight(self.pieces[newest]):
            some = merge([self.pieces[newest], some])
            self.pieces.remove(newest)
        self.pieces.add(some)

    def put(self, number: int, piece: Summaries) -> None:
        """A piece that was kept."""
        self.pieces.put(number, piece)
        self._note(piece)

    def together(self) -> Summaries:
        """All of it."""
        return merge(list(self.pieces.values()))

    def put_instead(self, whole: Summaries) -> None:
        """Instead of all pieces."""
        for number in list(self.pieces):
            self.pieces.remove(number)
        self.first = {}
        self.settled = len(whole)
        self.add(whole)

    def take_over(self, limit: Mapping[str, int]) -> Summaries:
        """Take what is over out: windows that end before the first slot, by domain, that is not over."""
        if not any(begin + self._slots <= limit.get(domain, 0) for domain, begin in self.first.items()):
            return Summaries.none()
        whole = self.together()
        end = np.array([limit.get(name, 0) for name in whole.domains] or [0], np.int64)
        over = whole.rows["begin"] + self._slots <= end[whole.rows["domain"]]
        self.put_instead(whole.where(~over))
        return whole.where(over)

    def _note(self, some: Summaries) -> None:
        first = np.full(len(some.domains), np.iinfo(np.int64).max)
        np.minimum.at(first, some.rows["domain"], some.rows["begin"])
        for name, begin in zip(some.domains, first.tolist(), strict=True):
            if begin < np.iinfo(np.int64).max:
                self.first[name] = min(begin, self.first.get(name, begin))


def _weight(some: Summaries) -> int:
    """What merging it costs."""
    return len(some) + len(some.items)
