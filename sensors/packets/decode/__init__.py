"""Frames -> packet digests: the header fields the meter needs, read by compiled kernels.

A digest is one fixed-size record (:data:`PACKET_DTYPE`). Lengths come from the headers, never from the captured bytes, so a frame
cut behind its L4 header gives the same digest as the whole frame. A tunnel is read down to its innermost IP packet; when what is
inside is no IP (ARP in VXLAN, a GTP echo), the outer packet is metered. The rules in words: ``docs/reference/flow-rules.md``.

In the order of the headers: :mod:`.link` (the first one), :mod:`.layer2` and :mod:`.wifi` (down to IP), :mod:`.ip`, :mod:`.transport`,
:mod:`.tunnels` and :mod:`.udp_tunnels` (and round again); :mod:`.frame` has the loop, :mod:`.cursor` what they share.
"""

from sensors.packets.decode.frame import decode, flow_hashes, wire_length
from sensors.packets.decode.packet import (
    BAD_TIMESTAMP,
    FRAG_FIRST,
    FRAG_LATER,
    FRAGMENT_ORPHAN,
    LATE,
    MAX_TS_NS,
    MAX_WIRE,
    PACKET_DTYPE,
    REJECT_REASONS,
    UNKNOWN_LINK,
    tunnel_name,
)

__all__ = [
    "BAD_TIMESTAMP",
    "FRAGMENT_ORPHAN",
    "FRAG_FIRST",
    "FRAG_LATER",
    "LATE",
    "MAX_TS_NS",
    "MAX_WIRE",
    "PACKET_DTYPE",
    "REJECT_REASONS",
    "UNKNOWN_LINK",
    "decode",
    "flow_hashes",
    "tunnel_name",
    "wire_length",
]
