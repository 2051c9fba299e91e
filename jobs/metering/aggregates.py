"""What a packet adds to its row. Definitions: ``schemas/features.py`` and ``docs/reference/flow-rules.md``.

As in :mod:`jobs.metering.connection`, ``r`` is a row and ``d`` the same row by the direction of the packet.
"""

from __future__ import annotations

import numpy as np

from infra.kernels import piece
from jobs.metering.connection import advance, count_flags, follow_sequence, has_tcp

#: Seconds are kept as integer microseconds. "active span" threshold, sub-flow gap and bulk gap of CICFlowMeter.
ACTIVE_THRESHOLD_US = 5_000_000
SUBFLOW_GAP_US = 1_000_000
BULK_GAP_US = 1_000_000
BULK_MIN_PACKETS = 4


@piece
def begin(r, t, p, limits):
    """Begin a record in a row of zeros with packet ``p`` at ``t`` (us)."""
    r.start = t
    r.last = t
    r.f_first = -1
    r.f_last = -1
    r.b_first = -1
    r.b_last = -1
    r.fb_start = -1
    r.fb_last = -1
    r.bb_start = -1
    r.bb_last = -1
    r.active_start = t
    r.next_age = limits.interim_age
    r.next_packets = limits.interim_packets
    r.vlan1 = p.vlan1
    r.vlan2 = p.vlan2
    r.vlan3 = p.vlan3
    r.tunnel = p.tunnel
    r.sensor = p.sensor
    r.icmp_type = p.icmp_type
    r.icmp_code = p.icmp_code


@piece
def add(slots, i, p, t, forward):
    """Add packet ``p`` at ``t`` (us) to the row in slot ``i``."""
    r = slots.rows[i]
    _gap(r, t)
    if forward:
        _one_way(r, slots.forward[i], p, t, 0)
    else:
        _one_way(r, slots.backward[i], p, t, 1)
    r.malformed += p.malformed
    r.last = t


@piece
def _one_way(r, d, p, t, side):
    """All that depends on the packet's direction."""
    _lengths(d, p, t)
    _bulk(d, np.int64(p.payload), t)
    if has_tcp(p):
        count_flags(r, d, p.flags)
        follow_sequence(r, d, p, side)
        advance(r, d, p, t, side)


@piece
def _gap(r, t):
    """Time since the packet before, of either direction: inter-arrival times, sub-flows, active and idle periods."""
    n = r.nf + r.nb
    if n == 0:
        return
    gap = t - r.last
    r.iat_q += np.uint64(gap) * np.uint64(gap)
    r.iat_max = gap if n == 1 else max(r.iat_max, gap)
    r.iat_min = gap if n == 1 else min(r.iat_min, gap)
    if gap > SUBFLOW_GAP_US:
        r.gaps += 1
    if gap > ACTIVE_THRESHOLD_US:
        _active(r, r.last - r.active_start)
        _idle(r, gap)
        r.active_start = t


@piece
def _active(r, span):
    if span > 0:
        r.active_max = span if r.active_n == 0 else max(r.active_max, span)
        r.active_min = span if r.active_n == 0 else min(r.active_min, span)
        r.active_n += 1
        r.active_sum += span
        r.active_q += np.uint64(span) * np.uint64(span)


@piece
def _idle(r, gap):
    r.idle_max = gap if r.idle_n == 0 else max(r.idle_max, gap)
    r.idle_min = gap if r.idle_n == 0 else min(r.idle_min, gap)
    r.idle_n += 1
    r.idle_sum += gap
    r.idle_q += np.uint64(gap) * np.uint64(gap)


@piece
def _lengths(d, p, t):
    """Counts, lengths and inter-arrival times of one direction."""
    size = np.int64(p.payload)
    if d.packets == 0:
        d.first = t
        d.length_max = p.payload
        d.length_min = p.payload
        d.header_min = p.l4_header
        d.window = p.window
    else:
        gap = t - d.last
        d.iat_q += np.uint64(gap) * np.uint64(gap)
        d.iat_max = gap if d.packets == 1 else max(d.iat_max, gap)
        d.iat_min = gap if d.packets == 1 else min(d.iat_min, gap)
        d.length_max = max(d.length_max, p.payload)
        d.length_min = min(d.length_min, p.payload)
        d.header_min = min(d.header_min, p.l4_header)
    d.last = t
    d.packets += 1
    d.bytes += size
    d.bytes_q += np.uint64(size) * np.uint64(size)
    d.header_bytes += np.int64(p.l4_header)
    d.l3_bytes += np.int64(p.l3_bytes)
    if size > 0:
        d.data += 1


@piece
def _bulk(d, size, t):
    """Bulks of one direction: packets with payload, none of the other direction's and no second between them."""
    if d.peer_bulk_last > d.bulk_start:
        d.bulk_start = -1
    if size == 0:
        return
    if d.bulk_start < 0 or t - d.bulk_last > BULK_GAP_US:
        d.bulk_start = t
        d.bulk_count = 1
        d.bulk_size = size
    else:
        d.bulk_count += 1
        d.bulk_size += size
        if d.bulk_count == BULK_MIN_PACKETS:
            d.bulks += 1
            d.bulk_packets += BULK_MIN_PACKETS
            d.bulk_bytes += d.bulk_size
            d.bulk_dur += t - d.bulk_start
        elif d.bulk_count > BULK_MIN_PACKETS:
            d.bulk_packets += 1
            d.bulk_bytes += size
            d.bulk_dur += t - d.bulk_last
    d.bulk_last = t
