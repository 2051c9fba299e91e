"""Templates of what is exported: elements, how they are written, and the column that they come from.

Elements: IANA's registry of IPFIX, RFC 3954 section 8; the reverse direction: RFC 5103; samplers: RFC 3954 and RFC 5477.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jobs.flowexport.elements import ENTERPRISE_BIT, REVERSE_PEN
from jobs.flowexport.elements import Element as E
from jobs.flowexport.optiondata import N_OF_MANY
from jobs.flowexport.versions import NETFLOW9

#: Template ids: flows of IPv4 and of IPv6, and what is said of the sampling.
IPV4_TEMPLATE, IPV6_TEMPLATE, SAMPLING_TEMPLATE = 256, 257, 258
_SPECIFIER = struct.Struct(">HH")
#: Modes: flowSamplerMode, random (RFC 3954); selectorAlgorithm, random n out of N (RFC 5477, 8.2.3).
_SAMPLER_MODE, _RANDOM_MODE = 49, 2
#: Scopes: of v9 the system (RFC 3954, 6.1).
_SYSTEM_SCOPE = 1


class OutField(NamedTuple):
    """One field: ``kind`` is its NumPy type; ``column`` of the flow, or one that the encoder makes."""

    element: int
    kind: str
    column: str
    enterprise: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return np.dtype(self.kind).itemsize

    def specifier(self) -> bytes:
        """As in a template."""
        if self.enterprise:
            return _SPECIFIER.pack(self.element | ENTERPRISE_BIT, self.size) + struct.pack(">I", self.enterprise)
        return _SPECIFIER.pack(self.element, self.size)


_COUNTERS = (OutField(E.OCTETS, ">u8", "bytes"), OutField(E.PACKETS, ">u8", "packets"))
_PORTS = (OutField(E.SOURCE_PORT, ">u2", "sport"), OutField(E.DESTINATION_PORT, ">u2", "dport"))
_INTERFACES = (OutField(E.INPUT, ">u4", "input"), OutField(E.OUTPUT, ">u4", "output"))
_REVERSE = (
    OutField(E.OCTETS, ">u8", "reverse_bytes", REVERSE_PEN),
    OutField(E.PACKETS, ">u8", "reverse_packets", REVERSE_PEN),
    OutField(E.TCP_FLAGS, ">u2", "reverse_tcp_flags", REVERSE_PEN),
    OutField(E.BIFLOW_DIRECTION, "u1", "initiator"),
)


def flow_fields(version: int, ip_version: int, *, biflow: bool, sampled: bool) -> tuple[OutField, ...]:
    """The template of flows of one IP version."""
    four = ip_version == 4
    address = "V4" if four else "V16"
    source, target = (E.SOURCE_V4, E.DESTINATION_V4) if four else (E.SOURCE_V6, E.DESTINATION_V6)
    ends = (OutField(source, address, "src"), OutField(target, address, "dst"))
    if version == NETFLOW9:
        times = (OutField(E.START_UPTIME, ">u4", "start_uptime"), OutField(E.END_UPTIME, ">u4", "end_uptime"))
        own = (OutField(E.TCP_FLAGS, "u1", "tcp_flags"), OutField(E.DIRECTION, "u1", "ingress"))
        sampler = (OutField(E.SAMPLER, "u1", "sampler"),)
    else:
        times = (OutField(E.START_MS, ">u8", "start_ms"), OutField(E.END_MS, ">u8", "end_ms"))
        own = (OutField(E.TCP_FLAGS, ">u2", "tcp_flags"), OutField(E.END_REASON, "u1", "end_reason"))
        sampler = (OutField(E.SELECTOR, ">u8", "sampler"),)
    rest = (OutField(E.PROTOCOL, "u1", "proto"), *own, OutField(E.VLAN, ">u2", "vlan"))
    return (*ends, *_COUNTERS, *times, *_PORTS, *_INTERFACES, *rest, *(sampler if sampled else ()), *(_REVERSE if biflow else ()))


def template(number: int, fields: Sequence[OutField]) -> bytes:
    """A template record."""
    return _SPECIFIER.pack(number, len(fields)) + b"".join(f.specifier() for f in fields)


def a_set(number: int, body: bytes) -> bytes:
    """A set, filled up to whole words."""
    body += bytes(-len(body) % 4)
    return _SPECIFIER.pack(number, len(body) + 4) + body


def sampling_options(version: int, sampler: int, every: int) -> bytes:
    """Sets with the options template of the sampling, and its only record: one packet of ``every`` is taken, chosen at random."""
    fields: tuple[tuple[int, int], ...]
    if version == NETFLOW9:
        fields = ((E.SAMPLER, 1), (_SAMPLER_MODE, 1), (E.SAMPLER_INTERVAL, 4))
        head = struct.pack(">HHH", SAMPLING_TEMPLATE, 4, 4 * len(fields)) + _SPECIFIER.pack(_SYSTEM_SCOPE, 4)
        record = struct.pack(">IBBI", 0, sampler, _RANDOM_MODE, every)
        return a_set(1, head + b"".join(_SPECIFIER.pack(*f) for f in fields)) + a_set(SAMPLING_TEMPLATE, record)
    # the last one is deprecated, and all that some collectors read
    fields = ((E.SELECTOR, 8), (E.SELECTOR_ALGORITHM, 2), (E.SAMPLING_SIZE, 4), (E.SAMPLING_POPULATION, 4), (E.SAMPLING_INTERVAL, 4))
    head = struct.pack(">HHH", SAMPLING_TEMPLATE, len(fields), 1)
    record = struct.pack(">QHIII", sampler, N_OF_MANY, 1, every, every)
    return a_set(3, head + b"".join(_SPECIFIER.pack(*f) for f in fields)) + a_set(SAMPLING_TEMPLATE, record)
