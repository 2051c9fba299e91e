"""From a frame to its digest: the loop over headers, and the kernels over many frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.kernels import kernel, piece
from sensors.packets.decode.cursor import NONE, enter, new_cursor
from sensors.packets.decode.ip import extension_headers, ip_header
from sensors.packets.decode.layer2 import to_ip
from sensors.packets.decode.link import begin
from sensors.packets.decode.packet import BAD_TIMESTAMP, MAX_DEPTH, MAX_TS_NS, MAX_WIRE, PACKET_DTYPE, TOO_DEEP, TRUNCATED
from sensors.packets.decode.transport import transport


@piece
def wire_length(captured, original):
    """Bytes that a frame had on the wire, from a capture's two lengths.

    Offloads state less than they hand over: the longer of the two counts. More than any card takes is damage: what was captured counts.
    """
    return original if captured < original <= MAX_WIRE else captured


@piece
def _place(c, out, start, end, wire_end, link):
    """Put the cursor at the beginning of a frame."""
    c.start = start
    c.pos = start
    c.end = end
    c.wire_end = wire_end
    c.link = link
    c.depth = 0
    c.tunnel = 0
    c.tunnels = 0
    c.metered = 0
    c.cut = 0
    out.vlan1 = 0
    out.vlan2 = 0
    out.vlan3 = 0


@piece
def _next_packet(d, c, out):
    """Read down to the next IP header and it, too."""
    fail = to_ip(d, c, out)
    if fail == 0 and c.pos < c.end:
        c.depth += 1
        if c.depth > MAX_DEPTH:
            return TOO_DEEP
    return ip_header(d, c, out) if fail == 0 else fail


@kernel
def _parse(d, start, end, wire_end, link, out):
    """Read one frame.

    Parameters
    ----------
    d
        ``uint8[...]``: bytes; the frame is ``d[start:end]``.
    wire_end
        Where the frame ended on the wire.
    link
        LINKTYPE_* number.
    out
        Record of :data:`PACKET_DTYPE` that is filled in; what is no header's matter (``ts``, ``msg`` ...) stays as it is.

    Returns
    -------
    int
        0, or a reject code.
    """
    c = new_cursor()
    _place(c, out, start, end, wire_end, link)
    fail = begin(d, c)
    if fail != 0:
        return fail
    while True:
        fail = _next_packet(d, c, out)
        if fail != 0:
            # the packet around it is metered; but doing so because the snap length hides the inner one would make flows that a longer
            # one does not have
            around = c.metered != 0 and fail != TOO_DEEP and not (fail == TRUNCATED and c.cut != 0)
            return 0 if around else fail
        fail = extension_headers(d, c, out)
        if fail == 0:
            fail = transport(d, c, out)
        if fail != 0 or c.inner_layer == NONE:
            return fail
        c.metered = 1
        enter(c)


@kernel
def _decode(data, offsets, ts, wire_len, link_type, out, reasons):
    """Digest every frame: :func:`decode` on arrays that the caller has made."""
    for i in range(offsets.shape[0] - 1):
        lo = offsets[i]
        hi = offsets[i + 1]
        out[i].ts = ts[i]
        out[i].idx = np.uint32(i)
        wire_end = lo + wire_length(hi - lo, np.int64(wire_len[i]))
        reasons[i] = _parse(data, lo, hi, wire_end, np.int64(link_type[i]), out[i])
        if ts[i] < 0 or ts[i] > MAX_TS_NS:
            reasons[i] = BAD_TIMESTAMP


@kernel
def _hashes(data, offsets, wire_len, link_type, scratch, out):
    """Hash every frame: :func:`flow_hashes`; ``scratch``: :data:`PACKET_DTYPE` ``[1]``."""
    for i in range(offsets.shape[0] - 1):
        lo = offsets[i]
        hi = offsets[i + 1]
        wire_end = lo + wire_length(hi - lo, np.int64(wire_len[i]))
        fail = _parse(data, lo, hi, wire_end, np.int64(link_type[i]), scratch[0])
        out[i] = scratch[0].flow_hash if fail == 0 else 0


def decode(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    ts: NDArray[np.int64],
    wire_len: NDArray[np.uint32],
    link_type: NDArray[np.uint16],
) -> tuple[NDArray, NDArray[np.uint8]]:
    """Digest ``n`` frames.

    Parameters
    ----------
    data
        Frame bytes, end to end.
    offsets
        ``int64[n + 1]``: frame ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
    ts
        ``int64[n]``: capture time, ns since the epoch, UTC.
    wire_len
        ``uint32[n]``: bytes on the wire, as far as :func:`wire_length` believes them.
    link_type
        ``uint16[n]``: LINKTYPE_* value.

    Returns
    -------
    packets, reasons
        :data:`PACKET_DTYPE` ``[n]`` and ``uint8[n]``: 0, or the index into :data:`REJECT_REASONS`; rejected rows hold no meaning.
    """
    n = len(offsets) - 1
    packets = np.zeros(n, PACKET_DTYPE)
    reasons = np.zeros(n, np.uint8)
    _decode(data, offsets, ts, wire_len, link_type, packets, reasons)
    return packets, reasons


def flow_hashes(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], wire_len: NDArray[np.uint32], link_type: NDArray[np.uint16]
) -> NDArray[np.uint32]:
    """``flow_hash`` of :func:`decode` alone, ``uint32[n]``: symmetric, of the innermost address pair; 0 for frames that are not metered."""
    out = np.zeros(len(offsets) - 1, np.uint32)
    _hashes(data, offsets, wire_len, link_type, np.zeros(1, PACKET_DTYPE), out)
    return out
