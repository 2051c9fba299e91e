"""The hour before: whom each source spoke to, and in which slots it began to.

What comes back once a minute is no pattern in a window of three; what was never spoken to is new only to who remembers. So each window of
the largest size leaves behind which destinations and pairs (destination and port) are in its samples, and in which slots flows to them
began, and is forgotten :data:`WINDOWS` windows later. What is remembered follows from the windows of that time alone, however long a
stream has run: who computes windows of the lake begins an hour earlier.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.windows.hashing import named
from jobs.windows.places import Places
from jobs.windows.recalling import count_unseen, find_connections, first_starts, gaps_of_rings, tag_items
from jobs.windows.rings import TRACE_DTYPE, WINDOWS, Rings
from jobs.windows.summary import ADDRESSES, PAIRS, PORTS, SLOTS, Summaries, words
from sensors.packets.protocols import IPPROTO_TCP

#: Slots of the hour with a start that make a beat.
BEATS = 4
#: How regular a pair is that counts as steady.
STEADY = 0.7
#: Bytes of a flow's packets both ways: a handshake that is refused has fewer.
_SAYS_SOMETHING = 150
#: A slot that is beyond every hour.
_NEVER = WINDOWS * SLOTS

Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


def needed(old: npt.NDArray[np.void] | Rings, new: npt.NDArray[np.void]) -> Bools:
    """bool[n]: old traces, or what is known, that are not an hour older than the newest new trace of their domain."""
    found = np.ones(len(old), bool)
    for domain in np.unique(new["domain"]):
        found &= (old["domain"] != domain) | (old["window"] > new["window"][new["domain"] == domain].max() - WINDOWS)
    return found


class Memory:
    """Of one cascade."""

    def __init__(self) -> None:
        self._set(Rings.of(np.zeros(0, TRACE_DTYPE)))

    def __len__(self) -> int:
        return len(self._known)

    def _set(self, known: Rings) -> None:
        self._known = known
        self._tags = Places(known["tag"])
        sources, self._source_of = np.unique(known["source"], return_inverse=True)
        self._sources = Places(sources)

    def add(self, new: npt.NDArray[np.void]) -> None:
        """Remember traces, and forget what is an hour older than the newest of its domain."""
        if not len(new):
            return
        known = self._known
        for window in np.unique(new["window"]).tolist():
            known = known.added(new[new["window"] == window], window)
        self._set(known.where(needed(known, new)))

    def traces(self, windows: Summaries, most: int) -> npt.NDArray[np.void]:
        """What windows of the largest size leave behind, TRACE_DTYPE[m], in the order of their items.

        So many of a domain at most: those of what is known first, then those of the smallest hashes.
        """
        items, source = windows.items, np.ascontiguousarray(windows.rows["tag"])
        number, tags, there = np.empty(len(items), np.int64), np.empty(len(items), np.uint64), np.empty(len(items), bool)
        n = tag_items(words(items), PORTS, source, *self._tags.index, number, tags, there)
        number, tags, there = number[:n], tags[:n], there[:n]
        used = np.unique(windows.rows["domain"])
        left = []
        for domain in used.tolist():
            of = slice(None) if len(used) == 1 else np.flatnonzero(windows.rows["domain"][items["row"][number]] == domain)
            chosen = _most(tags[of], there[of], most)
            out = np.zeros(len(chosen), TRACE_DTYPE)
            some = items[number[of][chosen]]
            out["domain"], out["source"], out["tag"] = named(windows.domains[domain]), source[some["row"]], tags[of][chosen]
            out["window"], out["when"] = windows.rows["begin"][some["row"]] // SLOTS, some["when"]
            left.append(out)
        return np.concatenate([np.zeros(0, TRACE_DTYPE), *left])

    def forget(self, domain: int) -> None:
        """Drop what is known of a domain, by its hash."""
        self._set(self._known.where(self._known["domain"] != domain))

    def knows(self, windows: Summaries) -> Bools:
        """bool[n]: rows whose source is remembered."""
        return np.asarray(self._sources.find(windows.rows["tag"]) >= 0)

    def unseen(self, windows: Summaries) -> None:
        """Set the share of each window's destinations that its source has not spoken to in the hour before."""
        oldest = windows.rows["begin"] // SLOTS - WINDOWS
        every, unseen = np.zeros(len(windows), np.int64), np.zeros(len(windows), np.int64)
        source = np.ascontiguousarray(windows.rows["tag"])
        count_unseen(words(windows.items), ADDRESSES, source, oldest, *self._tags.index, self._known["window"], every, unseen)
        windows.rows["unseen"] = unseen / np.maximum(every, 1)

    def rhythms(self, windows: Summaries) -> None:
        """Set what the youngest steady pair of each source did in the hour that ends with the window, which is remembered already.

        A pair is steady when its flows are connections that were answered, and of the gaps between the slots in which they began, with
        :data:`BEATS` slots at least, ``(1 - 1 / beats) / (1 + std / mean)`` is above :data:`STEADY`. Clocks, mail and monitoring are as
        steady as any beacon; what began last is what has changed. Of several the one counts whose first beat in the hour is the latest.
        """
        since = self._since(windows)
        windows.rows["source_age"] = WINDOWS * SLOTS - since
        items, beats, mean, score, first = self._connections(windows)
        order = np.flatnonzero((beats >= BEATS) & (score > STEADY))
        order = order[np.lexsort((items["hash"][order], score[order], first[order], items["row"][order]))]
        row = items["row"][order]
        windows.rows["steady"] = np.bincount(row, minlength=len(windows))
        best = order[np.append(row[1:] != row[:-1], True)[: len(row)]]
        out, row = windows.rows, items["row"][best]
        started = np.maximum(items["started"][best], 1)
        out["beats"][row], out["beat_score"][row], out["beat_period"][row] = beats[best], score[best], mean[best]
        out["beat_age"][row] = WINDOWS * SLOTS - first[best]
        out["beat_missed"][row] = (first[best] - since[row]) / mean[best]
        for name in ("packets", "bytes_out", "bytes_in"):
            out[f"beat_{name}"][row] = items[name][best] / started

    def _connections(self, windows: Summaries) -> tuple[npt.NDArray[Any], ...]:
        """Pairs of TCP that are answered, known and remembered of their window: their items; what :meth:`_steadiness` says of each."""
        items = windows.items
        number, place = np.empty(len(items), np.int64), np.empty(len(items), np.int64)
        how = (PAIRS, IPPROTO_TCP, _SAYS_SOMETHING, np.ascontiguousarray(windows.rows["tag"]))
        n = find_connections(words(items), *how, *self._tags.index, number, place)
        number, place = number[:n], place[:n]
        # A pair that the bound left out of this window is remembered as of an earlier one: of its hour nothing can be said.
        whole = self._known["window"][place] == windows.rows["begin"][items["row"][number]] // SLOTS
        return items[number[whole]], *self._steadiness(place[whole])

    def _steadiness(self, at: Ints) -> tuple[npt.NDArray[Any], ...]:
        """Of each pair's hour: slots with a start, mean gap between them in slots, how steady the gaps are, the first slot."""
        beats, first, total, squares = (np.zeros(len(at), np.int64) for _ in range(4))
        gaps_of_rings(self._known["when"], self._known["window"], at, SLOTS, beats, first, total, squares)
        gaps = np.maximum(beats - 1, 1)
        mean = total / gaps
        variance = np.maximum(squares / gaps - mean**2, 0.0)
        return beats, mean, (1 - 1 / np.maximum(beats, 1)) / (1 + np.sqrt(variance) / np.maximum(mean, 1e-9)), first

    def _since(self, windows: Summaries) -> Ints:
        """When the source of each row first began a flow in the hour that ends with its window: slots from the hour on, int64[n]."""
        at = self._sources.find(windows.rows["tag"])
        window, found = windows.rows["begin"] // SLOTS, np.zeros(len(windows), np.int64)
        for newest in np.unique(window).tolist():
            first = np.full(len(self._sources), _NEVER)
            first_starts(self._known["when"], self._known["window"], newest, SLOTS, self._source_of, first)
            rows = np.flatnonzero((window == newest) & (at >= 0))
            found[rows] = np.where(first[at[rows]] < _NEVER, first[at[rows]], 0)
        return found


def _most(tags: Hashes, known: Bools, most: int) -> Ints:
    """Which traces stay, in their order."""
    if len(tags) <= most:
        return np.arange(len(tags))
    first, others = np.flatnonzero(known), np.flatnonzero(~known)
    if len(first) >= most:
        return _smallest(tags, first, most)
    return np.sort(np.concatenate([first, _smallest(tags, others, most - len(first))]))


def _smallest(tags: Hashes, at: Ints, n: int) -> Ints:
    """So many places of those with the smallest tags; of equal ones the first."""
    some = tags[at]
    limit = np.partition(some, n - 1)[n - 1]
    below = some < limit
    below[np.flatnonzero(some == limit)[: n - int(below.sum())]] = True
    return at[below]
