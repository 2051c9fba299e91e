"""TCP segments that fill a gap, and segments seen before: the counters of a flow record, one segment after the other.

A segment takes one sequence number for each byte of data, and one each for SYN and FIN; a segment that takes none says nothing. Each
direction of a connection remembers the number that it expects next and the last gap it saw. Numbers are compared as in RFC 9293, section
3.4: modulo 2^32, "after" meaning less than 2^31 ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.oracle.features import Seen
from tests.oracle.parse import FIN, SYN, TCP

_ALL = 1 << 32


def after(a: int, b: int) -> bool:
    return 0 < (a - b) % _ALL < _ALL // 2


@dataclass
class _Way:
    expected: int | None = None
    gap: tuple[int, int] | None = None  # from the first missing number to the first that is there

    def segment(self, number: int, length: int) -> str:
        """``filled``, ``again`` or nothing."""
        end = (number + length) % _ALL
        if self.expected is None or number == self.expected:
            self.expected = end
        elif after(number, self.expected):
            self.gap = self.expected, number
            self.expected = end
        elif self.gap is not None and not after(self.gap[0], number) and after(self.gap[1], number):
            self.gap = (end, self.gap[1]) if after(self.gap[1], end) else None
            return "filled"
        else:
            if after(end, self.expected):
                self.expected = end
            return "again"
        return ""


def counts(connection: Sequence[Seen], record: Sequence[Seen]) -> tuple[int, int]:
    """Out-of-order and duplicate segments of ``record``, the last packets of ``connection``."""
    ways = {True: _Way(), False: _Way()}
    verdicts = []
    for seen in connection:
        p = seen.packet
        length = p.payload + bool(p.flags & SYN) + bool(p.flags & FIN)
        whole = p.proto == TCP and (p.fragment is None or p.fragment.first)
        verdicts.append(ways[seen.forward].segment(p.seq, length) if whole and length else "")
    own = verdicts[len(verdicts) - len(record) :]
    return own.count("filled"), own.count("again")
