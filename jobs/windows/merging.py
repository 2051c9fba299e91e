"""Two sorted summaries as one: the loops, compiled. What is sorted already is not sorted again."""

from __future__ import annotations

import numpy as np

from infra.kernels import kernel, piece
from jobs.windows.grouping import BITS, HASH, KIND, LEAST, MOST, NOTHING, ROW, SUM, SUMS

#: Of the rule of a row that the other has not.
_NONE = -1


@kernel
def merge_rows(a, b, rules, tag, begin, out, of_a, of_b):
    """Rows (int64[n, w], each by their key and each key once), those of one key by ``rules``, into ``out``; how many they are.

    ``tag`` and ``begin``: words of the key. ``of_a``, ``of_b``: of each row that came out, its row in either, or -1.
    """
    i, j, n = 0, 0, 0
    while i < a.shape[0] or j < b.shape[0]:
        order = _NONE if j == b.shape[0] else 1 if i == a.shape[0] else _rows_apart(a[i], b[j], tag, begin)
        of_a[n] = i if order <= 0 else _NONE
        of_b[n] = j if order >= 0 else _NONE
        first = a[i] if order <= 0 else b[j]
        for c in range(out.shape[1]):
            rule = rules[c]
            value = first[c]
            if rule == NOTHING:
                value = 0
            elif order == 0:
                if rule == SUM:
                    value += b[j, c]
                elif rule == LEAST:
                    value = min(value, b[j, c])
                elif rule == MOST:
                    value = max(value, b[j, c])
            out[n, c] = value
        i += order <= 0
        j += order >= 0
        n += 1
    return n


@piece
def _rows_apart(one, other, tag, begin):
    """-1, 0 or 1: which key comes first."""
    if one[tag] != other[tag]:
        return -1 if np.uint64(one[tag]) < np.uint64(other[tag]) else 1
    return -1 if one[begin] < other[begin] else 1 if one[begin] > other[begin] else 0


@kernel
def merge_items(a, b, of_a, of_b, n_rows, most, out):
    """Items (int64[m, 9], each by row, kind and hash) of rows that :func:`merge_rows` merged, into ``out``; how many are left.

    Those of one row, kind and hash are one; of each row and kind the ``most`` smallest hashes stay.
    """
    i, j, n = 0, 0, 0
    for row in range(n_rows):
        end_a, end_b = _end(a, i, of_a[row]), _end(b, j, of_b[row])
        last_kind, rank = np.int64(-1), 0
        while i < end_a or j < end_b:
            order = _NONE if j == end_b else 1 if i == end_a else _items_apart(a[i], b[j])
            first = a[i] if order <= 0 else b[j]
            kind = first[KIND] & 0xFFFFFFFF
            rank = rank + 1 if kind == last_kind else 1
            last_kind = kind
            if rank <= most:
                for c in range(out.shape[1]):
                    out[n, c] = first[c]
                out[n, ROW] = row
                if order == 0:
                    for c in SUMS:
                        out[n, c] += b[j, c]
                    out[n, BITS] |= b[j, BITS]
                n += 1
            i += order <= 0
            j += order >= 0
    return n


@piece
def _end(items, at, row):
    """Behind the items of a row, which begin at a place; the place where there is no such row."""
    while row >= 0 and at < items.shape[0] and items[at, ROW] == row:
        at += 1
    return at


@piece
def _items_apart(one, other):
    """-1, 0 or 1: which kind and hash come first."""
    kind, of_other = one[KIND] & 0xFFFFFFFF, other[KIND] & 0xFFFFFFFF
    if kind != of_other:
        return -1 if kind < of_other else 1
    if one[HASH] == other[HASH]:
        return 0
    return -1 if np.uint64(one[HASH]) < np.uint64(other[HASH]) else 1


@kernel
def in_order(rows, items, tag, begin):
    """Whether rows are by their key and each key once, and items by row, kind and hash and each once."""
    for i in range(1, rows.shape[0]):
        if _rows_apart(rows[i - 1], rows[i], tag, begin) >= 0:
            return False
    for i in range(1, items.shape[0]):
        if items[i - 1, ROW] > items[i, ROW] or (items[i - 1, ROW] == items[i, ROW] and _items_apart(items[i - 1], items[i]) >= 0):
            return False
    return True
