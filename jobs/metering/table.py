"""The table of open flows of one bucket, and the kernel that meters packets into it.

Packets arrive in time order; each is applied to its flow by the rules of ``docs/reference/flow-rules.md`` (direction, active and idle
timeout, TCP close with linger and reuse, bulk, active/idle periods). A flow is one row of :data:`ROW_DTYPE`, all of whose aggregates are
integers, so that a record does not depend on how its packets were cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jobs.metering.gather import take
from sensors.packets.decode import FRAG_LATER, PACKET_DTYPE, _mix, address_hash

#: Seconds are kept as integer microseconds. "active span" threshold, sub-flow gap and bulk gap of CICFlowMeter.
ACTIVE_THRESHOLD_US = 5_000_000
SUBFLOW_GAP_US = 1_000_000
BULK_GAP_US = 1_000_000
BULK_MIN_PACKETS = 4

END_REASONS: tuple[str, ...] = ("", "fin", "rst", "idle", "active", "evicted", "forced")
FIN, RST, IDLE, ACTIVE, EVICTED, FORCED = range(1, 7)

_I8 = "i8"
ROW_DTYPE = np.dtype(
    [
        ("slot", "u8"),  # where the row lies in its table; the same in every copy of the table
        ("src_hi", "u8"),
        ("src_lo", "u8"),
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("conn_start", _I8),  # us; of part 0
        ("start", _I8),
        ("last", _I8),
        ("close_ts", _I8),  # when FIN/ACK or RST closed it
        ("f_first", _I8),
        ("f_last", _I8),
        ("b_first", _I8),
        ("b_last", _I8),
        ("nf", _I8),
        ("nb", _I8),
        ("sf", _I8),  # payload bytes
        ("sb", _I8),
        ("qf", "u8"),  # sum of squared payload
        ("qb", "u8"),
        ("hf", _I8),  # L4 header bytes
        ("hb", _I8),
        ("l3f", _I8),
        ("l3b", _I8),
        ("iat_q", "u8"),  # sums of squared gaps, us^2
        ("f_iat_q", "u8"),
        ("b_iat_q", "u8"),
        ("iat_max", _I8),
        ("iat_min", _I8),
        ("f_iat_max", _I8),
        ("f_iat_min", _I8),
        ("b_iat_max", _I8),
        ("b_iat_min", _I8),
        ("active_start", _I8),
        ("active_sum", _I8),
        ("active_q", "u8"),
        ("active_max", _I8),
        ("active_min", _I8),
        ("idle_sum", _I8),
        ("idle_q", "u8"),
        ("idle_max", _I8),
        ("idle_min", _I8),
        ("fb_start", _I8),  # bulk, forward: start (-1: none), time of last data packet
        ("fb_last", _I8),
        ("fb_size", _I8),
        ("fb_bytes", _I8),
        ("fb_dur", _I8),
        ("bb_start", _I8),
        ("bb_last", _I8),
        ("bb_size", _I8),
        ("bb_bytes", _I8),
        ("bb_dur", _I8),
        ("next_age", _I8),  # us of age at which the next interim snapshot is due
        ("next_packets", _I8),
        ("shown", _I8),  # packets in the last interim snapshot
        ("fb_cnt", "u4"),
        ("fb_n", "u4"),
        ("fb_pk", "u4"),
        ("bb_cnt", "u4"),
        ("bb_n", "u4"),
        ("bb_pk", "u4"),
        ("f_max", "u4"),
        ("f_min", "u4"),
        ("b_max", "u4"),
        ("b_min", "u4"),
        ("n_fin", "u4"),
        ("n_syn", "u4"),
        ("n_rst", "u4"),
        ("n_psh", "u4"),
        ("n_ack", "u4"),
        ("n_urg", "u4"),
        ("n_ece", "u4"),
        ("n_cwr", "u4"),
        ("f_psh", "u4"),
        ("b_psh", "u4"),
        ("f_urg", "u4"),
        ("b_urg", "u4"),
        ("f_rst", "u4"),
        ("b_rst", "u4"),
        ("f_data", "u4"),  # packets with payload
        ("b_data", "u4"),
        ("gaps", "u4"),  # gaps > 1 s
        ("active_n", "u4"),
        ("idle_n", "u4"),
        ("f_next", "u4"),  # next expected TCP sequence number
        ("b_next", "u4"),
        ("f_hole_lo", "u4"),  # last hole seen in the sequence space
        ("f_hole_hi", "u4"),
        ("b_hole_lo", "u4"),
        ("b_hole_hi", "u4"),
        ("f_syn", "u4"),  # sequence number of the connection's last SYN, where F_SYN or B_SYN says that there was one
        ("b_syn", "u4"),
        ("out_of_order", "u4"),
        ("duplicate", "u4"),
        ("malformed", "u4"),
        ("tunnel", "u4"),
        ("part", "u4"),
        ("sport", "u2"),
        ("dport", "u2"),
        ("domain", "u2"),
        ("sensor", "u2"),
        ("vlan1", "u2"),
        ("vlan2", "u2"),
        ("vlan3", "u2"),
        ("f_win", "u2"),
        ("b_win", "u2"),
        ("tcp", "u2"),  # TCP_* bits seen on the connection
        ("icmp_type", "i2"),
        ("icmp_code", "i2"),
        ("conn_type", "i2"),  # ICMP type and code of the connection's first packet: they name the conversation
        ("conn_code", "i2"),
        ("proto", "u1"),
        ("ipver", "u1"),
        ("f_hmin", "u1"),
        ("b_hmin", "u1"),
        ("closing", "u1"),  # 0, FIN or RST: what closed it, lingering
        ("end_reason", "u1"),
        ("f_state", "u1"),  # TCP endpoint states, and those before them
        ("b_state", "u1"),
        ("f_before", "u1"),
        ("b_before", "u1"),
    ],
    align=True,
)

#: What was seen on a TCP connection, kept over a timeout split; of any flow, that a fragment opened it that had waited.
F_FIN, B_FIN, F_SEQ, B_SEQ, F_DATA, B_DATA, F_SYN, B_SYN, OPENED_LATE = (1 << i for i in range(9))

#: States of one endpoint of a TCP connection, in Zeek's terms.
INACTIVE, SYN_SENT, SYN_ACK_SENT, PARTIAL, ESTABLISHED, CLOSED, RESET = range(7)

_NEVER = np.iinfo(np.int64).max

# positions in the table's counter vector
_FREE, _OPEN, _DIRTY, _USED = range(4)


@njit(inline="always")
def _key_hash(a_hi, a_lo, ap, b_hi, b_lo, bp, proto, domain):
    x = address_hash(a_hi, a_lo) + np.uint64(ap) * np.uint64(0x9E3779B97F4A7C15)
    y = address_hash(b_hi, b_lo) + np.uint64(bp) * np.uint64(0x9E3779B97F4A7C15)
    return _mix(_mix(x) + _mix(y) + np.uint64(proto) + (np.uint64(domain) << np.uint64(8)))


@njit(inline="always")
def _slot(r, mask):
    return np.int64(_key_hash(r.src_hi, r.src_lo, r.sport, r.dst_hi, r.dst_lo, r.dport, r.proto, r.domain) & np.uint64(mask))


@njit(cache=True, nogil=True)
def _index_all(rows, used, head, nxt, top):
    """Rebuild the chains for rows ``0..top``."""
    head[:] = -1
    mask = head.shape[0] - 1
    for i in range(top):
        if used[i]:
            s = _slot(rows[i], mask)
            nxt[i] = head[s]
            head[s] = i


@njit(cache=True, nogil=True)
def _release(rows, used, head, nxt, wake, free, counts, i):
    s = _slot(rows[i], head.shape[0] - 1)
    if head[s] == i:
        head[s] = nxt[i]
    else:
        j = head[s]
        while nxt[j] != i:
            j = nxt[j]
        nxt[j] = nxt[i]
    used[i] = 0
    wake[i] = _NEVER
    free[counts[_FREE]] = i
    counts[_FREE] += 1
    counts[_OPEN] -= 1


@njit(cache=True, nogil=True)
def _release_all(rows, used, head, nxt, wake, free, counts, at):
    for i in at:
        _release(rows, used, head, nxt, wake, free, counts, i)


@njit(inline="always")
def _begin(r, t, p, interim_age, interim_packets):
    """Reset the aggregates of a row for a record that starts with packet ``p`` at ``t``."""
    r.start = t
    r.last = t
    r.close_ts = 0
    r.f_first = -1
    r.f_last = -1
    r.b_first = -1
    r.b_last = -1
    r.nf = 0
    r.nb = 0
    r.sf = 0
    r.sb = 0
    r.qf = 0
    r.qb = 0
    r.hf = 0
    r.hb = 0
    r.l3f = 0
    r.l3b = 0
    r.iat_q = 0
    r.f_iat_q = 0
    r.b_iat_q = 0
    r.iat_max = 0
    r.iat_min = 0
    r.f_iat_max = 0
    r.f_iat_min = 0
    r.b_iat_max = 0
    r.b_iat_min = 0
    r.active_start = t
    r.active_n = 0
    r.active_sum = 0
    r.active_q = 0
    r.active_max = 0
    r.active_min = 0
    r.idle_n = 0
    r.idle_sum = 0
    r.idle_q = 0
    r.idle_max = 0
    r.idle_min = 0
    r.fb_start = -1
    r.fb_last = -1
    r.fb_size = 0
    r.fb_bytes = 0
    r.fb_dur = 0
    r.bb_start = -1
    r.bb_last = -1
    r.bb_size = 0
    r.bb_bytes = 0
    r.bb_dur = 0
    r.next_age = interim_age
    r.next_packets = interim_packets
    r.fb_cnt = 0
    r.fb_n = 0
    r.fb_pk = 0
    r.bb_cnt = 0
    r.bb_n = 0
    r.bb_pk = 0
    r.f_max = 0
    r.f_min = 0
    r.b_max = 0
    r.b_min = 0
    r.n_fin = 0
    r.n_syn = 0
    r.n_rst = 0
    r.n_psh = 0
    r.n_ack = 0
    r.n_urg = 0
    r.n_ece = 0
    r.n_cwr = 0
    r.f_psh = 0
    r.b_psh = 0
    r.f_urg = 0
    r.b_urg = 0
    r.f_rst = 0
    r.b_rst = 0
    r.f_data = 0
    r.b_data = 0
    r.gaps = 0
    r.out_of_order = 0
    r.duplicate = 0
    r.malformed = 0
    r.shown = 0
    r.vlan1 = p.vlan1
    r.vlan2 = p.vlan2
    r.vlan3 = p.vlan3
    r.tunnel = p.tunnel
    r.sensor = p.sensor
    r.f_win = 0
    r.b_win = 0
    r.icmp_type = p.icmp_type
    r.icmp_code = p.icmp_code
    r.f_hmin = 0
    r.b_hmin = 0
    r.closing = 0
    r.end_reason = 0


@njit(inline="always")
def _ahead(a, b):
    """TCP sequence arithmetic: is ``a`` after ``b`` (RFC 9293, section 3.4)?"""
    d = (np.int64(a) - np.int64(b)) & 0xFFFFFFFF
    return 0 < d < 0x80000000


@njit(inline="always")
def _add(r, p, t, forward):
    """Add packet ``p`` at ``t`` (us) to the row's aggregates."""
    size = np.int64(p.payload)
    square = np.uint64(size) * np.uint64(size)
    flags = p.flags
    tcp = p.proto == 6
    first = r.nf + r.nb == 0

    if not first:
        gap = t - r.last
        r.iat_q += np.uint64(gap) * np.uint64(gap)
        if r.nf + r.nb == 1:
            r.iat_max = gap
            r.iat_min = gap
        else:
            r.iat_max = max(r.iat_max, gap)
            r.iat_min = min(r.iat_min, gap)
        if gap > SUBFLOW_GAP_US:
            r.gaps += 1
        if gap > ACTIVE_THRESHOLD_US:
            span = r.last - r.active_start
            if span > 0:
                r.active_max = span if r.active_n == 0 else max(r.active_max, span)
                r.active_min = span if r.active_n == 0 else min(r.active_min, span)
                r.active_n += 1
                r.active_sum += span
                r.active_q += np.uint64(span) * np.uint64(span)
            r.idle_max = gap if r.idle_n == 0 else max(r.idle_max, gap)
            r.idle_min = gap if r.idle_n == 0 else min(r.idle_min, gap)
            r.idle_n += 1
            r.idle_sum += gap
            r.idle_q += np.uint64(gap) * np.uint64(gap)
            r.active_start = t

    if forward:
        if r.nf == 0:
            r.f_first = t
            r.f_max = p.payload
            r.f_min = p.payload
            r.f_hmin = p.l4_header
            r.f_win = p.window
        else:
            gap = t - r.f_last
            r.f_iat_q += np.uint64(gap) * np.uint64(gap)
            r.f_iat_max = gap if r.nf == 1 else max(r.f_iat_max, gap)
            r.f_iat_min = gap if r.nf == 1 else min(r.f_iat_min, gap)
            r.f_max = max(r.f_max, p.payload)
            r.f_min = min(r.f_min, p.payload)
            r.f_hmin = min(r.f_hmin, p.l4_header)
        r.f_last = t
        r.nf += 1
        r.sf += size
        r.qf += square
        r.hf += np.int64(p.l4_header)
        r.l3f += np.int64(p.l3_bytes)
        if size > 0:
            r.f_data += 1
        if r.bb_last > r.fb_start:
            r.fb_start = -1
        if size > 0:
            if r.fb_start < 0 or t - r.fb_last > BULK_GAP_US:
                r.fb_start = t
                r.fb_cnt = 1
                r.fb_size = size
            else:
                r.fb_cnt += 1
                r.fb_size += size
                if r.fb_cnt == BULK_MIN_PACKETS:
                    r.fb_n += 1
                    r.fb_pk += BULK_MIN_PACKETS
                    r.fb_bytes += r.fb_size
                    r.fb_dur += t - r.fb_start
                elif r.fb_cnt > BULK_MIN_PACKETS:
                    r.fb_pk += 1
                    r.fb_bytes += size
                    r.fb_dur += t - r.fb_last
            r.fb_last = t
    else:
        if r.nb == 0:
            r.b_first = t
            r.b_max = p.payload
            r.b_min = p.payload
            r.b_hmin = p.l4_header
            r.b_win = p.window
        else:
            gap = t - r.b_last
            r.b_iat_q += np.uint64(gap) * np.uint64(gap)
            r.b_iat_max = gap if r.nb == 1 else max(r.b_iat_max, gap)
            r.b_iat_min = gap if r.nb == 1 else min(r.b_iat_min, gap)
            r.b_max = max(r.b_max, p.payload)
            r.b_min = min(r.b_min, p.payload)
            r.b_hmin = min(r.b_hmin, p.l4_header)
        r.b_last = t
        r.nb += 1
        r.sb += size
        r.qb += square
        r.hb += np.int64(p.l4_header)
        r.l3b += np.int64(p.l3_bytes)
        if size > 0:
            r.b_data += 1
        if r.fb_last > r.bb_start:
            r.bb_start = -1
        if size > 0:
            if r.bb_start < 0 or t - r.bb_last > BULK_GAP_US:
                r.bb_start = t
                r.bb_cnt = 1
                r.bb_size = size
            else:
                r.bb_cnt += 1
                r.bb_size += size
                if r.bb_cnt == BULK_MIN_PACKETS:
                    r.bb_n += 1
                    r.bb_pk += BULK_MIN_PACKETS
                    r.bb_bytes += r.bb_size
                    r.bb_dur += t - r.bb_start
                elif r.bb_cnt > BULK_MIN_PACKETS:
                    r.bb_pk += 1
                    r.bb_bytes += size
                    r.bb_dur += t - r.bb_last
            r.bb_last = t

    r.malformed += p.malformed
    r.last = t
    if not tcp or p.frag == FRAG_LATER:
        return

    r.n_fin += flags & 1
    r.n_syn += (flags >> 1) & 1
    r.n_rst += (flags >> 2) & 1
    r.n_psh += (flags >> 3) & 1
    r.n_ack += (flags >> 4) & 1
    r.n_urg += (flags >> 5) & 1
    r.n_ece += (flags >> 6) & 1
    r.n_cwr += (flags >> 7) & 1
    length = size + (flags & 1) + ((flags >> 1) & 1)
    end = np.uint32((np.int64(p.seq) + length) & 0xFFFFFFFF)
    if forward:
        r.f_psh += (flags >> 3) & 1
        r.f_urg += (flags >> 5) & 1
        r.f_rst += (flags >> 2) & 1
        if length > 0:
            if (r.tcp & F_SEQ) == 0:
                r.f_next = end
                r.tcp |= F_SEQ
            elif p.seq == r.f_next or _ahead(p.seq, r.f_next):
                if p.seq != r.f_next:
                    r.f_hole_lo = r.f_next
                    r.f_hole_hi = p.seq
                r.f_next = end
            elif r.f_hole_lo != r.f_hole_hi and not _ahead(r.f_hole_lo, p.seq) and _ahead(r.f_hole_hi, p.seq):
                r.out_of_order += 1
                r.f_hole_lo = r.f_hole_hi if _ahead(end, r.f_hole_hi) else end
            else:
                r.duplicate += 1
                if _ahead(end, r.f_next):
                    r.f_next = end
    else:
        r.b_psh += (flags >> 3) & 1
        r.b_urg += (flags >> 5) & 1
        r.b_rst += (flags >> 2) & 1
        if length > 0:
            if (r.tcp & B_SEQ) == 0:
                r.b_next = end
                r.tcp |= B_SEQ
            elif p.seq == r.b_next or _ahead(p.seq, r.b_next):
                if p.seq != r.b_next:
                    r.b_hole_lo = r.b_next
                    r.b_hole_hi = p.seq
                r.b_next = end
            elif r.b_hole_lo != r.b_hole_hi and not _ahead(r.b_hole_lo, p.seq) and _ahead(r.b_hole_hi, p.seq):
                r.out_of_order += 1
                r.b_hole_lo = r.b_hole_hi if _ahead(end, r.b_hole_hi) else end
            else:
                r.duplicate += 1
                if _ahead(end, r.b_next):
                    r.b_next = end


