"""When flows open, close and are shown: the kernels that meter packets into a flow table."""

from __future__ import annotations

import numpy as np

from infra.kernels import kernel, piece
from jobs.metering.aggregates import add, begin
from jobs.metering.connection import answers_syn, has_tcp, reuses
from jobs.metering.row import ACTIVE, FIN, IDLE, OPENED_LATE
from jobs.metering.slices import count_in_slice
from jobs.metering.slots import USED, attention, chain_of, claim, deadline, find, release, same_ends, touch


@kernel
def meter(slots, packets, waited, limits, out, slicing):
    """Meter packets, in time order but for those that waited.

    Parameters
    ----------
    slots
        :class:`jobs.metering.slots.Slots` with as many free rows, and as much room in ``dirty``, as there are packets.
    packets
        :data:`sensors.packets.decode.PACKET_DTYPE` ``[n]``.
    waited
        ``int64[n]``: ns from a packet's own time to the time at which it is metered, which decides what is over; ``[0]``: none waited.
    limits
        :class:`jobs.metering.slots.Limits`.
    out
        ``ROW_DTYPE[n]``: rows that close are copied here.
    slicing
        :class:`jobs.metering.slices.Slicing` with room for ``n`` more slices, unless its width is 0.

    Returns
    -------
    int
        How many rows were copied.
    """
    n_out = 0
    for k in range(packets.shape[0]):
        p = packets[k]
        t = p.ts // 1000
        now = t
        late = waited.shape[0] != 0 and waited[k] != 0
        if late:
            now = (p.ts + waited[k]) // 1000
            t = max(t, now - limits.idle)  # further back, the flow it opens would be over before the rest of its datagram is in it
        part = np.uint32(0)
        chain = chain_of(p, slots.head)
        i = find(slots, chain, p)
        if i >= 0:
            r = slots.rows[i]
            reason = _over(r, p, now, limits)
            if reason == 0 or reason == ACTIVE:
                t = max(t, r.last)  # of a packet that waited: its flow may have gone on meanwhile
            if reason != 0:
                r.end_reason = reason
                out[n_out] = r
                n_out += 1
            if reason == ACTIVE:
                _next_part(slots, i, out[n_out - 1], t, p, limits)
            elif reason != 0:
                if r.start == t:
                    # begun in the very microsecond of the connection before it, it could not be told from that by key, start and part
                    part = np.uint32(r.part + 1)
                release(slots, i)
                i = np.int64(-1)
        opened = i < 0
        if opened:
            i = _open(slots, chain, p, t, limits)
            slots.rows[i].part = part
            slots.rows[i].tcp = OPENED_LATE if late else 0
        forward = same_ends(slots.rows[i], p)
        add(slots, i, p, t, forward)
        if slicing.width != 0:
            count_in_slice(slicing, slots.rows[i], i, p, now, forward, opened)
        slots.wake[i] = attention(slots.rows[i], limits)
        touch(slots, i)
    return n_out


@piece
def _ended(r, now, limits):
    """Why row ``r`` is over by time, 0: it is not."""
    reason = np.int64(0)
    if now - r.last > limits.idle:
        reason = np.int64(r.closing) if r.closing != 0 else IDLE
    elif r.closing != 0 and now - r.close_ts > limits.linger:
        reason = np.int64(r.closing)
    return reason


@piece
def _over(r, p, now, limits):
    """Why the record of row ``r`` is over when packet ``p`` comes, 0: it is not."""
    reason = _ended(r, now, limits)
    if reason == 0:
        if has_tcp(p) and reuses(r, p, same_ends(r, p)):
            # without a close, both sides had ended it; the ACK of the last FIN was not captured
            reason = np.int64(r.closing) if r.closing != 0 else FIN
        elif r.closing == 0 and now - r.start > limits.active:
            reason = ACTIVE
    return reason


