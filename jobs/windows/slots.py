"""From the slices of a meter to summaries of 5 s."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.windows.prefixes import shorten
from jobs.windows.summary import ITEM_DTYPE, KEY_DTYPE, ROW_DTYPE, SLOTS, K, Summaries, by_key, filled, words
from jobs.windows.summing import sum_slices
from schemas.windows import SIZES

#: Seconds of the smallest window.
SECONDS = SIZES[0]


def summed(slices: npt.NDArray[np.void], domains: Sequence[str], ipv6_prefix: int = 128) -> Summaries:
    """Slices by source and slot.

    Parameters
    ----------
    slices
        :data:`jobs.metering.slices.SLICE_DTYPE`, of slots of :data:`SECONDS`.
    domains
        Names by their domain number; two lives of a domain have one.
    ipv6_prefix
        Bits of an IPv6 address that make a source: with 64 the temporary addresses of a network's hosts (RFC 8981) are one.
    """
    n = len(slices)
    if not n:
        return Summaries.none()
    names = tuple(sorted(set(domains)))
    keys = np.zeros(n, KEY_DTYPE)
    keys["domain"] = np.array([names.index(name) for name in domains] or [0], np.uint32)[slices["domain"]]
    for name in ("ipver", "src_hi", "src_lo"):
        keys[name] = slices[name]
    keys["bits"] = np.where(slices["ipver"] == 4, 32, 128)
    shorten(keys, 32, ipv6_prefix, names)
    keys["begin"] = slices["slot"]
    rows, items = np.zeros(n, ROW_DTYPE), np.empty(3 * n, ITEM_DTYPE)
    room = np.empty(n, np.uint64), np.empty(n, np.int64)
    count, left = sum_slices(slices, keys, by_key(keys), SLOTS, K, rows, words(items), *room)
    return Summaries(filled(rows, count), filled(items, left), names)