@njit(inline="always")
def _reuses(r, p, forward):
    """Whether TCP packet ``p`` opens another connection between the same ports: a SYN, once FIN was seen from both sides or a RST.

    A SYN+ACK is no such thing, and neither is a copy of the connection's own SYN: from the same side, with the same sequence number.
    """
    if (p.flags & 18) != 2 or (r.closing == 0 and (r.tcp & (F_FIN | B_FIN)) != (F_FIN | B_FIN)):
        return False
    if forward:
        return (r.tcp & F_SYN) == 0 or p.seq != r.f_syn
    return (r.tcp & B_SYN) == 0 or p.seq != r.b_syn


@njit(inline="always")
def _tcp_close(r, p, t, forward):
    """Advance the connection's TCP state with packet ``p``; a closing row keeps what closed it first."""
    flags = p.flags
    if r.closing == 0:
        if flags & 4:
            r.closing = RST
            r.close_ts = t
        elif (r.tcp & F_FIN) and (r.tcp & B_FIN) and flags & 16:
            r.closing = FIN
            r.close_ts = t
    if forward:
        if flags & 2:
            r.tcp |= F_SYN
            r.f_syn = p.seq
        if flags & 1:
            r.tcp |= F_FIN
        if p.payload > 0:
            r.tcp |= F_DATA
        r.f_state, r.f_before, r.b_state, r.b_before = _endpoint(r.f_state, r.f_before, r.b_state, r.b_before, True, flags, p.payload > 0)
    else:
        if flags & 2:
            r.tcp |= B_SYN
            r.b_syn = p.seq
        if flags & 1:
            r.tcp |= B_FIN
        if p.payload > 0:
            r.tcp |= B_DATA
        r.b_state, r.b_before, r.f_state, r.f_before = _endpoint(r.b_state, r.b_before, r.f_state, r.f_before, False, flags, p.payload > 0)


