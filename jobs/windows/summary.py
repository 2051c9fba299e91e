"""Summaries: what sources did in spans of time, in a form that adds up exactly.

A summary is counters, moments of its 5 s parts and bounded samples of whom the source spoke to. Two summaries of one source, of spans that
do not overlap or of parts of the same span, merge to what one summary of both would have been, in any order: counters add, times take the
extremes, samples are bottom-k sketches (:mod:`jobs.sinks.sketch`), which keep the k smallest hashes. A value among the k smallest of the
union is among the k smallest of each part that has it, so the number of its packets is exact however the parts were cut.

Rows lie sorted by :data:`KEY`; what there is any number of (destinations, ports, pairs of both) lies beside them, by row and hash.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jobs.windows.grouping import FIRST, LEAST, MOST, NOTHING, SUM, item_places, sample_items, sum_rows
from jobs.windows.merging import in_order, merge_items, merge_rows
from schemas.windows import SIZES

T = TypeVar("T", bound=np.generic)
#: Smallest hashes that are kept of each kind, of one source and window. Beyond, numbers are estimates: 9 % (one standard error).
K = 128
#: What is kept a sample of: destination addresses, destination ports (with protocol), pairs of both.
ADDRESSES, PORTS, PAIRS = range(3)
#: 5 s slots in the largest window: bits of ``when``.
SLOTS = SIZES[-1] // SIZES[0]

#: What tells a source from another. ``bits``: length of its prefix, 32 or 128 for one address (:mod:`jobs.windows.fold`).
SOURCE: tuple[str, ...] = ("domain", "ipver", "bits", "src_hi", "src_lo")
#: What tells a summary from another. ``tag``: a hash of the source; ``begin``: number of its first 5 s slot since 1970.
KEY: tuple[str, ...] = ("tag", "begin")
_KEY_FIELDS = [("tag", "u8"), ("domain", "u4"), ("ipver", "u2"), ("bits", "u2"), ("src_hi", "u8"), ("src_lo", "u8"), ("begin", "i8")]
KEY_DTYPE = np.dtype(_KEY_FIELDS)
#: Numbers that add up. "out" is from the source, which began the flow, "in" is to it.
COUNTERS: tuple[str, ...] = (
    "packets_out", "packets_in", "bytes_out", "bytes_in", "data_out", "data_in", "flows_started", "syn", "syn_ack", "ack_out", "ack_in",
    "fin_out", "fin_in", "rst_out", "rst_in", "tcp_packets", "udp_packets", "icmp_packets", "tcp_started", "udp_started",
)  # fmt: skip
#: Of the 5 s parts: what the larger windows have least, largest, sum and sum of squares of.
SERIES: tuple[str, ...] = ("packets", "bytes", "started")
#: Bits of a value that its square leaves out (so does the sum ``_part``): 36 squares of the bytes of 5 s would not fit otherwise.
COARSE: dict[str, int] = {"packets": 0, "bytes": 10, "started": 0}
#: What the hour before has to say about a window (:mod:`jobs.windows.memory`): set when it is made, and in no sum.
RECALLED: tuple[str, ...] = (
    "unseen", "source_age", "steady", "beats", "beat_score", "beat_period", "beat_age", "beat_missed", "beat_packets", "beat_bytes_out",
    "beat_bytes_in",
)  # fmt: skip
ROW_DTYPE = np.dtype(
    [
        *_KEY_FIELDS,
        ("first", "i8"),  # us
        ("last", "i8"),
        ("parts", "i8"),  # 5 s records in it; 0: it is a part of one
        *((name, "i8") for name in COUNTERS),
        *((f"{name}_{what}", "i8") for name in SERIES for what in ("min", "max", "sum", "part", "sq")),
        *((name, "f8") for name in RECALLED),
    ]
)
ITEM_DTYPE = np.dtype(
    [
        ("row", "i8"),
        ("hash", "u8"),
        ("packets", "i8"),  # both ways
        ("bytes_out", "i8"),
        ("bytes_in", "i8"),
        ("started", "i8"),  # flows
        ("syn", "i8"),  # without ACK, out
        ("when", "u8"),  # bit n: a flow began in slot n of the largest window
        ("kind", "u4"),
        ("proto", "u4"),  # of ports and pairs
    ]
)

_WORDS: tuple[str, ...] = tuple(
    name for name in ROW_DTYPE.names or () if name not in ("ipver", "bits")
)  # 8 bytes each, or those with domain
_RULE_OF = {
    **dict.fromkeys(("parts", *COUNTERS, *(f"{name}_{what}" for name in SERIES for what in ("sum", "part", "sq"))), SUM),
    **dict.fromkeys(("first", *(f"{name}_min" for name in SERIES)), LEAST),
    **dict.fromkeys(("last", *(f"{name}_max" for name in SERIES)), MOST),
    **dict.fromkeys(RECALLED, NOTHING),
}
_RULES = np.array([_RULE_OF.get(name, FIRST) for name in _WORDS], np.int64)
_KEY_WORDS = (_WORDS.index("tag"), _WORDS.index("begin"))


@dataclass(frozen=True)
class Summaries:
    """Summaries of n sources and spans.

    Attributes
    ----------
    rows : ROW_DTYPE[n]
        Sorted by :data:`KEY`, each key once.
    items : ITEM_DTYPE[m]
        Sorted by row, kind and hash, each once; at most :data:`K` of a row and kind.
    domains
        Names by the rows' domain number, sorted.
    """

    rows: npt.NDArray[np.void]
    items: npt.NDArray[np.void]
    domains: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def distinct(self) -> tuple[npt.NDArray[np.float64], ...]:
        """Numbers of distinct destinations, ports and pairs, float64[n] each: exact below :data:`K`, estimates from there on.

        ``(k - 1) / h`` of the k-th smallest hash ``h`` in (0, 1]; relative standard error ``1 / sqrt(k - 2)`` (Beyer et al., SIGMOD 2007).
        """
        return tuple(self._distinct(kind) for kind in (ADDRESSES, PORTS, PAIRS))

    @cached_property
    def of_kind(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Numbers of the items of each kind."""
        kind = self.items["kind"].astype(np.uint8)  # once: an item has many columns, and a look at one of them reads them all
        return tuple(np.flatnonzero(kind == which) for which in (ADDRESSES, PORTS, PAIRS))

    def _distinct(self, kind: int) -> npt.NDArray[np.float64]:
        at = self.of_kind[kind]
        row = self.items["row"][at]
        count = np.bincount(row, minlength=len(self)).astype(np.float64)
        full = count >= K
        if not full.any():
            return count
        largest = np.zeros(len(self), np.uint64)
        largest[row] = self.items["hash"][at]  # of several the last one stays, which is the largest
        count[full] = np.round((K - 1) / ((largest[full].astype(np.float64) + 1.0) / 2.0**64))
        return count

    @classmethod
    def none(cls) -> Summaries:
        """No source."""
        return cls(np.zeros(0, ROW_DTYPE), np.zeros(0, ITEM_DTYPE), ())

    def where(self, mask: npt.NDArray[np.bool_]) -> Summaries:
        """The rows that a mask selects."""
        if mask.all():
            return self
        if not mask.any():
            return Summaries(np.zeros(0, ROW_DTYPE), np.zeros(0, ITEM_DTYPE), self.domains)
        at = np.cumsum(mask) - 1
        items = self.items[mask[self.items["row"]]]
        items["row"] = at[items["row"]]
        return Summaries(self.rows[mask], items, self.domains)


