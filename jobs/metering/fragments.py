"""IP fragments: later fragments carry no ports and are metered into the flow of their first fragment (RFC 791, RFC 8200).

Fragments arrive in any order. A later fragment that comes before its first one waits for it, no longer than the timeout of
event time, and no more of them than a bound; then it is an orphan. What is decided depends on the packets in time order
alone, and not on where they were cut into batches.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.metering.gather import take
from jobs.metering.layout import FIRST_DTYPE
from sensors.packets.decode import FRAG_FIRST, PACKET_DTYPE

#: source, destination, IP version, identification (IPv4: with the protocol)
Datagram = tuple[int, int, int, int, int, int]

#: What a later fragment takes over from its first one: all that names the conversation, and the window of its TCP segment.
_INHERITED = ["sport", "dport", "proto", "icmp_type", "icmp_code", "window"]


class Whole(NamedTuple):
    """Packets whose flows are known, in the order in which they are metered."""

    packets: NDArray  # PACKET_DTYPE[n]
    waited: NDArray[np.int64]  # [n]: ns from a packet's own time to that at which it is metered; [0] when none waited
    orphans: Counter[int]  # packets given up, by domain number


@dataclass
class _Reassembly:
    """Fragments of one observation domain; the dicts are in the order of their entries' times."""

    firsts: dict[Datagram, tuple[int, tuple[int, ...]]] = field(default_factory=dict)  # -> time, inherited values
    waiting: dict[int, tuple[int, Datagram, bytes]] = field(default_factory=dict)  # number -> time, datagram, row
    by_datagram: dict[Datagram, list[int]] = field(default_factory=dict)  # -> numbers of its waiting fragments
    number: int = 0

    def forget_before(self, limit: int) -> int:
        """Forget what lies before ``limit`` (us); number of waiting fragments that were given up."""
        while self.firsts and self.firsts[next(iter(self.firsts))][0] < limit:
            del self.firsts[next(iter(self.firsts))]
        given_up = 0
        while self.waiting and self.waiting[next(iter(self.waiting))][0] < limit:
            self._give_up_oldest()
            given_up += 1
        return given_up

    def note(self, datagram: Datagram, ts: int, inherited: tuple[int, ...], bound: int) -> list[bytes]:
        """Take a first fragment; the rows that waited for it."""
        self.firsts.pop(datagram, None)
        self.firsts[datagram] = (ts, inherited)
        if len(self.firsts) > bound:
            del self.firsts[next(iter(self.firsts))]
        return [self.waiting.pop(number)[2] for number in self.by_datagram.pop(datagram, ())]

    def wait(self, datagram: Datagram, ts: int, row: bytes, bound: int) -> int:
        """Keep a later fragment; number of older ones given up for it."""
        self.waiting[self.number] = (ts, datagram, row)
        self.by_datagram.setdefault(datagram, []).append(self.number)
        self.number += 1
        if len(self.waiting) <= bound:
            return 0
        self._give_up_oldest()
        return 1

    def _give_up_oldest(self) -> None:
        number = next(iter(self.waiting))
        datagram = self.waiting.pop(number)[1]
        numbers = self.by_datagram[datagram]
        numbers.remove(number)
        if not numbers:
            del self.by_datagram[datagram]


