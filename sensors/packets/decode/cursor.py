"""Where the decoder stands in a frame.

The functions of this package share two records: the cursor, and the digest that is filled in
(:data:`sensors.packets.decode.packet.PACKET_DTYPE`). Each function reads one header at the cursor and moves it; it returns 0, or a
reject code of :mod:`sensors.packets.decode.packet`.
"""

from __future__ import annotations

import numpy as np
from numba import from_dtype
from numba.core import cgutils
from numba.extending import intrinsic

from infra.kernels import piece

CURSOR_DTYPE = np.dtype(
    [
        # ---- bytes, as positions in the data
        ("start", "i8"),  # of the frame
        ("pos", "i8"),  # of the header that is read next
        ("end", "i8"),  # of the captured bytes, or of the tunnel inside them
        ("wire_end", "i8"),  # where ``end`` was on the wire
        # ---- what comes next
        ("layer", "i8"),  # one of the layers below
        ("ethertype", "i8"),  # where the layer is ETHERTYPE
        ("link", "i8"),  # LINKTYPE_* of the frame
        # ---- the way so far
        ("depth", "i8"),  # IP headers
        ("tunnel", "i8"),  # kinds, 4 bits each, outermost in the lowest bits
        ("tunnels", "i8"),  # how many
        ("metered", "i8"),  # 1: the digest holds a packet that is metered when there is no IP further inside
        ("cut", "i8"),  # 1: the capture ends before the packet that carries the tunnel
        # ---- the IP packet that is being read
        ("version", "i8"),  # 4 or 6
        ("proto", "i8"),  # IP protocol of the header at ``l4``
        ("l4", "i8"),  # position behind the IP header, later behind its extension headers
        ("l4_len", "i8"),  # bytes from there to the end of the packet, by its headers
        ("unstated", "i8"),  # 1: the header leaves the length to the card
        # ---- the tunnel that it is
        ("limit", "i8"),  # end of what it carries
        ("inner_layer", "i8"),  # NONE: no tunnel
        ("inner_pos", "i8"),
        ("inner_ethertype", "i8"),
        ("kind", "i8"),  # code of the tunnel
    ],
    align=True,
)

_CURSOR = from_dtype(CURSOR_DTYPE)


@intrinsic
def new_cursor(typing):
    """A cursor on the kernel's stack: the compiler keeps its fields in registers, which it cannot do with an element of an array."""

    def allocate(context, builder, signature, args):
        place = cgutils.alloca_once(builder, context.get_data_type(_CURSOR))
        place.align = CURSOR_DTYPE.alignment
        return builder.bitcast(place, context.get_value_type(_CURSOR))

    return _CURSOR(), allocate


#: Layers: what is due at the cursor.
NONE, ETHERNET, IP, ETHERTYPE, PPP, MPLS_LABELS, WIFI, LLC = range(8)

#: Kinds of tunnels that a digest has room for.
_KINDS = 8


@piece
def add_kind(c, kind):
    """Note a tunnel on the way in."""
    if c.tunnels < _KINDS:
        c.tunnel |= np.int64(kind) << (4 * c.tunnels)
    c.tunnels += 1


@piece
def carries(c, layer, pos, kind):
    """Note that the packet is a tunnel of ``kind``, whose content begins with ``layer`` at ``pos``."""
    c.inner_layer = layer
    c.inner_pos = pos
    c.kind = kind


@piece
def enter(c):
    """Go into the tunnel. What lies behind the packet that carries it (padding, a trailer) is not in it."""
    c.cut = 1 if c.limit > c.end else 0
    c.end = min(c.end, c.limit)
    c.wire_end = min(c.wire_end, c.limit)
    c.layer = c.inner_layer
    c.pos = c.inner_pos
    c.ethertype = c.inner_ethertype
    add_kind(c, c.kind)
