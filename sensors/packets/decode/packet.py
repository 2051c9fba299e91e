"""What a frame is read into: the digest of a packet, why a frame has none, and the kinds of tunnels."""

from __future__ import annotations

import numpy as np

#: One packet: the header fields that the meter needs.
PACKET_DTYPE = np.dtype(
    [
        ("ts", "i8"),  # capture time, ns
        ("src_hi", "u8"),
        ("src_lo", "u8"),  # IPv4: the low 32 bits
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("msg", "u4"),  # message of the digest that carried it
        ("idx", "u4"),  # position inside the message
        ("flow_hash", "u4"),
        ("seq", "u4"),
        ("ack", "u4"),
        ("payload", "u4"),  # L4 payload bytes
        ("l3_bytes", "u4"),  # IP datagram bytes
        ("frag_id", "u4"),  # names the datagram between two addresses: identification; IPv4: and, above 16 bits, the header's protocol
        ("tunnel", "u4"),  # kinds, 4 bits each, outermost in the lowest bits
        ("sport", "u2"),
        ("dport", "u2"),
        ("window", "u2"),
        ("vlan1", "u2"),  # VLAN id + 1; 0 = none
        ("vlan2", "u2"),
        ("vlan3", "u2"),
        ("icmp_type", "i2"),
        ("icmp_code", "i2"),
        ("domain", "u2"),  # set by the bucket
        ("sensor", "u2"),  # set by the bucket
        ("proto", "u1"),
        ("ipver", "u1"),
        ("l4_header", "u1"),  # bytes
        ("flags", "u1"),  # TCP flag bits, FIN = 1 .. CWR = 128
        ("frag", "u1"),  # FRAG_*
        ("malformed", "u1"),
    ],
    align=True,
)

FRAG_NONE, FRAG_FIRST, FRAG_LATER = 0, 1, 2

#: Why a packet is not metered; index = code. ``unknown_link_type`` is reported with the number, by link type.
REJECT_REASONS: tuple[str, ...] = (
    "",
    "not_ip",
    "unknown_link_type",
    "truncated",
    "malformed_ip",
    "malformed_l4",
    "tunnel_too_deep",
    "fragment_orphan",
    "late",
    "bad_timestamp",
)
NOT_IP, UNKNOWN_LINK, TRUNCATED, MALFORMED_IP, MALFORMED_L4, TOO_DEEP, FRAGMENT_ORPHAN, LATE, BAD_TIMESTAMP = range(1, 10)

TUNNEL_KINDS: tuple[str, ...] = (
    "",
    "gre",
    "vxlan",
    "geneve",
    "gtp-u",
    "4in4",
    "4in6",
    "6in4",
    "6in6",
    "teredo",
    "mpls",
    "pptp",
    "erspan",
    "pppoe",
    "capwap",
)
GRE, VXLAN, GENEVE, GTPU, IPV4_IN_IPV4, IPV4_IN_IPV6, IPV6_IN_IPV4, IPV6_IN_IPV6, TEREDO, MPLS, PPTP, ERSPAN, _, CAPWAP = range(1, 15)

#: Encapsulations inside one frame beyond which it is rejected as ``tunnel_too_deep``.
MAX_DEPTH = 8

#: Bytes on the wire that are believed where an IP header leaves its length to the card; no card takes more. Sums of squares rely on it.
MAX_WIRE = 1 << 20

#: Capture times are accepted from the epoch to the year 2116: what 2**62 ns can say.
MAX_TS_NS = 1 << 62


def tunnel_name(code: int) -> str:
    """Tunnel kinds of :data:`PACKET_DTYPE` ``tunnel`` as text, from the outside in, e.g. ``"vxlan"`` or ``"gre,4in4"``."""
    names = []
    while code:
        names.append(TUNNEL_KINDS[code & 15])
        code >>= 4
    return ",".join(names)
