"""What a flow was in a span of time: the packets that fell into one slot, beside the flow record that is whole.

Slots are spans of one width since 1970, of the packets' own time. A packet belongs to the slot that it falls into, whenever its flow ends;
so sums over slices are sums over packets. One that waited for the first fragment of its datagram counts when that came.
A meter gives the slices of a call: a flow that goes on in the same slot has another slice in the next one. They add up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.kernels import piece
from jobs.metering.connection import has_tcp
from sensors.packets.protocols import TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN

#: Times in us, sizes in bytes, counts in packets.
SLICE_DTYPE = np.dtype(
    [
        ("src_hi", "u8"),
        ("src_lo", "u8"),
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("at", "i8"),  # the flow's row in the table
        ("slot", "i8"),  # number of the slot since 1970
        ("first", "i8"),
        ("last", "i8"),
        ("l3f", "i8"),  # bytes of IP packets
        ("l3b", "i8"),
        ("nf", "u4"),
        ("nb", "u4"),
        ("f_data", "u4"),  # packets with payload
        ("b_data", "u4"),
        ("f_syn", "u4"),  # SYN without ACK
        ("b_syn_ack", "u4"),
        ("f_fin", "u4"),
        ("b_fin", "u4"),
        ("f_rst", "u4"),
        ("b_rst", "u4"),
        ("f_ack", "u4"),
        ("b_ack", "u4"),
        ("sport", "u2"),
        ("dport", "u2"),
        ("domain", "u2"),
        ("sensor", "u2"),
        ("proto", "u1"),
        ("ipver", "u1"),
        ("opened", "u1"),  # 1: the flow's first packet is in it
    ],
    align=True,
)


class Slicing(NamedTuple):
    """Where the kernels put slices."""

    width: int  # us; 0: none are made
    rows: NDArray  # SLICE_DTYPE[n]: room for as many as there are packets
    current: NDArray[np.int64]  # [rows of the table]: the latest slice of each flow, -1: none
    found: NDArray[np.int64]  # [1]: slices so far


#: None are made.
OFF = Slicing(0, np.zeros(0, SLICE_DTYPE), np.zeros(0, np.int64), np.zeros(1, np.int64))


@piece
def count_in_slice(slicing, r, i, p, t, forward, opened):
    """Count packet ``p``, which is metered at ``t`` (us), of the flow in row ``r`` at place ``i``."""
    slot = t // slicing.width
    k = slicing.current[i]
    if opened or k < 0 or slicing.rows[k].slot != slot:
        k = slicing.found[0]
        slicing.found[0] += 1
        slicing.current[i] = k
        s = slicing.rows[k]
        s.src_hi = r.src_hi
        s.src_lo = r.src_lo
        s.dst_hi = r.dst_hi
        s.dst_lo = r.dst_lo
        s.sport = r.sport
        s.dport = r.dport
        s.domain = r.domain
        s.proto = r.proto
        s.ipver = r.ipver
        s.sensor = p.sensor
        s.at = i
        s.slot = slot
        s.first = t
        s.last = t
        s.opened = 1 if opened else 0
    s = slicing.rows[k]
    s.first = min(s.first, t)
    s.last = max(s.last, t)
    if forward:
        s.nf += 1
        s.l3f += np.int64(p.l3_bytes)
        if p.payload > 0:
            s.f_data += 1
    else:
        s.nb += 1
        s.l3b += np.int64(p.l3_bytes)
        if p.payload > 0:
            s.b_data += 1
    if has_tcp(p):
        _flags(s, p.flags, forward)


@piece
def _flags(s, flags, forward):
    syn, ack = (flags & TCP_SYN) != 0, (flags & TCP_ACK) != 0
    fin, rst = (flags & TCP_FIN) != 0, (flags & TCP_RST) != 0
    if forward:
        s.f_syn += np.uint32(syn and not ack)
        s.f_ack += np.uint32(ack)
        s.f_fin += np.uint32(fin)
        s.f_rst += np.uint32(rst)
    else:
        s.b_syn_ack += np.uint32(syn and ack)
        s.b_ack += np.uint32(ack)
        s.b_fin += np.uint32(fin)
        s.b_rst += np.uint32(rst)
