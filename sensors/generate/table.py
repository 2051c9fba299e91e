"""Columns of packets and flows before they become frames.

A packet is one row of an ``int64[n, WIDTH]`` matrix (cheap to append to from Python, cheap to sort, read by one compiled kernel);
what all packets of a conversation share (addresses, ports, TTLs, label) stands once in the flow table, which also counts what was
emitted and so becomes the ground truth.
"""

from __future__ import annotations

from array import array

import numpy as np

#: Columns of the packet matrix. ``A`` and ``B`` depend on the header kind: MSS and window scale (SYN), SACK edges, ICMP
#: identifier and sequence, for an ICMP error the flow it quotes and the payload length of the quoted datagram,
#: for UDP (``A``) 65536 + the number to write into the first two payload bytes (a DNS id), 0 to leave them alone.
TS, FLOW, DIR, KIND, FLAGS, SEQ, ACK, WIN, IPID, OFF, LEN, TSVAL, TSECR, A, B = range(15)
WIDTH = 15

#: What a conversation's packets share. Addresses as two 64-bit halves, IPv4 in ``*_lo``; ``[0]`` is the initiator's side.
FLOW_DTYPE = np.dtype(
    [
        ("src_hi", np.uint64),
        ("src_lo", np.uint64),
        ("dst_hi", np.uint64),
        ("dst_lo", np.uint64),
        ("src_mac", np.uint64),
        ("dst_mac", np.uint64),
        ("first", np.int64),
        ("last", np.int64),
        ("fwd", np.int64),
        ("bwd", np.int64),
        ("src_port", np.uint16),
        ("dst_port", np.uint16),
        ("vlan", np.uint16),  # 0: untagged
        ("version", np.uint8),  # 4 or 6
        ("protocol", np.uint8),
        ("ttl_fwd", np.uint8),
        ("ttl_bwd", np.uint8),
        ("df", np.uint8),  # don't fragment
        ("pad", np.uint8),  # frames padded to Ethernet's minimum of 60 bytes, as a receiving port sees them
        ("label", np.uint8),  # index into schemas.labels.NAMES
    ],
    align=True,
)


class ConversationTable:
    """A growing array of conversations.

    Only counters are kept for a conversation whose packets are gone, about 110 bytes each.
    """

    def __init__(self) -> None:
        self.rows = np.zeros(4096, FLOW_DTYPE)
        self.size = 0

    def reserve(self, n: int) -> np.ndarray:
        """``n`` new rows, zeroed, as a view to fill; their indices are ``size - n .. size - 1`` afterwards."""
        need = self.size + n
        if need > len(self.rows):
            grown = np.zeros(max(need, 2 * len(self.rows)), FLOW_DTYPE)
            grown[: self.size] = self.rows[: self.size]
            self.rows = grown
        view = self.rows[self.size : need]
        self.size = need
        return view

    def add(self, values: tuple) -> int:
        """One conversation; ``values`` in the order of ``FLOW_DTYPE``. Returns its index."""
        self.reserve(1)[0] = values
        return self.size - 1

    def count(self, rows: np.ndarray) -> None:
        """Account for emitted packets (a packet matrix in time order)."""
        if not len(rows):
            return
        flow, ts, back = rows[:, FLOW], rows[:, TS], rows[:, DIR]
        flows = self.rows
        order = np.argsort(flow, kind="stable")
        sorted_flow = flow[order]
        starts = np.flatnonzero(np.r_[True, sorted_flow[1:] != sorted_flow[:-1]])
        ends = np.r_[starts[1:], len(order)]
        index = sorted_flow[starts]
        bwd = np.add.reduceat(back[order], starts)
        fresh = flows["fwd"][index] + flows["bwd"][index] == 0
        flows["first"][index[fresh]] = ts[order[starts[fresh]]]
        flows["last"][index] = ts[order[ends - 1]]
        flows["bwd"][index] += bwd
        flows["fwd"][index] += (ends - starts) - bwd


def matrix(buffer: array) -> np.ndarray:
    """A flat buffer of appended rows as a packet matrix in time order (stable)."""
    rows = np.frombuffer(buffer, np.int64).reshape(-1, WIDTH)
    ts = rows[:, TS]
    if len(rows) > 1 and (ts[1:] < ts[:-1]).any():
        rows = rows[np.argsort(ts, kind="stable")]
    return rows
