"""One flow, seen by several exporters: whose record counts.

The first exporter that reports a flow owns it. What another one says of the same flow, of the same time, is marked as a duplicate, so that
sums over what is not marked count each flow once. An exporter that watches both sides of its interfaces reports a flow twice, coming in and
going out: those are two owners.

The same flow: addresses, ports and protocol, one way. The same time: the record overlaps what its owner has reported without a gap; where
packets are sampled, silence of a minute is none, else clocks are allowed to differ by five seconds. A flow that goes over to another path
may lose the one record in which it did so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.claiming import claim
from jobs.flowexport.columns import ADDRESS
from jobs.mixing import mixed

Addresses = NDArray[np.uint8]

#: What is remembered of a flow: its hash; its owner; what the owner reported of it, and when (us).
CLAIM_DTYPE = np.dtype([("flow", "u8"), ("owner", "u8"), ("start", "i8"), ("end", "i8"), ("heard", "i8")])
#: An owner: hash of exporter, port, domain and side; the exporter's address as two numbers.
OWNER_DTYPE = np.dtype([("owner", "u8"), ("hi", "u8"), ("lo", "u8"), ("heard", "i8")])
_CLAIMED = ("owner", "start", "end", "heard")

#: How far apart clocks may be, and how long a sampled flow may be silent (us).
CLOCKS_US, SAMPLED_US = 5_000_000, 60_000_000


def halves(addresses: Addresses) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Addresses, ``uint8[n, 16]``, as two numbers each."""
    words = np.ascontiguousarray(addresses).view(">u8").reshape(-1, 2).astype(np.uint64)
    return words[:, 0], words[:, 1]


def hashed(*parts: NDArray[Any]) -> NDArray[np.uint64]:
    """One hash of several columns."""
    found = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        found = mixed(found ^ part.astype(np.uint64))
    return found