class FragmentTable:
    """First fragments seen lately, and later ones that wait for theirs.

    Parameters
    ----------
    timeout_us
        Later fragments belong to a first one at most this far away in event time, in either direction.
    bound
        Waiting fragments, and first ones, that are kept of each observation domain; beyond it the oldest are given up.
    """

    def __init__(self, timeout_us: int, bound: int) -> None:
        self._timeout = timeout_us
        self._bound = bound
        self._domains: defaultdict[int, _Reassembly] = defaultdict(_Reassembly)

    def resolve(self, packets: NDArray) -> Whole:
        """Give later fragments the ports and protocol of their first one.

        ``packets``: ``PACKET_DTYPE[n]`` in time order, changed in place. Later fragments that found no first one are taken out and
        wait; those that waited for one of ``packets`` come just before it.
        """
        keep = np.ones(len(packets), bool)
        orphans: Counter[int] = Counter()
        released: list[tuple[int, NDArray]] = []  # position of a first fragment, rows that waited for it
        for i in np.flatnonzero(packets["frag"]):
            p = packets[i]
            ts, index = int(p["ts"]) // 1000, int(p["domain"])
            domain, datagram = self._domains[index], datagram_of(p)
            orphans[index] += domain.forget_before(ts - self._timeout)
            if p["frag"] == FRAG_FIRST:
                inherited = tuple(int(p[name]) for name in _INHERITED)
                rows = domain.note(datagram, ts, inherited, self._bound)
                if rows:
                    released.append((int(i), _joined(np.frombuffer(b"".join(rows), PACKET_DTYPE).copy(), inherited)))
            elif datagram in domain.firsts:
                _joined(packets[i : i + 1], domain.firsts[datagram][1])
            else:
                keep[i] = False
                orphans[index] += domain.wait(datagram, ts, packets[i : i + 1].tobytes(), self._bound)
        if not released:
            return Whole(packets if keep.all() else take(packets, keep), np.zeros(0, np.int64), +orphans)
        return Whole(*_inserted(packets, keep, released), +orphans)

    def expire(self, watermarks: NDArray[np.int64]) -> Counter[int]:
        """Forget what is older than the timeout (``watermarks``: us by domain number); orphans by domain number."""
        gone = {index: domain.forget_before(int(watermarks[index]) - self._timeout) for index, domain in self._domains.items()}
        self._domains = defaultdict(_Reassembly, {i: d for i, d in self._domains.items() if d.firsts or d.waiting})
        return +Counter(gone)

    def end_domain(self, index: int) -> int:
        """Forget a domain that ended; number of its orphans."""
        domain = self._domains.pop(index, None)
        return 0 if domain is None else len(domain.waiting)

    def waiting(self) -> Counter[int]:
        """Fragments that wait now, by domain number."""
        return +Counter({index: len(domain.waiting) for index, domain in self._domains.items()})

    def state(self) -> tuple[NDArray, NDArray]:
        """First fragments (``FIRST_DTYPE[n]``) and later ones that wait (``PACKET_DTYPE[m]``), by domain in the order of their times."""
        firsts = [
            (index, *datagram, ts, *inherited)
            for index, domain in self._domains.items()
            for datagram, (ts, inherited) in domain.firsts.items()
        ]
        rows = b"".join(row for domain in self._domains.values() for _, _, row in domain.waiting.values())
        return np.array(firsts, FIRST_DTYPE), np.frombuffer(rows, PACKET_DTYPE)

    def load(self, firsts: NDArray, waiting: NDArray) -> None:
        """Set what :meth:`state` gave."""
        self._domains.clear()
        for index, *datagram, ts, sport, dport, proto, icmp_type, icmp_code, window in firsts.tolist():
            inherited = (sport, dport, proto, icmp_type, icmp_code, window)
            self._domains[index].firsts[tuple(datagram)] = (ts, inherited)  # type: ignore[index]
        for i, p in enumerate(waiting):
            domain = self._domains[int(p["domain"])]
            domain.wait(datagram_of(p), int(p["ts"]) // 1000, waiting[i : i + 1].tobytes(), self._bound)


def datagram_of(p: np.void) -> Datagram:
    """By what the fragments of a datagram know each other, within a domain; ``p``: a row of ``PACKET_DTYPE``."""
    addresses = (int(p["src_hi"]), int(p["src_lo"]), int(p["dst_hi"]), int(p["dst_lo"]))
    return (*addresses, int(p["ipver"]), int(p["frag_id"]))


def _joined(rows: NDArray, inherited: tuple[int, ...]) -> NDArray:
    for name, value in zip(_INHERITED, inherited, strict=True):
        rows[name] = value
    return rows


def _inserted(packets: NDArray, keep: NDArray[np.bool_], released: list[tuple[int, NDArray]]) -> tuple[NDArray, NDArray[np.int64]]:
    """``packets[keep]`` with the released rows before their first fragments, and how long each waited."""
    place: NDArray[np.int64] = np.cumsum(keep) - keep  # where a kept packet goes
    at = np.concatenate([np.full(len(rows), place[i]) for i, rows in released])
    rows = np.concatenate([rows for _, rows in released])
    waits = np.concatenate([int(packets["ts"][i]) - rows["ts"] for i, rows in released])
    kept = take(packets, keep)
    return np.insert(kept, at, rows), np.insert(np.zeros(len(kept), np.int64), at, waits)
