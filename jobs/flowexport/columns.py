"""The columns of decoded records, what each says, and a set of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.flowexport.extras import Extras

ADDRESS = 16


class FlowMark(IntFlag):
    """What is to be known of a record beside its values (column ``marks``)."""

    CLOCK_WRONG = 1  # the exporter's clock is far from ours: times are counted back from the receipt
    TIME_REPLACED = 2  # times of its own that cannot be: it ends with the receipt
    TIME_RELATIVE = 4  # only the difference of its times is known
    TIME_MISSING = 8  # it says no time: that of the export
    DELAYED = 16  # it waited for its template
    PARTIAL_FRAME = 32  # the sampled frame has no IP header that can be read
    BIFLOW = 64  # both directions, the source being the initiator (RFC 5103)
    NO_COUNTERS = 128  # its template has neither bytes nor packets
    DISCARDED = 256  # it was not forwarded; ``drop_reason`` says why
    MANY_OUTPUTS = 512  # sFlow: forwarded to several interfaces
    DROP_REPORT = 1024  # sFlow: a report of discarded packets, which no rate applies to


class RateSource(IntFlag):
    """Where the sampling rate of a record comes from (column ``rate_source``)."""

    UNKNOWN = 0  # nobody said: the rate is taken for 1, which may be wrong
    RECORD = 1  # the record itself
    OPTIONS = 2  # an options record of the exporter
    HEADER = 3  # v5: the header; sFlow: the sample
    POOL = 4  # sFlow: packets that were passed over, by samples that were taken


class FlowColumn(NamedTuple):
    """One column: ``width`` is 0 for one value a record, else so many values; ``says`` has unit and meaning."""

    name: str
    dtype: str
    width: int
    default: int
    says: str


def _column(name: str, dtype: str, says: str, default: int = 0, width: int = 0) -> FlowColumn:
    return FlowColumn(name, dtype, width, default, says)


def _address(name: str, says: str) -> FlowColumn:
    return FlowColumn(name, "u1", ADDRESS, 0, f"{says}; IPv4 as IPv4-mapped IPv6, zeros: none")


COLUMNS: tuple[FlowColumn, ...] = (
    # ---- whose it is: with ``exported_us`` this names a record, however often it is decoded (but ``datagram``)
    _address("exporter", "exporter's address"),
    _address("sender", "address that the datagram came from"),
    _column("port", "u2", "UDP port that it came from"),
    _column("told_port", "u2", "the same, where exporters behind one address are told apart by it; else 0"),
    _column("domain", "u4", "observation domain, source id, engine or sub-agent"),
    _column("version", "u1", "5, 9, 10 (IPFIX) or 105 (sFlow v5)"),
    _column("template", "u2", "template id, 0 where there is none"),
    _column("sequence", "u4", "sequence number of its datagram"),
    _column("position", "u4", "byte of its datagram at which the record begins"),
    _column("datagram", "i4", "number of its datagram in the batch; -1: it waited for its template", -1),
    # ---- when, us since the epoch, UTC
    _column("received_us", "i8", "receipt"),
    _column("exported_us", "i8", "export, by the exporter's clock"),
    _column("start_us", "i8", "first packet"),
    _column("end_us", "i8", "last packet"),
    # ---- what
    _column("ip_version", "u1", "4, 6; 0: not known"),
    _address("src", "source"),
    _address("dst", "destination"),
    _column("sport", "u2", "source port"),
    _column("dport", "u2", "destination port"),
    _column("proto", "u1", "IP protocol"),
    _column("tos", "u1", "type of service or traffic class"),
    _column("tcp_flags", "u2", "all flags seen"),
    _column("flow_label", "u4", "of IPv6"),
    _column("icmp_type", "i2", "-1: no ICMP", -1),
    _column("icmp_code", "i2", "-1: no ICMP", -1),
    # ---- how much
    _column("bytes", "u8", "bytes of layer 3, as exported"),
    _column("packets", "u8", "packets, as exported"),
    _column("reverse_bytes", "u8", "of the answers"),
    _column("reverse_packets", "u8", "of the answers"),
    _column("reverse_tcp_flags", "u2", "of the answers"),
    _column("scaled_bytes", "u8", "bytes times rate and kept_of"),
    _column("scaled_packets", "u8", "packets times rate and kept_of"),
    _column("kept_of", "u4", "of so many datagrams the collector kept this one", 1),
    _column("rate", "f8", "one packet of so many was sampled; 1 where it is not known", 1),
    _column("rate_source", "u1", "where the rate comes from"),
    _column("sampler", "u8", "sampler or selector id, 0: none"),
    # ---- where
    _column("input", "u4", "interface it came in by"),
    _column("output", "u4", "interface it went out by"),
    _column("src_as", "u4", "autonomous system of the source"),
    _column("dst_as", "u4", "autonomous system of the destination"),
    _column("src_mask", "u1", "prefix length of the source's route"),
    _column("dst_mask", "u1", "prefix length of the destination's route"),
    _address("next_hop", "next router"),
    _address("bgp_next_hop", "next router by BGP"),
    _column("vlan", "u2", "VLAN it came in by, 0: none"),
    _column("post_vlan", "u2", "VLAN it went out by, 0: none"),
    _column("vrf_in", "u4", "VRF it came in by"),
    _column("vrf_out", "u4", "VRF it went out by"),
    _column("mpls_label", "u4", "outermost label"),
    _column("src_mac", "u8", "source, 48 bits"),
    _column("dst_mac", "u8", "destination, 48 bits"),
    _column("tunnel", "u4", "kinds of tunnels around a sampled packet, as in the packet decoder"),
    # ---- which way
    _column("direction", "u1", "0: seen coming in, 1: going out, 255: not said", 255),
    _column("biflow_direction", "u1", "0: not said, 1: the source began, 2: the destination did, 3: by the perimeter"),
    _column("end_reason", "u1", "IPFIX flowEndReason"),
    _column("forwarding", "u1", "forwarding status, 0: not known"),
    _column("drop_reason", "u2", "sFlow: why a packet was discarded"),
    # ---- translation, firewall
    _address("nat_src", "source behind the translation"),
    _address("nat_dst", "destination behind the translation"),
    _column("nat_sport", "u2", "source port behind the translation"),
    _column("nat_dport", "u2", "destination port behind the translation"),
    _column("nat_event", "u1", "IPFIX natEvent"),
    _column("firewall_event", "u1", "IPFIX firewallEvent"),
    # ---- names that the exporter gave: numbers of the set's ``names``, 0: none
    _column("input_name", "u4", "of the input interface"),
    _column("output_name", "u4", "of the output interface"),
    _column("vrf_in_name", "u4", "of the input VRF"),
    _column("vrf_out_name", "u4", "of the output VRF"),
    _column("application_name", "u4", "of the application"),
    _column("marks", "u4", "what else is to be known"),
)

#: What a column has where nothing is said.
DEFAULTS = {c.name: c.default for c in COLUMNS}
_NAMES = ("input_name", "output_name", "vrf_in_name", "vrf_out_name", "application_name")
_TIMES = ("received_us", "exported_us", "start_us", "end_us")


@dataclass
class FlowColumns:
    """``n`` records.

    Attributes
    ----------
    columns
        By the names of :data:`COLUMNS`: arrays of ``n`` values, or ``[n, 16]`` for addresses.
    extras
        All fields that have no column, as they came.
    names
        What the columns of names point into; the first is empty.
    """

    columns: dict[str, NDArray[Any]]
    extras: Extras
    names: list[str] = field(default_factory=lambda: [""])

    @classmethod
    def empty(cls, n: int) -> FlowColumns:
        """``n`` records that say nothing."""
        made: dict[str, NDArray[Any]] = {}
        for c in COLUMNS:
            shape = (n, c.width) if c.width else n
            made[c.name] = np.full(shape, c.default, c.dtype) if c.default else np.zeros(shape, c.dtype)
        return cls(made, Extras.none(n))

    def __len__(self) -> int:
        return len(self.columns["position"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def to_arrow(self) -> pa.RecordBatch:
        """As Arrow: addresses as 16 bytes, times as timestamps, names as text, ``extra`` as a map of element number to bytes."""
        arrays, fields = [], []
        for c in COLUMNS:
            values, name = self.columns[c.name], c.name
            if c.width:
                kind = pa.binary(c.width)
                array = pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])
            elif name in _TIMES:
                name = name.removesuffix("_us")
                array = pa.array(values).view(pa.timestamp("us", tz="UTC"))
            elif name in _NAMES:
                array = pa.array(self.names, pa.string()).take(pa.array(values))
            else:
                array = pa.array(values)
            arrays.append(array)
            fields.append(pa.field(name, array.type, nullable=False))
        arrays.append(self.extras.to_arrow())
        fields.append(pa.field("extra", arrays[-1].type, nullable=False))
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def mapped(target: NDArray[np.uint8], words: NDArray[np.uint32]) -> None:
    """Write IPv4 addresses, ``uint32[n]`` in the order of the network, into ``uint8[n, 16]``."""
    view = target.view("<u4")
    view[:, 2] = 0xFFFF0000
    view[:, 3] = words


def addresses(values: Sequence[bytes]) -> NDArray[np.uint8]:
    """Addresses of 16 bytes as ``uint8[n, 16]``."""
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, ADDRESS)
