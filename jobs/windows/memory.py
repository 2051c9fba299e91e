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

from jobs.windows.grouping import first_starts, gaps_of_hours
from jobs.windows.hashing import mixed, named
from jobs.windows.summary import ADDRESSES, PAIRS, PORTS, SLOTS, Summaries
from sensors.packets.protocols import IPPROTO_TCP

#: Largest windows that are remembered: an hour of 180 s.
WINDOWS = 20
#: Slots of the hour with a start that make a beat.
BEATS = 4
#: How regular a pair is that counts as steady.
STEADY = 0.7
#: Bytes of a flow's packets both ways: a handshake that is refused has fewer.
_SAYS_SOMETHING = 150
#: What one window leaves behind of one destination or pair.
TRACE_DTYPE = np.dtype([("domain", "u8"), ("source", "u8"), ("tag", "u8"), ("window", "i8"), ("when", "u8")])
_KNOWN_DTYPE = np.dtype([("domain", "u8"), ("source", "u8"), ("tag", "u8"), ("window", "i8"), ("when", "u8", (WINDOWS,))])

Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]


def traces(windows: Summaries) -> npt.NDArray[np.void]:
    """What windows of the largest size leave behind, TRACE_DTYPE[m], by tag and window."""
    items = windows.items[windows.items["kind"] != PORTS]
    names = np.array([named(name) for name in windows.domains] or [0], np.uint64)
    out = np.zeros(len(items), TRACE_DTYPE)
    source = windows.rows["tag"][items["row"]]
    out["domain"] = names[windows.rows["domain"][items["row"]]]
    out["source"], out["tag"], out["when"] = source, _tags(source, items), items["when"]
    out["window"] = windows.rows["begin"][items["row"]] // SLOTS
    return out


def needed(old: npt.NDArray[np.void], new: npt.NDArray[np.void]) -> Bools:
    """bool[n]: old traces, or what is known, that are not an hour older than the newest new trace of their domain."""
    found = np.ones(len(old), bool)
    for domain in np.unique(new["domain"]):
        found &= (old["domain"] != domain) | (old["window"] > new["window"][new["domain"] == domain].max() - WINDOWS)
    return found


def _tags(source: Hashes, items: npt.NDArray[np.void]) -> Hashes:
    return mixed(source ^ items["hash"] ^ mixed(items["kind"].astype(np.uint64)))