@piece
def _open(slots, chain, p, t, limits):
    """Open a flow with packet ``p`` at ``t`` (us); its slot."""
    i = claim(slots, chain)
    r = slots.rows[i]
    # a SYN+ACK first means that the SYN was missed: its sender is the responder
    if has_tcp(p) and answers_syn(p.flags):
        r.src_hi = p.dst_hi
        r.src_lo = p.dst_lo
        r.sport = p.dport
        r.dst_hi = p.src_hi
        r.dst_lo = p.src_lo
        r.dport = p.sport
    else:
        r.src_hi = p.src_hi
        r.src_lo = p.src_lo
        r.sport = p.sport
        r.dst_hi = p.dst_hi
        r.dst_lo = p.dst_lo
        r.dport = p.dport
    r.proto = p.proto
    r.ipver = p.ipver
    r.domain = p.domain
    r.conn_start = t
    r.conn_type = p.icmp_type
    r.conn_code = p.icmp_code
    begin(r, t, p, limits)
    return i


@piece
def _next_part(slots, i, was, t, p, limits):
    """Begin the next part of the connection whose row ``was`` slot ``i``: what is the connection's is kept."""
    slots.rows[i] = slots.blank[0]
    r = slots.rows[i]
    r.slot = was.slot
    r.src_hi = was.src_hi
    r.src_lo = was.src_lo
    r.sport = was.sport
    r.dst_hi = was.dst_hi
    r.dst_lo = was.dst_lo
    r.dport = was.dport
    r.proto = was.proto
    r.ipver = was.ipver
    r.domain = was.domain
    r.conn_start = was.conn_start
    r.conn_type = was.conn_type
    r.conn_code = was.conn_code
    r.part = was.part + 1
    r.tcp = was.tcp
    r.f_next = was.f_next
    r.b_next = was.b_next
    r.f_hole_lo = was.f_hole_lo
    r.f_hole_hi = was.f_hole_hi
    r.b_hole_lo = was.b_hole_lo
    r.b_hole_hi = was.b_hole_hi
    r.f_syn = was.f_syn
    r.b_syn = was.b_syn
    r.f_state = was.f_state
    r.b_state = was.b_state
    r.f_before = was.f_before
    r.b_before = was.b_before
    begin(r, t, p, limits)


@piece
def _latest(frontiers):
    """The highest of the frontiers."""
    latest = frontiers[0]
    for i in range(1, frontiers.shape[0]):
        latest = max(latest, frontiers[i])
    return latest


@kernel
def expire(slots, frontiers, limits, out, start):
    """Close rows whose deadline lies behind their domain's frontier.

    Of a row that is not due, only ``wake`` is looked at: eight bytes instead of a cache miss.

    Parameters
    ----------
    frontiers
        ``int64[d]``: per domain number, us: every packet before it has been metered.
    out
        ``ROW_DTYPE[m]``: rows that close are copied here.
    start
        The first slot to look at.

    Returns
    -------
    copied, next slot
        Resumable when ``out`` is full.
    """
    horizon = _latest(frontiers)
    n_out = 0
    i = start
    top = slots.counts[USED]
    while i < top and n_out < out.shape[0]:
        if slots.wake[i] < horizon:
            r = slots.rows[i]
            now = frontiers[r.domain]
            reason = _ended(r, now, limits) if now > slots.wake[i] else np.int64(0)
            if reason != 0:
                r.end_reason = reason
                out[n_out] = r
                n_out += 1
                release(slots, i)
        i += 1
    return n_out, i


@kernel
def interim(slots, frontiers, limits, out, start):
    """Copy open rows with new packets that have reached their next age or packet count; sets the next one at twice what was reached.

    A flow that got no packet since its last snapshot would only say the same again. Parameters and result: as of :func:`expire`.
    """
    horizon = _latest(frontiers)
    n_out = 0
    i = start
    top = slots.counts[USED]
    while i < top and n_out < out.shape[0]:
        if (slots.mark[i] or slots.wake[i] < horizon) and slots.used[i]:
            r = slots.rows[i]
            n = r.nf + r.nb
            age = max(frontiers[r.domain] - r.start, 0)
            if n > r.shown and (n >= r.next_packets or age >= r.next_age):
                while r.next_packets <= n:
                    r.next_packets *= 2
                while r.next_age <= age:
                    r.next_age = max(r.next_age, 1) * 2
                r.shown = n
                out[n_out] = r
                n_out += 1
                touch(slots, i)
            if n == r.shown:
                slots.wake[i] = deadline(r, limits)  # nothing new to show until its next packet
        i += 1
    return n_out, i