@njit(inline="always")
def _endpoint(me, before, peer, peer_before, forward, flags, data):
    """States of the sender and of its peer after a packet: how Zeek's TCP analyser sees a connection, sequence numbers apart."""
    syn = (flags & 2) != 0
    ack = (flags & 16) != 0
    fin = (flags & 1) != 0
    rst = (flags & 4) != 0
    new = me
    if me == INACTIVE:
        if syn:
            if forward:
                new = SYN_ACK_SENT if ack else SYN_SENT
            else:
                new = ESTABLISHED
                if peer == SYN_SENT:
                    peer_before = peer
                    peer = ESTABLISHED
        if fin:
            before = new
            new = CLOSED
        if rst:
            before = new
            new = RESET
        # a bare ACK of a SYN is no answer to it yet
        if new == INACTIVE and (forward or data or peer != SYN_SENT):
            new = ESTABLISHED if ack and peer == ESTABLISHED else PARTIAL
    elif me in (SYN_SENT, SYN_ACK_SENT):
        if fin:
            before = new
            new = CLOSED
        if rst:
            before = new
            new = RESET
    elif me in (ESTABLISHED, PARTIAL):
        if syn and not ack and me == PARTIAL and peer == INACTIVE:
            before = new
            new = SYN_SENT
        if fin and not rst:
            before = new
            new = CLOSED
            if peer == RESET and peer_before == CLOSED:
                # FIN and then RST, answered by a FIN: an ordinary end
                peer_before = peer
                peer = CLOSED
        if rst:
            before = new
            new = RESET
    elif me == CLOSED and rst and peer != CLOSED:
        before = new
        new = RESET
    return np.uint8(new), np.uint8(before), np.uint8(peer), np.uint8(peer_before)


