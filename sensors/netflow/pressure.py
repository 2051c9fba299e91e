"""Giving up datagrams so that totals stay right: 1 of N is kept, and says for how many it stands."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


def sampling(depth: float, sample_from: float, drop_from: float, most: int) -> int:
    """N of 1:N.

    Parameters
    ----------
    depth
        Share of the queue that is full.
    sample_from, drop_from
        Below the first N is 1; from there it doubles in equal steps up to ``most`` at the second.
    """
    if depth < sample_from:
        return 1
    share = min(1.0, (depth - sample_from) / (drop_from - sample_from))
    return min(most, 2 ** max(1, math.ceil(share * math.log2(most))))


@dataclass(slots=True)
class Thinning:
    """The state of 1:N sampling of one stream.

    Attributes
    ----------
    skipped
        Datagrams given up that no kept one stands for yet.
    left
        Datagrams up to the next one that is kept.
    """

    skipped: int = 0
    left: int = 0

    def keep(self, every: int) -> int:
        """For how many datagrams the next one stands at 1:``every``, itself included; 0: it is given up.

        Gaps are drawn at random, 1 to 2N - 1: an exporter that sends its line cards in turn must not have the same one kept always. The sum
        of what is returned is the number of datagrams, but for those :attr:`skipped` last.
        """
        if every <= 1:
            self.left = 1
        elif self.left <= 0:
            self.left = random.randrange(1, 2 * every)
        self.left -= 1
        if self.left:
            self.skipped += 1
            return 0
        stands, self.skipped = self.skipped + 1, 0
        return stands
