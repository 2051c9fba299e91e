"""Summaries: what sources did in spans of time, in a form that adds up exactly.

A summary is counters, moments of its 5 s parts and bounded samples of whom the source spoke to. Two summaries of one source, of spans that
do not overlap or of parts of the same span, merge to what one summary of both would have been, in any order: counters add, times take the
extremes, samples are bottom-k sketches (:mod:`jobs.sinks.sketch`), which keep the k smallest hashes. A value among the k smallest of the
union is among the k smallest of each part that has it, so the number of its packets is exact however the parts were cut.

Rows lie sorted by :data:`KEY`; what there is any number of (destinations, ports, pairs of both) lies beside them, by row and hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from schemas.windows import SIZES

#: Smallest hashes that are kept of each kind, of one source and window. Beyond, numbers are estimates: 9 % (one standard error).
K = 128
#: What is kept a sample of: destination addresses, destination ports (with protocol), pairs of both.
ADDRESSES, PORTS, PAIRS = range(3)
#: 5 s slots in the largest window: bits of ``when``.
SLOTS = SIZES[-1] // SIZES[0]

#: What tells a source from another. ``bits``: length of its prefix, 32 or 128 for one address (:mod:`jobs.windows.fold`).
SOURCE: tuple[str, ...] = ("domain", "ipver", "bits", "src_hi", "src_lo")
#: What tells a summary from another. ``begin``: number of its first 5 s slot since 1970.
KEY: tuple[str, ...] = (*SOURCE, "begin")
_KEY_FIELDS = [("domain", "u4"), ("ipver", "u2"), ("bits", "u2"), ("src_hi", "u8"), ("src_lo", "u8"), ("begin", "i8")]
#: Numbers that add up. "out" is from the source, which began the flow, "in" is to it.
COUNTERS: tuple[str, ...] = (
    "packets_out", "packets_in", "bytes_out", "bytes_in", "data_out", "data_in", "flows_started", "syn", "syn_ack", "ack_out", "ack_in",
    "fin_out", "fin_in", "rst_out", "rst_in", "tcp_packets", "udp_packets", "icmp_packets", "tcp_started", "udp_started",
)  # fmt: skip
#: Of the 5 s parts: what the larger windows have least, largest, sum and sum of squares of.
SERIES: tuple[str, ...] = ("packets", "bytes", "started")
#: What the hour before has to say about a window (:mod:`jobs.windows.memory`): set when it is made, and in no sum.
RECALLED: tuple[str, ...] = (
    "unseen", "steady", "beats", "beat_score", "beat_period", "beat_age", "beat_packets", "beat_bytes_out", "beat_bytes_in",
)  # fmt: skip
ROW_DTYPE = np.dtype(
    [
        *_KEY_FIELDS,
        ("first", "i8"),  # us
        ("last", "i8"),
        ("parts", "i8"),  # 5 s records in it; 0: it is a part of one
        *((name, "i8") for name in COUNTERS),
        *((f"{name}_{what}", "i8") for name in SERIES for what in ("min", "max", "sum", "sq")),
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

    def _distinct(self, kind: int) -> npt.NDArray[np.float64]:
        items = self.items[self.items["kind"] == kind]
        count = np.bincount(items["row"], minlength=len(self)).astype(np.float64)
        largest = np.zeros(len(self), np.uint64)
        np.maximum.at(largest, items["row"], items["hash"])
        full = count >= K
        count[full] = np.round((K - 1) / ((largest[full].astype(np.float64) + 1.0) / 2.0**64))
        return count

    @classmethod
    def none(cls) -> Summaries:
        """No source."""
        return cls(np.zeros(0, ROW_DTYPE), np.zeros(0, ITEM_DTYPE), ())

    def where(self, mask: npt.NDArray[np.bool_]) -> Summaries:
        """The rows that a mask selects."""
        at = np.cumsum(mask) - 1
        items = self.items[mask[self.items["row"]]]
        items["row"] = at[items["row"]]
        return Summaries(self.rows[mask], items, self.domains)


def merge(parts: Sequence[Summaries]) -> Summaries:
    """All summaries together, those of the same key merged."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return Summaries.none()
    domains = tuple(sorted({part.domains[i] for part in parts for i in np.unique(part.rows["domain"])}))
    rows, items, at = [], [], 0
    for part in parts:
        renumbered = part.rows.copy()
        number = np.array([domains.index(name) if name in domains else 0 for name in part.domains], np.uint16)
        renumbered["domain"] = number[part.rows["domain"]]
        moved = part.items.copy()
        moved["row"] += at
        rows.append(renumbered)
        items.append(moved)
        at += len(part)
    return grouped(np.concatenate(rows), np.concatenate(items), domains)


def grouped(rows: npt.NDArray[np.void], items: npt.NDArray[np.void], domains: tuple[str, ...]) -> Summaries:
    """Rows in any order, the same key any number of times, as summaries; ``items`` are by their rows."""
    if not len(rows):
        return Summaries.none()
    order = np.lexsort([rows[name] for name in reversed(KEY)])
    rows = rows[order]
    begins = np.ones(len(rows), bool)
    begins[1:] = np.logical_or.reduce([rows[name][1:] != rows[name][:-1] for name in KEY])
    starts = np.flatnonzero(begins)
    group = np.cumsum(begins) - 1
    out = np.zeros(len(starts), ROW_DTYPE)
    for name in KEY:
        out[name] = rows[name][starts]
    for name in ("parts", *COUNTERS, *(f"{name}_{what}" for name in SERIES for what in ("sum", "sq"))):
        out[name] = np.add.reduceat(rows[name], starts)
    out["first"], out["last"] = np.minimum.reduceat(rows["first"], starts), np.maximum.reduceat(rows["last"], starts)
    for name in SERIES:
        out[f"{name}_min"] = np.minimum.reduceat(rows[f"{name}_min"], starts)
        out[f"{name}_max"] = np.maximum.reduceat(rows[f"{name}_max"], starts)
    place = np.empty(len(rows), np.int64)
    place[order] = group
    moved = items.copy()
    moved["row"] = place[items["row"]]
    return Summaries(out, _sampled(moved), domains)


def _sampled(items: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Items of the same row, kind and hash as one; of each row and kind the :data:`K` smallest hashes."""
    if not len(items):
        return items
    items = items[np.lexsort((items["hash"], items["kind"], items["row"]))]
    same_kind = (items["row"][1:] == items["row"][:-1]) & (items["kind"][1:] == items["kind"][:-1])
    begins = np.ones(len(items), bool)
    begins[1:] = ~same_kind | (items["hash"][1:] != items["hash"][:-1])
    starts = np.flatnonzero(begins)
    out = items[starts]
    for name in ("packets", "bytes_out", "bytes_in", "started", "syn"):
        out[name] = np.add.reduceat(items[name], starts)
    out["when"] = np.bitwise_or.reduceat(items["when"], starts)
    first = np.ones(len(out), bool)
    first[1:] = (out["row"][1:] != out["row"][:-1]) | (out["kind"][1:] != out["kind"][:-1])
    begin = np.flatnonzero(first)
    rank = np.arange(len(out)) - begin[np.cumsum(first) - 1]
    return np.asarray(out[rank < K])


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
        rows[f"{name}_sq"] = value * value
    return Summaries(rows, parts.items, parts.domains)


def widened(records: Summaries, slots: int) -> Summaries:
    """5 s records as windows of so many slots, aligned to multiples of them."""
    rows = records.rows.copy()
    rows["begin"] -= rows["begin"] % slots
    return grouped(rows, records.items, records.domains)