def merge(parts: Sequence[Summaries]) -> Summaries:
    """All summaries together, those of the same key merged."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else Summaries.none()
    domains = tuple(sorted({part.domains[i] for part in parts for i in np.unique(part.rows["domain"])}))
    waiting = [(len(part.items), number, _numbered(part, domains)) for number, part in enumerate(parts)]
    heapq.heapify(waiting)
    while len(waiting) > 1:  # the smallest first: so what is large is copied least often
        (_, number, one), (*_, other) = heapq.heappop(waiting), heapq.heappop(waiting)
        both = _merged(one, other)
        heapq.heappush(waiting, (len(both.items), number, both))
    return waiting[0][2]


def _numbered(part: Summaries, domains: tuple[str, ...]) -> Summaries:
    """The same by the numbers of other names."""
    if part.domains == domains:
        return part
    number = np.array([domains.index(name) if name in domains else 0 for name in part.domains], np.uint32)
    rows = part.rows.copy()
    rows["domain"] = number[rows["domain"]]
    return Summaries(rows, part.items, domains)


def _merged(a: Summaries, b: Summaries) -> Summaries:
    """Two of the same domains."""
    (rows_a, items_a), (rows_b, items_b) = ((words(some.rows), words(some.items)) for some in (a, b))
    n = len(a) + len(b)
    out, of_a, of_b = np.empty((n, rows_a.shape[1]), np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    count = merge_rows(rows_a, rows_b, _RULES, *_KEY_WORDS, out, of_a, of_b)
    items = np.empty((len(items_a) + len(items_b), items_a.shape[1]), np.int64)
    left = merge_items(items_a, items_b, of_a, of_b, count, K, items)
    return Summaries(_structs(filled(out, count), ROW_DTYPE), _structs(filled(items, left), ITEM_DTYPE), a.domains)


def ordered(rows: npt.NDArray[np.void], items: npt.NDArray[np.void]) -> bool:
    """Whether rows and items are in the order that summaries have."""
    return bool(in_order(words(rows), words(items), *_KEY_WORDS))


def words(rows: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Rows or items as compiled code takes them: words of 8 bytes, int64[n, w]."""
    return np.ascontiguousarray(rows).view(np.int64).reshape(len(rows), rows.dtype.itemsize // 8)


def filled(room: npt.NDArray[T], n: int) -> npt.NDArray[T]:
    """The first so many rows or items. What lies behind them was never written to: of a large array it takes no memory."""
    return room[:n] if 2 * n >= len(room) else room[:n].copy()


def _structs(some: npt.NDArray[np.int64], dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    return some.reshape(-1).view(dtype)


def by_key(rows: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """An order of rows, or of their keys, that puts them by :data:`KEY`, int64[n]."""
    if np.ptp(rows["begin"]):
        return np.lexsort((rows["begin"], rows["tag"]))
    return np.argsort(rows["tag"], kind="stable")


def grouped(rows: npt.NDArray[np.void], items: npt.NDArray[np.void], domains: tuple[str, ...]) -> Summaries:
    """Rows in any order, the same key any number of times, as summaries; ``items`` are by their rows."""
    n = len(rows)
    if not n:
        return Summaries.none()
    of_rows = words(rows)
    out, group = np.empty_like(of_rows), np.empty(n, np.int64)
    count = sum_rows(of_rows, by_key(rows), _RULES, *_KEY_WORDS, out, group)
    return Summaries(_structs(filled(out, count), ROW_DTYPE), _sampled(items, group), domains)


def _sampled(items: npt.NDArray[np.void], group: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    """Items of the same row, kind and hash as one; of each row and kind the :data:`K` smallest hashes."""
    m = len(items)
    if not m:
        return items
    of_items = words(items)
    rows = group[items["row"]]
    if int(rows.max()) >= 1 << 22:
        raise OverflowError(f"{int(rows.max()) + 1:,} summaries at once, four million are the most: windows.max_sources is too large")
    places = np.empty(m, np.uint64)
    item_places(of_items, rows, places)
    out = np.empty_like(of_items)
    count = sample_items(of_items, rows, np.argsort(places, kind="stable"), places, K, out)
    return _structs(filled(out, count), ITEM_DTYPE)


def closed(parts: Summaries) -> Summaries:
    """Summaries of 5 s that nothing is added to any more, as records: they are one part each, and the values of a series."""
    rows = parts.rows.copy()
    rows["parts"] = 1
    values = {
        "packets": rows["packets_out"] + rows["packets_in"],
        "bytes": rows["bytes_out"] + rows["bytes_in"],
        "started": rows["flows_started"],
    }
    for name, value in values.items():
        for what in ("min", "max", "sum"):
            rows[f"{name}_{what}"] = value
        part = value >> COARSE[name]
        rows[f"{name}_part"], rows[f"{name}_sq"] = part, part * part
    return Summaries(rows, parts.items, parts.domains)


def widened(records: Summaries, slots: int) -> Summaries:
    """5 s records as windows of so many slots, aligned to multiples of them."""
    rows = records.rows.copy()
    rows["begin"] -= rows["begin"] % slots
    again = (rows["tag"][1:] == rows["tag"][:-1]) & (rows["begin"][1:] == rows["begin"][:-1])
    if again.any():
        return grouped(rows, records.items, records.domains)
    for name in RECALLED:  # each is a window by itself, and in order: earlier records are in earlier windows
        rows[name] = 0
    return Summaries(rows, records.items, records.domains)
