"""Slices of a meter by source and slot: the loop of :mod:`jobs.windows.slots`, compiled. Nothing is copied that is not kept."""

from __future__ import annotations

import numpy as np

from infra.kernels import kernel, piece
from jobs.windows.grouping import BITS, BYTES_IN, BYTES_OUT, HASH, KIND, PACKETS, ROW, STARTED, SUMS, SYN
from jobs.windows.hashing import mixed_one
from jobs.windows.summary import ADDRESSES, PORTS
from sensors.packets.protocols import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP


@kernel
def sum_slices(slices, keys, order, slots, most, rows, items, hashes, sorted_by):
    """Slices in an ``order`` that puts the same key together, as rows and items; how many rows and items there are.

    Parameters
    ----------
    slices
        SLICE_DTYPE[n].
    keys
        KEY_DTYPE[n] of them.
    order
        int64[n].
    slots
        In the largest window.
    most
        Items of a row and kind that stay: those of the smallest hashes.
    rows
        Room for n rows: ROW_DTYPE[n], zeros.
    items
        Room for 3 n items, as words: int64[3 n, 9].
    hashes, sorted_by
        Room for n: uint64[n], int64[n].
    """
    n, m, k = 0, 0, 0
    while k < order.shape[0]:
        key = keys[order[k]]
        end = k + 1
        while end < order.shape[0] and keys[order[end]].tag == key.tag and keys[order[end]].begin == key.begin:
            end += 1
        _sum_row(slices, key, order, k, end, rows[n])
        for kind in range(3):
            for at in range(k, end):
                i = order[at]
                hashes[at], sorted_by[at] = _item_hash(slices[i], kind), i
            _sort(hashes, sorted_by, k, end)
            m = _sum_items(slices, kind, hashes, sorted_by, k, end, slots, most, items, n, m)
        n += 1
        k = end
    return n, m


@piece
def _sum_row(slices, key, order, begin, end, r):
    r.tag, r.domain, r.ipver, r.bits = key.tag, key.domain, key.ipver, key.bits
    r.src_hi, r.src_lo, r.begin = key.src_hi, key.src_lo, key.begin
    r.first, r.last = slices[order[begin]].first, slices[order[begin]].last
    for at in range(begin, end):
        s = slices[order[at]]
        packets = np.int64(s.nf) + np.int64(s.nb)
        r.first, r.last = min(r.first, s.first), max(r.last, s.last)
        r.packets_out += s.nf
        r.packets_in += s.nb
        r.bytes_out += s.l3f
        r.bytes_in += s.l3b
        r.data_out += s.f_data
        r.data_in += s.b_data
        r.flows_started += s.opened
        r.syn += s.f_syn
        r.syn_ack += s.b_syn_ack
        r.ack_out += s.f_ack
        r.ack_in += s.b_ack
        r.fin_out += s.f_fin
        r.fin_in += s.b_fin
        r.rst_out += s.f_rst
        r.rst_in += s.b_rst
        if s.proto == IPPROTO_TCP:
            r.tcp_packets += packets
            r.tcp_started += s.opened
        elif s.proto == IPPROTO_UDP:
            r.udp_packets += packets
            r.udp_started += s.opened
        elif s.proto == IPPROTO_ICMP or s.proto == IPPROTO_ICMPV6:
            r.icmp_packets += packets


@piece
def _sum_items(slices, kind, hashes, sorted_by, begin, end, slots, most, items, row, m):
    """Items of one row and kind behind the first ``m``; how many there are then."""
    rank = 0
    for at in range(begin, end):
        s = slices[sorted_by[at]]
        if at == begin or hashes[at] != hashes[at - 1]:
            rank += 1
            if rank > most:
                break
            items[m, ROW], items[m, HASH], items[m, BITS] = row, np.int64(hashes[at]), 0
            items[m, KIND] = kind if kind == ADDRESSES else kind | np.int64(s.proto) << 32
            for c in SUMS:
                items[m, c] = 0
            m += 1
        items[m - 1, PACKETS] += np.int64(s.nf) + np.int64(s.nb)
        items[m - 1, BYTES_OUT] += s.l3f
        items[m - 1, BYTES_IN] += s.l3b
        items[m - 1, STARTED] += s.opened
        items[m - 1, SYN] += s.f_syn
        items[m - 1, BITS] |= np.int64(s.opened) << (s.slot % slots)
    return m


@piece
def _sort(hashes, sorted_by, begin, end):
    """By hash, in place (Shell, CACM 1959): mostly a handful, and a scanner's are as many as the batch has."""
    gap = 1
    while 3 * gap < end - begin:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(begin + gap, end):
            value, of = hashes[at], sorted_by[at]
            to = at
            while to - gap >= begin and hashes[to - gap] > value:
                hashes[to], sorted_by[to] = hashes[to - gap], sorted_by[to - gap]
                to -= gap
            hashes[to], sorted_by[to] = value, of
        gap //= 3


@piece
def _item_hash(s, kind):
    if kind == PORTS:
        return _port(s)
    address = mixed_one(mixed_one(s.dst_hi) ^ s.dst_lo)
    return address if kind == ADDRESSES else mixed_one(address + _port(s))


@piece
def _port(s):
    return mixed_one(np.uint64(s.proto) << np.uint64(16) | np.uint64(s.dport))