def flow_hashes(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
    """Hash of each record's flow: addresses, ports and protocol, one way."""
    ports = columns["sport"].astype(np.uint64) << np.uint64(24) | columns["dport"].astype(np.uint64) << np.uint64(8)
    return hashed(*halves(columns["src"]), *halves(columns["dst"]), ports | columns["proto"].astype(np.uint64))


def owner_hashes(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
    """Hash of what each record was seen by: exporter (its port too, where that tells it apart), domain, whether it came in or went out."""
    side = (columns["direction"] == 1).astype(np.uint64)
    stream = columns["told_port"].astype(np.uint64) << np.uint64(32) | columns["domain"].astype(np.uint64)
    return hashed(*halves(columns["exporter"]), stream << np.uint64(1) | side)


@dataclass
class FlowOwners:
    """Who owns which flow, of some flows.

    Nothing is remembered while there is one owner alone: most sites have one router that exports.

    Parameters
    ----------
    keep_us
        So long a claim holds after the last record.
    most
        Claims that are kept at most, one batch beside; beyond, those that were heard of longest ago are forgotten.

    Attributes
    ----------
    pieces
        What each batch changed, by number; of a flow the last is in force.
    owners
        :data:`OWNER_DTYPE`, by ``owner``.
    """

    keep_us: int
    most: int
    pieces: dict[int, NDArray[np.void]] = field(default_factory=dict)
    owners: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, OWNER_DTYPE))
    next: int = 0

    def __post_init__(self) -> None:
        self._known = _newest(list(self.pieces.values()))

    def mark(self, batches: Sequence[Mapping[str, NDArray[Any]]]) -> list[Addresses]:
        """Whose duplicate each record of some batches is, ``uint8[n, 16]`` of each batch: addresses, zeros where it is none.

        Parameters
        ----------
        batches
            Columns of :data:`jobs.flowexport.columns.COLUMNS`: ``exporter``, ``domain``, ``direction``, ``version``, ``rate``, the flow,
            its times. In turn; who reports at all is looked at before, so that the first batch of several exporters is remembered, too.
        """
        owners = [owner_hashes(columns) for columns in batches]
        for columns, owner in zip(batches, owners, strict=True):
            self._note(columns, owner)
        return [self._marked(columns, owner) for columns, owner in zip(batches, owners, strict=True)]

    def _marked(self, columns: Mapping[str, NDArray[Any]], owner: NDArray[np.uint64]) -> Addresses:
        n = len(owner)
        found = np.zeros((n, ADDRESS), np.uint8)
        if len(self.owners) < 2 or not n:
            return found
        heard = columns["received_us"].astype(np.int64)
        flows, at = np.unique(flow_hashes(columns), return_inverse=True)
        claims = self._claims(flows)
        sampled = (columns["rate"].astype(np.float64) > 1) | (columns["version"] == 105)
        gap = np.where(sampled, SAMPLED_US, CLOCKS_US).astype(np.int64)
        theirs = np.zeros(n, np.uint64)
        order = np.argsort(heard, kind="stable")
        times = columns["start_us"].astype(np.int64), columns["end_us"].astype(np.int64)
        state = [claims[name].copy() for name in _CLAIMED]
        claim(order, at.reshape(-1).astype(np.int64), owner, *times, heard, gap, *state, theirs)
        for name, values in zip(_CLAIMED, state, strict=True):
            claims[name] = values
        self._keep(claims, int(heard.max()))
        marked = theirs != 0
        whose = self.owners[np.minimum(np.searchsorted(self.owners["owner"], theirs[marked]), len(self.owners) - 1)]
        found[marked] = np.stack([whose["hi"], whose["lo"]], axis=1).astype(">u8").view(np.uint8)
        return found

    def _claims(self, flows: NDArray[np.uint64]) -> NDArray[np.void]:
        """What is remembered of these flows, sorted; nothing of those that are not known."""
        claims = np.zeros(len(flows), CLAIM_DTYPE)
        claims["flow"] = flows
        if len(self._known):
            place = np.minimum(np.searchsorted(self._known["flow"], flows), len(self._known) - 1)
            there = self._known["flow"][place] == flows
            claims[there] = self._known[place[there]]
        return claims

    def _note(self, columns: Mapping[str, NDArray[Any]], owner: NDArray[np.uint64]) -> None:
        """Take note of who reports; those that were silent for as long as a claim holds are forgotten."""
        if not len(owner):
            return
        heard = columns["received_us"].astype(np.int64)
        names, first, back = np.unique(owner, return_index=True, return_inverse=True)
        new = np.zeros(len(names), OWNER_DTYPE)
        new["owner"] = names
        new["hi"], new["lo"] = halves(columns["exporter"][first])
        np.maximum.at(new["heard"], back.reshape(-1), heard)
        old = self.owners[(self.owners["heard"] >= int(heard.max()) - self.keep_us) & ~np.isin(self.owners["owner"], names)]
        self.owners = np.sort(np.concatenate([old, new]), order="owner")

    def _keep(self, claims: NDArray[np.void], now_us: int) -> None:
        """Take claims over, and forget pieces that are old, or too much."""
        self.pieces[self.next] = claims
        self.next += 1
        held, before = sum(map(len, self.pieces.values())), len(self.pieces)
        for number, piece in list(self.pieces.items()):
            if number < self.next - 1 and (held > self.most or int(piece["heard"].max()) < now_us - self.keep_us):
                del self.pieces[number]
                held -= len(piece)
        kept_all = len(self.pieces) == before
        self._known = _newest([self._known, claims] if kept_all else list(self.pieces.values()))


def _newest(pieces: list[NDArray[np.void]]) -> NDArray[np.void]:
    """Claims of all pieces by flow; of a flow the last."""
    if not pieces:
        return np.zeros(0, CLAIM_DTYPE)
    every = np.concatenate(pieces)
    order = np.argsort(every["flow"], kind="stable")
    flows = every["flow"][order]
    last = np.append(flows[1:] != flows[:-1], True) if len(flows) else np.zeros(0, bool)
    return every[order[last]]
