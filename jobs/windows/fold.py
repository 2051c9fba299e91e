"""So many sources at most: beyond, those that say least are summed up by their prefixes.

Addresses are free to forge. A flood of a million of them must cost neither the memory nor the attention that a million sources deserve;
what they did together must not be lost. Kept as they are: first those that are remembered from before, then those with most packets.
The others become their networks, which have a prefix for an address: as fine as the bound allows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jobs.windows.prefixes import shorten
from jobs.windows.summary import SOURCE, Summaries, grouped, merge

#: Lengths of prefixes, the finest first: IPv4, IPv6.
PREFIXES: tuple[tuple[int, int], ...] = ((24, 48), (16, 32), (8, 16), (0, 0))


def folded(windows: Summaries, most: int, known: npt.NDArray[np.bool_]) -> tuple[Summaries, npt.NDArray[np.void]]:
    """At most so many rows a slot or window, and the rows of the sources that were summed up.

    Parameters
    ----------
    windows
        Of one size.
    most
        Rows of each ``begin``.
    known
        bool[n]: rows of sources that are remembered.
    """
    begins, count = np.unique(windows.rows["begin"], return_counts=True)
    over = np.zeros(len(windows), bool)
    for begin in begins[count > most].tolist():
        here = np.flatnonzero(windows.rows["begin"] == begin)
        rows = windows.rows[here]
        whole = ~summed_up(rows)
        packets = rows["packets_out"] + rows["packets_in"]
        order = np.lexsort([rows[name] for name in reversed(SOURCE)] + [-packets, ~known[here], ~whole])
        over[here[order[most // 2 :]]] = True
    if not over.any():
        return windows, windows.rows[:0]
    kept, rest = windows.where(~over), windows.where(over)
    for v4, v6 in PREFIXES:
        short = _shortened(rest, v4, v6)
        if np.unique(short.rows["begin"], return_counts=True)[1].max() <= most - most // 2:
            break
    return merge([kept, short]), rest.rows


def summed_up(rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """bool[n]: rows of networks of sources that there was no room for."""
    return np.asarray(rows["bits"] <= np.where(rows["ipver"] == 4, *PREFIXES[0]))


def _shortened(windows: Summaries, v4: int, v6: int) -> Summaries:
    rows = windows.rows.copy()
    shorten(rows, v4, v6, windows.domains)
    return grouped(rows, windows.items, windows.domains)
