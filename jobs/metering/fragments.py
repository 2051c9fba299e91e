"""IP fragments: later fragments carry no ports and are metered into the flow of their first fragment (RFC 791, RFC 8200)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.metering.packets import FRAG_FIRST

#: domain, source, destination, protocol (IPv6: 0, its fragments name the first header of the whole), IP version, identification
Key = tuple[int, int, int, int, int, int, int, int]


class FragmentTable:
    """First fragments seen lately, by datagram."""

    def __init__(self, timeout_ns: int) -> None:
        self._timeout = timeout_ns
        self.first: dict[Key, tuple[int, int, int, int]] = {}  # -> source port, destination port, time, protocol

    def resolve(self, packets: NDArray) -> NDArray[np.bool_]:
        """Give later fragments the ports and protocol of their first one, in place; ``False`` marks orphans.

        ``packets`` are in time order.
        """
        keep = np.ones(len(packets), bool)
        for i in np.flatnonzero(packets["frag"]):
            p = packets[i]
            key = (
                int(p["domain"]),
                int(p["src_hi"]),
                int(p["src_lo"]),
                int(p["dst_hi"]),
                int(p["dst_lo"]),
                int(p["proto"]) if p["ipver"] == 4 else 0,
                int(p["ipver"]),
                int(p["frag_id"]),
            )
            ts = int(p["ts"])
            if p["frag"] == FRAG_FIRST:
                self.first[key] = (int(p["sport"]), int(p["dport"]), ts, int(p["proto"]))
                continue
            found = self.first.get(key)
            if found is None or ts - found[2] > self._timeout:
                keep[i] = False
            else:
                packets["sport"][i], packets["dport"][i], _, packets["proto"][i] = found
        return keep

    def expire(self, frontiers: NDArray[np.int64]) -> None:
        """Forget first fragments older than the timeout (``frontiers``: ns by domain number)."""
        if self.first:
            limit = self._timeout
            self.first = {k: v for k, v in self.first.items() if frontiers[k[0]] - v[2] <= limit}

    def drop_domain(self, domain: int) -> None:
        """Forget a domain that ended."""
        self.first = {k: v for k, v in self.first.items() if k[0] != domain}
