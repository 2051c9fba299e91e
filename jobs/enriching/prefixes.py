"""The longest of many prefixes that holds an address, for many addresses at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from infra.networks import Network
from jobs.enriching.addresses import MAPPED_FIRST, MAPPED_LAST, bounds

_TOP = 1 << 128
_LOW = (1 << 64) - 1


class PrefixTable:
    """Prefixes of IPv4 and IPv6, each with a number.

    They are cut into intervals that do not overlap, each with the number of the longest prefix that holds it, so that one binary search
    answers.

    Parameters
    ----------
    prefixes
        Network and number (0 or more); of the same network twice, the later one counts. A prefix of IPv6 never holds an address of IPv4.
    """

    def __init__(self, prefixes: Iterable[tuple[Network, int]]) -> None:
        starts, values = _intervals([(*bounds(network), value) for network, value in prefixes])
        self._high = np.array([s >> 64 for s in starts], np.uint64)
        self._low = np.array([s & _LOW for s in starts], np.uint64)
        self._values = np.array(values, np.int32)

    def find(self, addresses: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Numbers of the longest prefixes.

        Parameters
        ----------
        addresses
            ``uint8[n, 16]``.

        Returns
        -------
        ndarray
            ``int32[n]``; -1: no prefix holds it.
        """
        words = np.ascontiguousarray(addresses).view(">u8").astype(np.uint64)
        high, low = words[:, 0], words[:, 1]
        # Binary search over pairs of words, all addresses in step: searchsorted knows no numbers of 128 bits.
        at = np.zeros(len(words), np.int64)
        step = 1 << max(len(self._values) - 1, 0).bit_length()
        while step:
            ahead = at + step
            inside = ahead < len(self._values)
            probe = np.where(inside, ahead, 0)
            there_high, there_low = self._high[probe], self._low[probe]
            reached = inside & ((there_high < high) | ((there_high == high) & (there_low <= low)))
            at = np.where(reached, ahead, at)
            step >>= 1
        return self._values[at]


def _intervals(prefixes: list[tuple[int, int, int]]) -> tuple[list[int], list[int]]:
    """First addresses of intervals, in order from 0, and their numbers."""
    starts, values = [0], [-1]

    def begin(at: int, value: int) -> None:
        if at == _TOP:
            return
        if starts[-1] == at:
            values[-1] = value
        else:
            starts.append(at)
            values.append(value)

    # The whole of IPv4 as a prefix without a number: what holds it is a prefix of IPv6, which means no address of IPv4.
    nested = sorted([(MAPPED_FIRST, MAPPED_LAST, -1), *prefixes], key=lambda p: (p[0], -p[1]))
    around: list[tuple[int, int]] = []
    for first, last, value in [*nested, (_TOP, _TOP, -1)]:
        while around and around[-1][0] < first:
            ended, _ = around.pop()
            begin(ended + 1, around[-1][1] if around else -1)
        begin(first, value)
        around.append((last, value))
    return starts, values