@njit(cache=True, nogil=True)
def _meter(rows, used, head, nxt, wake, mark, dirty, free, counts, packets, waited, timeouts, out):
    """Meter ``packets``, in time order but for those that waited; closed rows are copied to ``out``; returns how many.

    ``waited``: ns from a packet's own time to the time at which it is metered, which decides what is over; empty: none waited.

    ``timeouts``: idle, active, linger, interim age (us), interim packets. Needs as many free rows as packets.
    """
    idle = timeouts[0]
    active = timeouts[1]
    linger = timeouts[2]
    interim_age = timeouts[3]
    interim_packets = timeouts[4]
    mask = head.shape[0] - 1
    n_out = 0
    for k in range(packets.shape[0]):
        p = packets[k]
        t = p.ts // 1000
        now = t
        late = waited.shape[0] != 0 and waited[k] != 0
        if late:
            now = (p.ts + waited[k]) // 1000
            t = max(t, now - idle)  # further back, the flow it opens would be over before the rest of its datagram is in it
        first_part = np.uint32(0)
        s = np.int64(_key_hash(p.src_hi, p.src_lo, p.sport, p.dst_hi, p.dst_lo, p.dport, p.proto, p.domain) & np.uint64(mask))
        i = head[s]
        forward = True
        while i >= 0:
            r = rows[i]
            if r.proto == p.proto and r.ipver == p.ipver and r.domain == p.domain:
                if (
                    r.src_lo == p.src_lo
                    and r.dst_lo == p.dst_lo
                    and r.sport == p.sport
                    and r.dport == p.dport
                    and r.src_hi == p.src_hi
                    and r.dst_hi == p.dst_hi
                ):
                    forward = True
                    break
                if (
                    r.src_lo == p.dst_lo
                    and r.dst_lo == p.src_lo
                    and r.sport == p.dport
                    and r.dport == p.sport
                    and r.src_hi == p.dst_hi
                    and r.dst_hi == p.src_hi
                ):
                    forward = False
                    break
            i = nxt[i]

        tcp = p.proto == 6 and p.frag != FRAG_LATER
        fresh = i < 0
        if i >= 0:
            r = rows[i]
            reason = 0
            reused = tcp and _reuses(r, p, forward)
            if r.closing != 0 and (now - r.close_ts > linger or reused):
                reason = np.int64(r.closing)
            elif now - r.last > idle:
                reason = np.int64(r.closing) if r.closing != 0 else IDLE
            elif reused:
                reason = FIN  # both sides had ended it; the ACK of the last FIN was not captured
            elif r.closing == 0 and now - r.start > active:
                reason = ACTIVE
            if reason == 0 or reason == ACTIVE:
                t = max(t, r.last)  # of a packet that waited: its flow may have gone on meanwhile
            if reason == ACTIVE:
                r.end_reason = ACTIVE
                out[n_out] = r
                n_out += 1
                part = r.part + 1
                _begin(r, t, p, interim_age, interim_packets)
                r.part = part
            elif reason != 0:
                if r.start == t:
                    # begun in the very microsecond of the connection before it, it could not be told from that by key, start and part
                    first_part = np.uint32(r.part + 1)
                r.end_reason = reason
                out[n_out] = r
                n_out += 1
                _release(rows, used, head, nxt, wake, free, counts, i)
                fresh = True
        if fresh:
            counts[_FREE] -= 1
            i = free[counts[_FREE]]
            counts[_OPEN] += 1
            counts[_USED] = max(counts[_USED], i + 1)
            r = rows[i]
            used[i] = 1
            mark[i] = 0
            r.slot = np.uint64(i)
            # a SYN+ACK first means that the SYN was missed: its sender is the responder
            forward = not (tcp and (p.flags & 18) == 18) or (p.src_lo == p.dst_lo and p.src_hi == p.dst_hi and p.sport == p.dport)
            if forward:
                r.src_hi = p.src_hi
                r.src_lo = p.src_lo
                r.sport = p.sport
                r.dst_hi = p.dst_hi
                r.dst_lo = p.dst_lo
                r.dport = p.dport
            else:
                r.src_hi = p.dst_hi
                r.src_lo = p.dst_lo
                r.sport = p.dport
                r.dst_hi = p.src_hi
                r.dst_lo = p.src_lo
                r.dport = p.sport
            r.proto = p.proto
            r.ipver = p.ipver
            r.domain = p.domain
            r.part = first_part
            r.tcp = OPENED_LATE if late else 0
            r.f_state = INACTIVE
            r.b_state = INACTIVE
            r.f_before = INACTIVE
            r.b_before = INACTIVE
            r.conn_start = t
            r.conn_type = p.icmp_type
            r.conn_code = p.icmp_code
            # of the connection, like its TCP bits, and kept over a timeout split: a slot was another flow's before
            r.f_hole_lo = 0
            r.f_hole_hi = 0
            r.b_hole_lo = 0
            r.b_hole_hi = 0
            r.f_syn = 0
            r.b_syn = 0
            _begin(r, t, p, interim_age, interim_packets)
            nxt[i] = head[s]
            head[s] = i
        r = rows[i]
        _add(r, p, t, forward)
        if tcp:
            _tcp_close(r, p, t, forward)
        if r.closing != 0:
            wake[i] = min(r.close_ts + linger, r.last + idle)
        else:
            wake[i] = r.last + idle
        if r.next_age < _NEVER:
            wake[i] = min(wake[i], r.start + r.next_age)
        if mark[i] == 0:
            mark[i] = 1
            dirty[counts[_DIRTY]] = i
            counts[_DIRTY] += 1
    return n_out


