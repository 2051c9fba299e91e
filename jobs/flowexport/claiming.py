"""Loop of :mod:`jobs.flowexport.duplicates`, compiled."""

from __future__ import annotations

from infra.kernels import kernel


@kernel
def claim(order, at, owner, start, end, heard, gap, claimed, first, last, newest, theirs):
    """Go through records in order; ``theirs``: whose flow each is, 0: its own.

    ``claimed``, ``first``, ``last``, ``newest``: owner, times and last receipt by flow; changed.
    """
    for n in range(order.shape[0]):
        i = order[n]
        k = at[i]
        if claimed[k] != 0 and claimed[k] != owner[i]:
            if start[i] <= last[k] + gap[i] and end[i] >= first[k] - gap[i]:
                theirs[i] = claimed[k]
                continue
            claimed[k] = 0
        if claimed[k] == 0 or start[i] > last[k] + gap[i]:
            first[k] = start[i]
            last[k] = end[i]
        else:
            first[k] = min(first[k], start[i])
            last[k] = max(last[k], end[i])
        claimed[k] = owner[i]
        newest[k] = max(newest[k], heard[i])