class Memory:
    """Of one cascade."""

    def __init__(self) -> None:
        self._known = np.zeros(0, _KNOWN_DTYPE)  # by tag
        self._sources: Hashes = np.zeros(0, np.uint64)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, new: npt.NDArray[np.void]) -> None:
        """Remember traces, and forget what is an hour older than the newest of its domain."""
        if not len(new):
            return
        for window in np.unique(new["window"]).tolist():
            self._add(new[new["window"] == window], window)
        known = self._known[needed(self._known, new)]
        self._known = known
        self._sources = np.unique(known["source"])

    def _add(self, new: npt.NDArray[np.void], window: int) -> None:
        new = new[np.argsort(new["tag"])]
        at, there = _found(self._known["tag"], new["tag"])
        known, old = self._known, at[there]
        gone = window - known["window"][old]  # windows since the last: their places in the ring are of an hour ago
        for step in range(1, min(int(gone.max(initial=0)), WINDOWS) + 1):
            some = old[gone >= step]
            known["when"][some, (known["window"][some] + step) % WINDOWS] = 0
        known["window"][old] = np.maximum(known["window"][old], window)
        known["when"][old, window % WINDOWS] = new["when"][there]
        fresh = new[~there]
        if len(fresh):
            more = np.zeros(len(fresh), _KNOWN_DTYPE)
            for name in ("domain", "source", "tag", "window"):
                more[name] = fresh[name]
            more["when"][:, window % WINDOWS] = fresh["when"]
            together = np.concatenate([known, more])
            self._known = together[np.argsort(together["tag"], kind="stable")]

    def most(self, new: npt.NDArray[np.void], most: int) -> npt.NDArray[np.void]:
        """So many of the traces of a window at most: those of what is known first, then those of the smallest hashes."""
        if len(new) <= most:
            return new
        _, known = _found(self._known["tag"], new["tag"])
        return new[np.sort(np.lexsort((new["tag"], ~known))[:most])]

    def forget(self, domain: int) -> None:
        """Drop what is known of a domain, by its hash."""
        self._known = self._known[self._known["domain"] != domain]
        self._sources = np.unique(self._known["source"])

    def knows(self, windows: Summaries) -> Bools:
        """bool[n]: rows whose source is remembered."""
        return _found(self._sources, windows.rows["tag"])[1]

    def unseen(self, windows: Summaries) -> None:
        """Set the share of each window's destinations that its source has not spoken to in the hour before."""
        items = windows.items[windows.items["kind"] == ADDRESSES]
        at, there = _found(self._known["tag"], _tags(windows.rows["tag"][items["row"]], items))
        oldest = windows.rows["begin"][items["row"]] // SLOTS - WINDOWS
        there[there] &= self._known["window"][at[there]] >= oldest[there]
        every = np.bincount(items["row"], minlength=len(windows))
        windows.rows["unseen"] = np.bincount(items["row"], ~there, minlength=len(windows)) / np.maximum(every, 1)

    def rhythms(self, windows: Summaries) -> None:
        """Set what the youngest steady pair of each source did in the hour that ends with the window, which is remembered already.

        A pair is steady when its flows are connections that were answered, and of the gaps between the slots in which they began, with
        :data:`BEATS` slots at least, ``(1 - 1 / beats) / (1 + std / mean)`` is above :data:`STEADY`. Clocks, mail and monitoring are as
        steady as any beacon; what began last is what has changed. Of several the one counts whose first beat in the hour is the latest.
        """
        since = self._since(windows)
        windows.rows["source_age"] = WINDOWS * SLOTS - since
        items = windows.items[_connections(windows.items)]
        at, there = _found(self._known["tag"], _tags(windows.rows["tag"][items["row"]], items))
        items, at = items[there], at[there]
        beats, mean, score, first = _steadiness(self._known[at])
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

    def _since(self, windows: Summaries) -> npt.NDArray[np.int64]:
        """When the source of each row first began a flow in the hour that ends with its window: slots from the hour on, int64[n]."""
        found = np.zeros(len(windows), np.int64)
        window = windows.rows["begin"] // SLOTS
        for newest in np.unique(window).tolist():
            rows = np.flatnonzero(window == newest)
            known = self._known[np.isin(self._known["source"], windows.rows["tag"][rows])]
            first = np.empty(len(known), np.int64)
            first_starts(np.ascontiguousarray(known["when"]), np.ascontiguousarray(known["window"]), newest, SLOTS, first)
            known, first = known["source"][first >= 0], first[first >= 0]
            order = np.lexsort((first, known))
            begins = np.append(True, known[order][1:] != known[order][:-1])[: len(order)]
            at, there = _found(known[order][begins], windows.rows["tag"][rows])
            found[rows[there]] = first[order][begins][at[there]]
        return found


def _connections(items: npt.NDArray[np.void]) -> Bools:
    """bool[m]: pairs of TCP that a SYN began each flow to, and that answer with more than a refusal."""
    small = items["bytes_out"] + items["bytes_in"] <= _SAYS_SOMETHING * items["started"]
    began = (items["kind"] == PAIRS) & (items["proto"] == IPPROTO_TCP) & (items["when"] != 0) & (items["syn"] >= items["started"])
    return np.asarray(began & (items["bytes_in"] > 0) & ~small)


def _steadiness(known: npt.NDArray[np.void]) -> tuple[npt.NDArray[Any], ...]:
    """Of each pair's hour: slots with a start, mean gap between them in slots, how steady the gaps are, the first slot."""
    n = len(known)
    beats, first, total, squares = (np.zeros(n, np.int64) for _ in range(4))
    gaps_of_hours(np.ascontiguousarray(known["when"]), np.ascontiguousarray(known["window"]), SLOTS, beats, first, total, squares)
    gaps = np.maximum(beats - 1, 1)
    mean = total / gaps
    variance = np.maximum(squares / gaps - mean**2, 0.0)
    return beats, mean, (1 - 1 / np.maximum(beats, 1)) / (1 + np.sqrt(variance) / np.maximum(mean, 1e-9)), first


def _found(known: Hashes, wanted: Hashes) -> tuple[npt.NDArray[np.int64], Bools]:
    """Places of the wanted among the sorted known, int64[n], and which of them are there, bool[n]."""
    at = np.searchsorted(known, wanted)
    there = np.zeros(len(wanted), bool)
    if len(known):
        at = np.minimum(at, len(known) - 1)
        there = known[at] == wanted
    return at, there