@njit(cache=True, nogil=True)
def _expire(rows, used, head, nxt, wake, free, counts, watermarks, timeouts, out, start):
    """Close rows whose deadline lies behind their domain's watermark; ``(copied, next row)``, resumable when ``out`` is full.

    Of a row that is not due, only ``wake`` is looked at: eight bytes instead of a cache miss.
    """
    idle = timeouts[0]
    linger = timeouts[2]
    horizon = watermarks.max()
    n_out = 0
    i = start
    top = counts[_USED]
    while i < top and n_out < out.shape[0]:
        if wake[i] < horizon:
            f = watermarks[rows[i].domain]
            if f > wake[i]:
                r = rows[i]
                reason = 0
                if r.closing != 0 and (f - r.close_ts > linger or f - r.last > idle):
                    reason = np.int64(r.closing)
                elif f - r.last > idle:
                    reason = IDLE
                if reason != 0:
                    r.end_reason = reason
                    out[n_out] = r
                    n_out += 1
                    _release(rows, used, head, nxt, wake, free, counts, i)
        i += 1
    return n_out, i


@njit(cache=True, nogil=True)
def _interim(rows, used, wake, mark, dirty, counts, watermarks, timeouts, out, start):
    """Copy open rows with new packets that have reached their next age or packet count; sets the next one at twice what was reached.

    A flow that got no packet since its last snapshot would only say the same again.
    """
    idle = timeouts[0]
    linger = timeouts[2]
    horizon = watermarks.max()
    n_out = 0
    i = start
    top = counts[_USED]
    while i < top and n_out < out.shape[0]:
        if (mark[i] or wake[i] < horizon) and used[i]:
            r = rows[i]
            n = r.nf + r.nb
            age = max(watermarks[r.domain] - r.start, 0)
            due = n > r.shown and (n >= r.next_packets or age >= r.next_age)
            if due:
                while r.next_packets <= n:
                    r.next_packets *= 2
                while r.next_age <= age:
                    r.next_age = max(r.next_age, 1) * 2
                r.shown = n
                out[n_out] = r
                n_out += 1
                if mark[i] == 0:
                    mark[i] = 1
                    dirty[counts[_DIRTY]] = i
                    counts[_DIRTY] += 1
            if n == r.shown:
                # nothing new to show until its next packet
                wake[i] = r.last + idle
                if r.closing != 0:
                    wake[i] = min(wake[i], r.close_ts + linger)
        i += 1
    return n_out, i


