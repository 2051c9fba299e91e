"""802.11 data frames (IEEE 802.11, 9.2.4), bare or in CAPWAP, and what radiotap says of them (radiotap.org)."""

from __future__ import annotations

import numpy as np

from infra.kernels import piece
from sensors.packets.decode.cursor import LLC
from sensors.packets.decode.packet import NOT_IP, TRUNCATED
from sensors.packets.protocols import LINKTYPE_IEEE802_11_RADIOTAP

#: Bytes of a data frame's header, and what more it has: a fourth address, QoS control, HT control.
_HEADER, _ADDRESS4, _QOS, _HT = 24, 6, 2, 4
#: Frame control, first byte: version, type and subtype, of which the bits of data frames are flags.
_VERSION, _TYPE_DATA, _SUB_QOS, _SUB_NO_DATA = 0x03, 2, 0x8, 0x4
#: Frame control, second byte.
_BOTH_DISTRIBUTION_SYSTEMS, _PROTECTED, _ORDER = 0x03, 0x40, 0x80
_A_MSDU = 0x80  # QoS control
#: Radiotap: words of presence, and the flag that the 802.11 header is padded to 4 bytes.
_TSFT, _FLAGS, _MORE_WORDS, _DATA_PAD = 1 << 0, 1 << 1, 1 << 31, 0x20


@piece
def wifi(d, c):
    """Pass over an 802.11 header of an unencrypted data frame; others have no IP that could be read."""
    if c.pos + 2 > c.end:
        return TRUNCATED
    control = np.int64(d[c.pos])
    flags = np.int64(d[c.pos + 1])
    if c.metered != 0 and (control & _VERSION) != 0:
        # Inside CAPWAP, Cisco's access points swap the two bytes. The lowest bits of the first one are the protocol version, always 0; of
        # the second one the direction, never 0 on the way through an access point.
        control, flags = flags, control
    kind = (control >> 2) & 3
    sub = control >> 4
    if kind != _TYPE_DATA or (sub & _SUB_NO_DATA) != 0 or (flags & _PROTECTED) != 0:
        return NOT_IP  # management, control (ten bytes are a whole one), no data, or encrypted
    if c.pos + _HEADER > c.end:
        return TRUNCATED
    header = _HEADER
    if (flags & _BOTH_DISTRIBUTION_SYSTEMS) == _BOTH_DISTRIBUTION_SYSTEMS:
        header += _ADDRESS4
    if (sub & _SUB_QOS) != 0:
        if c.pos + header < c.end and (d[c.pos + header] & _A_MSDU) != 0:
            return NOT_IP  # several frames in one: no LLC header comes next
        header += _QOS
        if (flags & _ORDER) != 0:
            header += _HT
    if c.link == LINKTYPE_IEEE802_11_RADIOTAP and c.metered == 0 and _radiotap_pads(d, c.start, c.end):
        header += (4 - header % 4) % 4
    c.pos += header
    c.layer = LLC
    return 0


@piece
def _radiotap_pads(d, pos, end):
    """Whether the radiotap header at ``pos`` says that the 802.11 header is padded to 4 bytes (field Flags)."""
    present = np.int64(d[pos + 4]) | (np.int64(d[pos + 7]) << 24)
    if (present & _FLAGS) == 0:
        return False
    q = pos + 8
    word = present
    while word & _MORE_WORDS and q + 4 <= end:
        word = np.int64(d[q + 3]) << 24
        q += 4
    if present & _TSFT:
        q += (8 - (q - pos) % 8) % 8 + 8  # eight bytes, aligned
    return q < end and (d[q] & _DATA_PAD) != 0
