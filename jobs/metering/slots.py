"""Where the rows of a flow table lie: slots, and a chained hash index over the flows' keys."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.kernels import kernel, piece
from sensors.packets.decode.hashing import address_hash, mix

#: A time that does not come, us.
NEVER = np.iinfo(np.int64).max

#: Positions in ``Slots.counts``.
FREE, OPEN, DIRTY, USED = range(4)

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio: spreads ports over all bits


class Slots(NamedTuple):
    """The arrays of a flow table with room for ``n`` flows, as the kernels take them.

    ``forward`` and ``backward`` are the same memory as ``rows``, seen by direction.
    """

    rows: NDArray  # ROW_DTYPE[n]
    forward: NDArray  # FORWARD[n]
    backward: NDArray  # BACKWARD[n]
    used: NDArray[np.uint8]  # [n]: 1 where there is a flow
    nxt: NDArray[np.int64]  # [n]: next slot of the chain, -1: none
    wake: NDArray[np.int64]  # [n]: us at which the row needs attention
    mark: NDArray[np.uint8]  # [n]: 1 where the slot is in ``dirty``
    free: NDArray[np.int64]  # [n]: slots without a flow; the first counts[FREE] hold
    head: NDArray[np.int64]  # [a power of 2]: first slot of each chain
    counts: NDArray[np.int64]  # [4]: how many are free, open and dirty; above all slots ever used
    dirty: NDArray[np.int64]  # slots that have changed; the first counts[DIRTY] hold
    blank: NDArray  # ROW_DTYPE[1], of zeros


class Limits(NamedTuple):
    """Metering rules as the kernels take them: us, and packets."""

    idle: int
    active: int
    linger: int
    interim_age: int
    interim_packets: int


@piece
def _key_hash(a_hi, a_lo, ap, b_hi, b_lo, bp, proto, domain):
    """64-bit hash of a flow's key, the same in both directions."""
    x = address_hash(a_hi, a_lo) + np.uint64(ap) * np.uint64(_GOLDEN)
    y = address_hash(b_hi, b_lo) + np.uint64(bp) * np.uint64(_GOLDEN)
    return mix(mix(x) + mix(y) + np.uint64(proto) + (np.uint64(domain) << np.uint64(8)))


@piece
def chain_of(key, head):
    """Position in ``head`` of a row's or a packet's flow."""
    h = _key_hash(key.src_hi, key.src_lo, key.sport, key.dst_hi, key.dst_lo, key.dport, key.proto, key.domain)
    return np.int64(h & np.uint64(head.shape[0] - 1))


@piece
def same_ends(r, p):
    """Whether packet ``p`` goes from the source of row ``r`` to its destination."""
    return (
        r.src_lo == p.src_lo
        and r.dst_lo == p.dst_lo
        and r.sport == p.sport
        and r.dport == p.dport
        and r.src_hi == p.src_hi
        and r.dst_hi == p.dst_hi
    )


@piece
def _swapped_ends(r, p):
    """Whether it goes the other way."""
    return (
        r.src_lo == p.dst_lo
        and r.dst_lo == p.src_lo
        and r.sport == p.dport
        and r.dport == p.sport
        and r.src_hi == p.dst_hi
        and r.dst_hi == p.src_hi
    )


@piece
def find(slots, chain, p):
    """Slot of the flow of packet ``p``, -1: none."""
    i = slots.head[chain]
    while i >= 0:
        r = slots.rows[i]
        if r.proto == p.proto and r.ipver == p.ipver and r.domain == p.domain and (same_ends(r, p) or _swapped_ends(r, p)):
            return i
        i = slots.nxt[i]
    return i


@piece
def claim(slots, chain):
    """Take a free slot into a chain; its row is blank."""
    counts = slots.counts
    counts[FREE] -= 1
    i = slots.free[counts[FREE]]
    counts[OPEN] += 1
    counts[USED] = max(counts[USED], i + 1)
    slots.used[i] = 1
    slots.mark[i] = 0
    slots.rows[i] = slots.blank[0]
    slots.rows[i].slot = np.uint64(i)
    slots.nxt[i] = slots.head[chain]
    slots.head[chain] = i
    return i


@piece
def release(slots, i):
    """Give a slot back."""
    chain = chain_of(slots.rows[i], slots.head)
    if slots.head[chain] == i:
        slots.head[chain] = slots.nxt[i]
    else:
        j = slots.head[chain]
        while slots.nxt[j] != i:
            j = slots.nxt[j]
        slots.nxt[j] = slots.nxt[i]
    slots.used[i] = 0
    slots.wake[i] = NEVER
    slots.free[slots.counts[FREE]] = i
    slots.counts[FREE] += 1
    slots.counts[OPEN] -= 1


@piece
def touch(slots, i):
    """Note that a row has changed."""
    if slots.mark[i] == 0:
        slots.mark[i] = 1
        slots.dirty[slots.counts[DIRTY]] = i
        slots.counts[DIRTY] += 1


@piece
def deadline(r, limits):
    """When row ``r`` is over unless another packet comes, us."""
    due = r.last + limits.idle
    if r.closing != 0:
        due = min(due, r.close_ts + limits.linger)
    return due


@piece
def attention(r, limits):
    """When row ``r`` needs attention: when it is over, or due for a snapshot."""
    due = deadline(r, limits)
    if r.next_age < NEVER:
        due = min(due, r.start + r.next_age)
    return due


@kernel
def index_all(slots):
    """Build the chains anew."""
    slots.head[:] = -1
    for i in range(slots.counts[USED]):
        if slots.used[i]:
            chain = chain_of(slots.rows[i], slots.head)
            slots.nxt[i] = slots.head[chain]
            slots.head[chain] = i


@kernel
def release_all(slots, at):
    """Give the slots ``at`` (int64[m]) back."""
    for i in at:
        release(slots, i)


@kernel
def apply(slots, released, updates, limits):
    """Release slots (uint64[m]) and set rows (ROW_DTYPE[k]) at theirs; the free list is rebuilt by the caller."""
    for k in range(released.shape[0]):
        i = np.int64(released[k])
        if i < slots.used.shape[0] and slots.used[i]:
            slots.counts[FREE] = 0
            release(slots, i)
    for k in range(updates.shape[0]):
        i = np.int64(updates[k].slot)
        if slots.used[i]:
            slots.counts[FREE] = 0
            release(slots, i)
        _set(slots, i, updates[k], limits)


@piece
def _set(slots, i, row, limits):
    """Put a row into a slot that is free."""
    slots.rows[i] = row
    slots.used[i] = 1
    slots.mark[i] = 0
    chain = chain_of(slots.rows[i], slots.head)
    slots.nxt[i] = slots.head[chain]
    slots.head[chain] = i
    slots.counts[OPEN] += 1
    slots.counts[USED] = max(slots.counts[USED], i + 1)
    slots.wake[i] = attention(slots.rows[i], limits)