@njit(cache=True, nogil=True)
def _apply(rows, used, head, nxt, wake, mark, free, counts, released, updates, timeouts):
    """Release slots and set rows; the free list is rebuilt by the caller."""
    idle = timeouts[0]
    linger = timeouts[2]
    mask = head.shape[0] - 1
    for k in range(released.shape[0]):
        i = np.int64(released[k])
        if i < used.shape[0] and used[i]:
            counts[_FREE] = 0
            _release(rows, used, head, nxt, wake, free, counts, i)
    for k in range(updates.shape[0]):
        i = np.int64(updates[k].slot)
        if used[i]:
            counts[_FREE] = 0
            _release(rows, used, head, nxt, wake, free, counts, i)
        rows[i] = updates[k]
        r = rows[i]
        used[i] = 1
        mark[i] = 0
        s = _slot(r, mask)
        nxt[i] = head[s]
        head[s] = i
        counts[_OPEN] += 1
        counts[_USED] = max(counts[_USED], i + 1)
        wake[i] = r.last + idle
        if r.closing != 0:
            wake[i] = min(wake[i], r.close_ts + linger)
        if r.next_age < _NEVER:
            wake[i] = min(wake[i], r.start + r.next_age)


@dataclass(frozen=True)
class Timeouts:
    """Metering rules in microseconds of event time."""

    idle_us: int = 60_000_000
    active_us: int = 120_000_000
    linger_us: int = 3_000_000
    interim_age_us: int = 500_000
    interim_packets: int = 8
    interim: bool = True

    def vector(self) -> NDArray[np.int64]:
        """As the kernels take them."""
        far = np.iinfo(np.int64).max
        age = max(self.interim_age_us, 1) if self.interim else far
        packets = self.interim_packets if self.interim else far
        return np.array([self.idle_us, self.active_us, self.linger_us, age, packets], np.int64)


