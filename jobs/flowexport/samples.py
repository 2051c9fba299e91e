"""sFlow samples that were read, before they are columns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.sflowkernel import PLAIN_DTYPE

#: Counters of an interface (sFlow v5, 5.3: ``if_counters``), with whose they are: cumulative, some of 32 bits.
COUNTER_DTYPE = np.dtype(
    [
        ("part", "i4"),  # number of its datagram in the chunk
        ("interface", "u4"),
        ("type", "u4"),  # IANAifType
        ("speed", "u8"),  # bit/s
        ("direction", "u4"),
        ("status", "u4"),  # bit 0: administrative, bit 1: operational
        ("in_bytes", "u8"),
        ("in_unicast", "u4"),
        ("in_multicast", "u4"),
        ("in_broadcast", "u4"),
        ("in_discards", "u4"),
        ("in_errors", "u4"),
        ("in_unknown", "u4"),
        ("out_bytes", "u8"),
        ("out_unicast", "u4"),
        ("out_multicast", "u4"),
        ("out_broadcast", "u4"),
        ("out_discards", "u4"),
        ("out_errors", "u4"),
        ("promiscuous", "u4"),
    ]
)


#: Values by the names of columns.
Said = dict[str, int | float | bytes]


@dataclass(slots=True)
class PacketSample:
    """One sampled or discarded packet.

    Attributes
    ----------
    part
        Number of its datagram in the chunk.
    said
        Values by the names of columns.
    frame, frame_length, link
        The beginning of the packet, its bytes on the wire without what was stripped, and its LINKTYPE_* (-1: there is none).
    extras
        Records without a column: key and bytes.
    """

    part: int
    said: Said
    frame: bytes = b""
    frame_length: int = 0
    link: int = -1
    extras: list[tuple[int, bytes]] = field(default_factory=list)


#: Samples of a datagram that is read by the kernel, at most.
_MOST_PLAIN = 256


@dataclass
class SampleRows:
    """Samples of a chunk.

    Attributes
    ----------
    flows
        Read one by one.
    plain
        Read by the kernel: bytes of :data:`jobs.flowexport.sflowkernel.PLAIN_DTYPE`, of each datagram. ``data`` are the bytes that they
        point into, the same as an array in ``octets``, and ``room`` is what the kernel writes into.
    counters
        Tuples of :data:`COUNTER_DTYPE`.
    """

    flows: list[PacketSample] = field(default_factory=list)
    plain: list[bytes] = field(default_factory=list)
    data: bytes = b""
    octets: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    room: NDArray[np.void] = field(default_factory=lambda: np.zeros(_MOST_PLAIN, PLAIN_DTYPE))
    counters: list[tuple[int, ...]] = field(default_factory=list)
