"""Loops of :mod:`jobs.windows.memory` and :mod:`jobs.windows.features`, compiled: one pass over all items, whatever is asked."""

from __future__ import annotations

import numpy as np

from infra.kernels import kernel, piece
from jobs.windows.grouping import BITS, BYTES_IN, BYTES_OUT, HASH, KIND, ROW, STARTED, SYN
from jobs.windows.hashing import mixed_one


@piece
def _tag(source, item):
    """What an item of a source is remembered by."""
    return mixed_one(source ^ np.uint64(item[HASH]) ^ mixed_one(item[KIND] & 0xFFFFFFFF))


@piece
def _place(known, starts, shift, wanted):
    """Place of a hash among the known ones, or -1; see :class:`jobs.windows.places.Places`."""
    low, high = starts[wanted >> shift], starts[(wanted >> shift) + np.uint64(1)]
    while low < high:
        middle = (low + high) >> 1
        if known[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < known.shape[0] and known[low] == wanted else -1


@kernel
def places_of(known, starts, shift, wanted, out):
    """Place of each hash among the known ones, or -1."""
    for i in range(wanted.shape[0]):
        out[i] = _place(known, starts, shift, wanted[i])


@kernel
def count_unseen(items, of_kind, source, oldest, known, starts, shift, window, every, unseen):
    """Count the items of one kind by their rows, and those that are not known, or only from before the ``oldest`` window of their row."""
    for i in range(items.shape[0]):
        if items[i, KIND] & 0xFFFFFFFF != of_kind:
            continue
        row = items[i, ROW]
        every[row] += 1
        at = _place(known, starts, shift, _tag(source[row], items[i]))
        if at < 0 or window[at] < oldest[row]:
            unseen[row] += 1


@kernel
def tag_items(items, but, source, known, starts, shift, number, tags, there):
    """Number and tag of each item that is not of one kind, and whether it is known; how many they are."""
    n = 0
    for i in range(items.shape[0]):
        if items[i, KIND] & 0xFFFFFFFF == but:
            continue
        number[n] = i
        tags[n] = _tag(source[items[i, ROW]], items[i])
        there[n] = _place(known, starts, shift, tags[n]) >= 0
        n += 1
    return n


@kernel
def find_connections(items, of_kind, proto, little, source, known, starts, shift, number, place):
    """Number of each item of one kind that is known and of connections, and its place among the known; how many they are.

    Connections: of one protocol, a SYN began each flow, and what answers says more than ``little`` bytes a flow, both ways.
    """
    n = 0
    for i in range(items.shape[0]):
        started = items[i, STARTED]
        if (
            items[i, KIND] != (of_kind | proto << 32)
            or items[i, BITS] == 0
            or items[i, SYN] < started
            or items[i, BYTES_IN] <= 0
            or items[i, BYTES_OUT] + items[i, BYTES_IN] <= little * started
        ):
            continue
        at = _place(known, starts, shift, _tag(source[items[i, ROW]], items[i]))
        if at >= 0:
            number[n], place[n] = i, at
            n += 1
    return n


@kernel
def gaps_of_rings(when, window, at, slots, beats, first, total, squares):
    """Set bits of some rings, the first of them from the oldest on, sum of the gaps between them and of their squares.

    ``when``: uint64[n, windows], ``slots`` bits each; ``window``: int64[n], number of the newest; ``at``: which of them.
    """
    windows = when.shape[1]
    for i in range(at.shape[0]):
        last = -1
        for k in range(windows):
            word = when[at[i], (window[at[i]] + 1 + k) % windows]
            bit = 0
            while word != 0:
                if word & np.uint64(1):
                    slot = k * slots + bit
                    if last < 0:
                        first[i] = slot
                    else:
                        total[i] += slot - last
                        squares[i] += (slot - last) * (slot - last)
                    beats[i] += 1
                    last = slot
                word >>= np.uint64(1)
                bit += 1


@kernel
def first_starts(when, window, newest, slots, source, out):
    """By source, the first set bit of its rings that is among the windows up to ``newest``, in slots from the oldest of them on.

    ``when`` and ``window`` as of :func:`gaps_of_rings`; what a ring has of windows behind its own is of an hour before. ``source``:
    whose each ring is; what ``out`` has for it is lowered.
    """
    windows = when.shape[1]
    for i in range(when.shape[0]):
        for k in range(windows):
            at = newest - windows + 1 + k
            if at > window[i] or k * slots >= out[source[i]]:
                break
            if at <= window[i] - windows:
                continue
            word = when[i, at % windows]
            if word == 0:
                continue
            bit = 0
            while word & np.uint64(1) == 0:
                word >>= np.uint64(1)
                bit += 1
            out[source[i]] = min(out[source[i]], k * slots + bit)
            break
