"""The loops of :mod:`jobs.windows.summary`, compiled."""

from __future__ import annotations

import numpy as np

from infra.kernels import kernel

#: What becomes of a word of rows with the same key.
FIRST, SUM, LEAST, MOST, NOTHING = range(5)
#: Places of the words of an item.
ROW, HASH, KIND = 0, 1, 8
#: Words of an item that add up, and the one whose bits do.
SUMS = PACKETS, BYTES_OUT, BYTES_IN, STARTED, SYN = (2, 3, 4, 5, 6)
BITS = 7


@kernel
def sum_rows(words, order, rules, tag, begin, out, group):
    """Rows (int64[n, w]) in an ``order`` that puts the same key together: summed up by ``rules`` into ``out``; how many they are.

    ``tag`` and ``begin``: words of the key. ``group``: of each row the one that it went into.
    """
    width = words.shape[1]
    n = -1
    last = -1
    for k in range(order.shape[0]):
        i = order[k]
        if last < 0 or words[i, tag] != words[last, tag] or words[i, begin] != words[last, begin]:
            n += 1
            for c in range(width):
                out[n, c] = 0 if rules[c] == NOTHING else words[i, c]
        else:
            for c in range(width):
                rule = rules[c]
                if rule == SUM:
                    out[n, c] += words[i, c]
                elif rule == LEAST:
                    out[n, c] = min(out[n, c], words[i, c])
                elif rule == MOST:
                    out[n, c] = max(out[n, c], words[i, c])
        group[i] = n
        last = i
    return n + 1


@kernel
def sample_items(words, rows, order, places, most, out):
    """Items (int64[m, 9]) by the ``rows`` that they go to, in the ``order`` of their ``places``; how many are left.

    Those of the same row, kind and hash are one; of each row and kind the ``most`` smallest hashes stay. Items of the same place
    (:func:`item_places`) need not be in the order of their hashes.
    """
    n = 0
    rank = 0
    last_row, last_kind = np.int64(-1), np.int64(-1)
    k = 0
    m = order.shape[0]
    while k < m:
        end = k + 1
        while end < m and places[order[end]] == places[order[k]]:
            end += 1
        for a in range(k + 1, end):  # of the same place: mostly one
            moved = order[a]
            b = a
            while b > k and np.uint64(words[order[b - 1], HASH]) > np.uint64(words[moved, HASH]):
                order[b] = order[b - 1]
                b -= 1
            order[b] = moved
        for a in range(k, end):
            i = order[a]
            row, kind = rows[i], words[i, KIND] & 0xFFFFFFFF
            same_kind = row == last_row and kind == last_kind
            if same_kind and rank <= most and n > 0 and out[n - 1, HASH] == words[i, HASH]:
                for c in SUMS:
                    out[n - 1, c] += words[i, c]
                out[n - 1, BITS] |= words[i, BITS]
                continue
            rank = rank + 1 if same_kind else 1
            last_row, last_kind = row, kind
            if rank > most:
                continue
            for c in range(words.shape[1]):
                out[n, c] = words[i, c]
            out[n, ROW] = row
            n += 1
        k = end
    return n


@kernel
def item_places(words, rows, places):
    """Of each item a number that sorts by row, kind and the upper 40 bits of the hash (for fewer than four million rows)."""
    for i in range(words.shape[0]):
        kind = np.uint64(words[i, KIND]) & np.uint64(3)
        places[i] = (np.uint64(rows[i]) << np.uint64(42)) | (kind << np.uint64(40)) | (np.uint64(words[i, HASH]) >> np.uint64(24))
