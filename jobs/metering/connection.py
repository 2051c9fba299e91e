"""What a packet says of its TCP connection: sequence numbers, states, close and reuse (RFC 9293; states in Zeek's terms).

A row is seen three ways: ``r`` is the row, ``d`` the same bytes by the direction of the packet (:mod:`jobs.metering.row`); ``side`` is 0
forward and 1 backward: ``F_FIN << side`` is the bit of that direction.
"""

from __future__ import annotations

import numpy as np

from infra.kernels import piece
from jobs.metering.row import (
    B_FIN,
    B_SYN,
    CLOSED,
    ESTABLISHED,
    F_DATA,
    F_FIN,
    F_SEQ,
    F_SYN,
    FIN,
    INACTIVE,
    PARTIAL,
    RESET,
    RST,
    SYN_ACK_SENT,
    SYN_SENT,
)
from sensors.packets.decode import FRAG_LATER
from sensors.packets.protocols import (
    IPPROTO_TCP,
    TCP_ACK,
    TCP_CWR,
    TCP_ECE,
    TCP_FIN,
    TCP_PSH,
    TCP_RST,
    TCP_SYN,
    TCP_URG,
)


@piece
def has_tcp(p):
    """Whether the packet carries a TCP header: later fragments have none."""
    return p.proto == IPPROTO_TCP and p.frag != FRAG_LATER


@piece
def answers_syn(flags):
    """Whether the flags are those of a SYN+ACK."""
    return (flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)


@piece
def _bit(flags, mask):
    """1 where the flag is set, else 0 (int64)."""
    return np.int64((flags & mask) != 0)


@piece
def count_flags(r, d, flags):
    """Count the TCP flags of a packet."""
    r.n_fin += _bit(flags, TCP_FIN)
    r.n_syn += _bit(flags, TCP_SYN)
    r.n_rst += _bit(flags, TCP_RST)
    r.n_psh += _bit(flags, TCP_PSH)
    r.n_ack += _bit(flags, TCP_ACK)
    r.n_urg += _bit(flags, TCP_URG)
    r.n_ece += _bit(flags, TCP_ECE)
    r.n_cwr += _bit(flags, TCP_CWR)
    d.psh += _bit(flags, TCP_PSH)
    d.urg += _bit(flags, TCP_URG)
    d.rst += _bit(flags, TCP_RST)


@piece
def _ahead(a, b):
    """TCP sequence arithmetic: is ``a`` after ``b`` (RFC 9293, section 3.4)?"""
    d = (np.int64(a) - np.int64(b)) & 0xFFFFFFFF
    return 0 < d < 0x80000000


@piece
def follow_sequence(r, d, p, side):
    """Tell new data from a late arrival, which fills the last hole, and from a copy."""
    length = np.int64(p.payload) + _bit(p.flags, TCP_FIN) + _bit(p.flags, TCP_SYN)
    if length == 0:
        return
    end = np.uint32((np.int64(p.seq) + length) & 0xFFFFFFFF)
    if (r.tcp & (F_SEQ << side)) == 0:
        d.next = end
        r.tcp |= F_SEQ << side
    elif p.seq == d.next or _ahead(p.seq, d.next):
        if p.seq != d.next:
            d.hole_lo = d.next
            d.hole_hi = p.seq
        d.next = end
    elif d.hole_lo != d.hole_hi and not _ahead(d.hole_lo, p.seq) and _ahead(d.hole_hi, p.seq):
        r.out_of_order += 1
        d.hole_lo = d.hole_hi if _ahead(end, d.hole_hi) else end
    else:
        r.duplicate += 1
        if _ahead(end, d.next):
            d.next = end


@piece
def reuses(r, p, forward):
    """Whether TCP packet ``p`` opens another connection between the same ports: a SYN, once FIN was seen from both sides or a RST.

    A SYN+ACK is no such thing, and neither is a copy of the connection's own SYN: from the same side, with the same sequence number.
    """
    if (p.flags & (TCP_SYN | TCP_ACK)) != TCP_SYN or (r.closing == 0 and (r.tcp & (F_FIN | B_FIN)) != (F_FIN | B_FIN)):
        return False
    if forward:
        return (r.tcp & F_SYN) == 0 or p.seq != r.f_syn
    return (r.tcp & B_SYN) == 0 or p.seq != r.b_syn


@piece
def advance(r, d, p, t, side):
    """Advance the connection's state with packet ``p`` at ``t`` (us); a closing row keeps what closed it first."""
    flags = p.flags
    if r.closing == 0:
        if flags & TCP_RST:
            r.closing = RST
            r.close_ts = t
        elif (r.tcp & F_FIN) and (r.tcp & B_FIN) and flags & TCP_ACK:
            r.closing = FIN
            r.close_ts = t
    if flags & TCP_SYN:
        r.tcp |= F_SYN << side
        d.syn = p.seq
    if flags & TCP_FIN:
        r.tcp |= F_FIN << side
    if p.payload > 0:
        r.tcp |= F_DATA << side
    _endpoint(d, side == 0, flags, p.payload > 0)


@piece
def _endpoint(d, forward, flags, data):
    """States of the sender and of its peer after a packet: how Zeek's TCP analyser sees a connection, sequence numbers apart."""
    me = d.state
    if me == INACTIVE:
        _first_seen(d, forward, flags, data)
    elif me == SYN_SENT or me == SYN_ACK_SENT:
        if flags & TCP_FIN:
            _becomes(d, CLOSED)
        if flags & TCP_RST:
            _becomes(d, RESET)
    elif me == ESTABLISHED or me == PARTIAL:
        if (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN and me == PARTIAL and d.peer_state == INACTIVE:
            _becomes(d, SYN_SENT)
        if (flags & (TCP_FIN | TCP_RST)) == TCP_FIN:
            _becomes(d, CLOSED)
            if d.peer_state == RESET and d.peer_before == CLOSED:
                # FIN and then RST, answered by a FIN: an ordinary end
                d.peer_before = d.peer_state
                d.peer_state = CLOSED
        if flags & TCP_RST:
            _becomes(d, RESET)
    elif me == CLOSED and (flags & TCP_RST) and d.peer_state != CLOSED:
        _becomes(d, RESET)


@piece
def _first_seen(d, forward, flags, data):
    """State of an endpoint with its first packet."""
    ack = (flags & TCP_ACK) != 0
    if flags & TCP_SYN:
        if forward:
            d.state = SYN_ACK_SENT if ack else SYN_SENT
        else:
            d.state = ESTABLISHED
            if d.peer_state == SYN_SENT:
                d.peer_before = d.peer_state
                d.peer_state = ESTABLISHED
    if flags & TCP_FIN:
        _becomes(d, CLOSED)
    if flags & TCP_RST:
        _becomes(d, RESET)
    # a bare ACK of a SYN is no answer to it yet
    if d.state == INACTIVE and (forward or data or d.peer_state != SYN_SENT):
        d.state = ESTABLISHED if ack and d.peer_state == ESTABLISHED else PARTIAL


@piece
def _becomes(d, state):
    d.before = d.state
    d.state = state