#: Packets metered, and rows found by a scan, at a time: the table and the result have room for so many more.
_SLAB, _SCAN = 16_384, 4_096
NONE_WAITED = np.zeros(0, np.int64)
#: More than fit into any memory.
_MOST_SLOTS = 1 << 32


class Rows:
    """Rows that are found one part after the other, in one piece."""

    def __init__(self) -> None:
        self._data = np.empty(32_768, ROW_DTYPE)  # memory that is not written to costs nothing
        self._n = 0

    def room(self, n: int) -> NDArray:
        """Where the next ``n`` rows may be written; :meth:`filled` says how many were."""
        if self._n + n > len(self._data):
            grown = np.empty(max(2 * len(self._data), self._n + n), ROW_DTYPE)
            grown[: self._n] = self._data[: self._n]
            self._data = grown
        return self._data[self._n : self._n + n]

    def filled(self, n: int) -> None:
        """The first ``n`` rows of the last :meth:`room` are rows now."""
        self._n += n

    def found(self) -> NDArray:
        """All of them."""
        return self._data[: self._n]


class FlowTable:
    """Open flows of one bucket: rows, a chained hash index over their keys, and the time at which each needs attention."""

    def __init__(self, timeouts: Timeouts, capacity: int = 4096) -> None:
        self._timeouts = timeouts.vector()
        self._with_interim = timeouts.interim
        self._allocate(capacity)
        self._dirty = np.zeros(capacity * 2, np.int64)
        self._counts = np.zeros(4, np.int64)
        self._counts[_FREE] = capacity
        self._free[:capacity] = np.arange(capacity - 1, -1, -1)

    def _allocate(self, capacity: int) -> None:
        self.rows = np.zeros(capacity, ROW_DTYPE)
        self._used = np.zeros(capacity, np.uint8)
        self._nxt = np.full(capacity, -1, np.int64)
        self._wake = np.full(capacity, _NEVER, np.int64)
        self._mark = np.zeros(capacity, np.uint8)
        self._free = np.zeros(capacity, np.int64)
        self._head = np.full(1 << max(int(capacity - 1).bit_length(), 10), -1, np.int64)

    def __len__(self) -> int:
        return int(self._counts[_OPEN])

    def _reserve(self, n: int) -> None:
        """Room for ``n`` more flows, and for as many that change."""
        self._reserve_dirty(n)
        capacity = len(self.rows)
        if self._counts[_FREE] >= n:
            return
        grown = max(capacity * 2, capacity + n)
        old: dict[str, NDArray] = {name: getattr(self, name) for name in ("rows", "_used", "_nxt", "_wake", "_mark", "_free")}
        self._allocate(grown)
        for name, was in old.items():
            getattr(self, name)[: len(was)] = was
        free = int(self._counts[_FREE])
        # fresh rows go below the freed ones, so that the table stays dense at its low end
        self._free[grown - capacity : grown - capacity + free] = self._free[:free].copy()
        self._free[: grown - capacity] = np.arange(grown - 1, capacity - 1, -1)
        self._counts[_FREE] = free + grown - capacity
        _index_all(self.rows, self._used, self._head, self._nxt, int(self._counts[_USED]))

    def meter(self, packets: NDArray, closed: Rows, waited: NDArray[np.int64] = NONE_WAITED) -> None:
        """Apply packets (:data:`PACKET_DTYPE`) in time order; the rows that close on the way go to ``closed``.

        ``waited``: ns that each packet waited for its turn (see :mod:`jobs.metering.fragments`); empty when none did.
        """
        assert packets.dtype == PACKET_DTYPE
        for at in range(0, len(packets), _SLAB):
            slab = packets[at : at + _SLAB]
            self._reserve(len(slab))
            n = _meter(
                self.rows,
                self._used,
                self._head,
                self._nxt,
                self._wake,
                self._mark,
                self._dirty,
                self._free,
                self._counts,
                slab,
                waited[at : at + _SLAB],
                self._timeouts,
                closed.room(len(slab)),
            )
            closed.filled(n)

    def expire(self, watermarks: NDArray[np.int64], closed: Rows) -> None:
        """Close what is due; ``watermarks``: per domain number, us: every packet before it has been metered."""
        at = 0
        while at < self._counts[_USED]:
            n, at = _expire(
                self.rows,
                self._used,
                self._head,
                self._nxt,
                self._wake,
                self._free,
                self._counts,
                watermarks,
                self._timeouts,
                closed.room(_SCAN),
                at,
            )
            closed.filled(n)

    def interim(self, watermarks: NDArray[np.int64]) -> NDArray:
        """Snapshots of open flows that are due."""
        shown = Rows()
        if not self._with_interim:
            return shown.found()
        self._reserve_dirty(len(self))
        at = 0
        while at < self._counts[_USED]:
            n, at = _interim(
                self.rows,
                self._used,
                self._wake,
                self._mark,
                self._dirty,
                self._counts,
                watermarks,
                self._timeouts,
                shown.room(_SCAN),
                at,
            )
            shown.filled(n)
        return shown.found()

    def _reserve_dirty(self, n: int) -> None:
        need = int(self._counts[_DIRTY]) + n
        if need > len(self._dirty):
            grown = np.zeros(need * 2, np.int64)
            grown[: len(self._dirty)] = self._dirty
            self._dirty = grown

    def close_domain(self, domain: int, closed: Rows) -> None:
        """End of a domain's input: rows that were closing end as they closed, all others ``forced``."""
        top = int(self._counts[_USED])
        at = np.flatnonzero((self._used[:top] == 1) & (self.rows["domain"][:top] == domain))
        self._close_rows(at, FORCED, closed)

    def evict(self, n: int, closed: Rows) -> None:
        """Give up ``n`` open flows: single-packet ones first (a flood must not push out real conversations), the least recent first."""
        top = int(self._counts[_USED])
        at = np.flatnonzero(self._used[:top] == 1)
        start, last, forward, backward = (self.rows[name][at] for name in ("start", "last", "nf", "nb"))
        order = np.lexsort((start, last, forward + backward > 1))
        self._close_rows(at[order[:n]], EVICTED, closed)

    def _close_rows(self, at: NDArray[np.int64], reason: int, closed: Rows) -> None:
        out = closed.room(len(at))
        np.take(self.rows, at, out=out, mode="clip")  # unchecked, or it would go through a copy
        out["end_reason"] = np.where(out["closing"] != 0, out["closing"], reason)
        closed.filled(len(at))
        _release_all(self.rows, self._used, self._head, self._nxt, self._wake, self._free, self._counts, at)

    def take_dirty(self) -> NDArray:
        """Copies of the open rows touched since the last call."""
        n = int(self._counts[_DIRTY])
        at = self._dirty[:n]
        at = np.unique(at[(self._used[at] == 1) & (self._mark[at] == 1)])
        self.forget_dirty()
        return take(self.rows, at)

    def forget_dirty(self) -> None:
        """Nobody will ask what has changed so far. Without this, or :meth:`take_dirty`, now and then what is remembered grows for ever."""
        self._mark[self._dirty[: int(self._counts[_DIRTY])]] = 0
        self._counts[_DIRTY] = 0

    def open_domains(self) -> NDArray[np.uint16]:
        """Domain number of every open row."""
        top = int(self._counts[_USED])
        return self.rows["domain"][:top][self._used[:top] == 1]

    def open_among(self, slots: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Those of ``slots`` that hold an open flow."""
        at = slots[slots < len(self.rows)].astype(np.int64)
        return at[self._used[at] == 1]

    def rows_at(self, slots: NDArray[np.int64]) -> NDArray:
        """Copies of the rows at ``slots``, open flows all."""
        return take(self.rows, slots)

    def apply(self, released: NDArray[np.uint64], rows: NDArray) -> None:
        """Repeat what another copy of the table did: release slots, then set ``rows`` at theirs.

        Raises
        ------
        ValueError
            A slot that no table has: the bytes are damaged.
        """
        top = int(rows["slot"].max()) + 1 if len(rows) else 0
        highest = max(top - 1, int(released.max()) if len(released) else 0)
        if highest > _MOST_SLOTS:
            raise ValueError(f"slot {highest} is beyond what a table holds")
        if top > len(self.rows):
            self._reserve(top - len(self.rows) + int(self._counts[_FREE]))
        _apply(
            self.rows, self._used, self._head, self._nxt, self._wake, self._mark, self._free, self._counts, released, rows, self._timeouts
        )
        free = np.flatnonzero(self._used == 0)[::-1]
        self._free[: len(free)] = free
        self._counts[_FREE] = len(free)
