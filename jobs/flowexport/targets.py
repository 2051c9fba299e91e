"""Which element goes to which column, and how it is read.

A target has several sources, the first that a template has is read; the others, and what has no target, stay among the extras. Targets
whose name begins with an underscore are no columns: :mod:`jobs.flowexport.filling` makes columns of them.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from jobs.flowexport.elements import CERT_FIRST_FLAGS, CERT_OTHER_FLAGS, CERT_PEN, CERT_REVERSE, REVERSE_PEN
from jobs.flowexport.elements import Element as E


class FieldShape(Enum):
    """How the bytes of a field are read."""

    NUMBER = auto()  # unsigned, 1 to 8 bytes: reduced-size encoding, RFC 7011, 6.2
    FLOAT = auto()  # 4 or 8 bytes
    IPV4 = auto()
    IPV6 = auto()
    FRAME = auto()  # the beginning of a packet, of any length
    OPAQUE = auto()  # of any length, looked up in a table of names


class ElementKey(NamedTuple):
    """An element of an enterprise (0: IANA's)."""

    enterprise: int
    element: int


class FieldTarget(NamedTuple):
    """Where a field goes; ``also``: it stays among the extras, too."""

    name: str
    shape: FieldShape
    sources: tuple[ElementKey, ...]
    also: bool = False


def _of(name: str, *elements: int, shape: FieldShape = FieldShape.NUMBER, also: bool = False) -> FieldTarget:
    return FieldTarget(name, shape, tuple(ElementKey(0, e) for e in elements), also)


def _reverse(name: str, *elements: int, own: int = 0) -> FieldTarget:
    sources = [ElementKey(REVERSE_PEN, e) for e in elements]
    return FieldTarget(name, FieldShape.NUMBER, (*sources, *([ElementKey(0, own)] if own else [])))


TARGETS: tuple[FieldTarget, ...] = (
    _of("bytes", E.OCTETS, E.OCTETS_TOTAL, E.INITIATOR_OCTETS, E.LAYER2_OCTETS, E.LAYER2_OCTETS_TOTAL),
    _of("packets", E.PACKETS, E.PACKETS_TOTAL, E.INITIATOR_PACKETS),
    _of("_post_bytes", E.POST_OCTETS, also=True),
    _of("_post_packets", E.POST_PACKETS, also=True),
    _reverse("reverse_bytes", E.OCTETS, E.OCTETS_TOTAL, own=E.RESPONDER_OCTETS),
    _reverse("reverse_packets", E.PACKETS, E.PACKETS_TOTAL, own=E.RESPONDER_PACKETS),
    _reverse("reverse_tcp_flags", E.TCP_FLAGS),
    _of("proto", E.PROTOCOL),
    _of("tos", E.TOS),
    _of("tcp_flags", E.TCP_FLAGS),
    FieldTarget("_first_flags", FieldShape.NUMBER, (ElementKey(CERT_PEN, CERT_FIRST_FLAGS),), True),
    FieldTarget("_other_flags", FieldShape.NUMBER, (ElementKey(CERT_PEN, CERT_OTHER_FLAGS),), True),
    FieldTarget("_reverse_first_flags", FieldShape.NUMBER, (ElementKey(CERT_PEN, CERT_FIRST_FLAGS | CERT_REVERSE),), True),
    FieldTarget("_reverse_other_flags", FieldShape.NUMBER, (ElementKey(CERT_PEN, CERT_OTHER_FLAGS | CERT_REVERSE),), True),
    _of("sport", E.SOURCE_PORT, E.TCP_SOURCE_PORT, E.UDP_SOURCE_PORT),
    _of("dport", E.DESTINATION_PORT, E.TCP_DESTINATION_PORT, E.UDP_DESTINATION_PORT),
    _of("_src_v4", E.SOURCE_V4, E.SOURCE_PREFIX_V4, shape=FieldShape.IPV4),
    _of("_dst_v4", E.DESTINATION_V4, E.DESTINATION_PREFIX_V4, shape=FieldShape.IPV4),
    _of("_src_v6", E.SOURCE_V6, E.SOURCE_PREFIX_V6, shape=FieldShape.IPV6),
    _of("_dst_v6", E.DESTINATION_V6, E.DESTINATION_PREFIX_V6, shape=FieldShape.IPV6),
    _of("_ip_version", E.IP_VERSION),
    _of("src_mask", E.SOURCE_MASK_V4, E.SOURCE_MASK_V6),
    _of("dst_mask", E.DESTINATION_MASK_V4, E.DESTINATION_MASK_V6),
    _of("input", E.INPUT, E.INGRESS_PHYSICAL),
    _of("output", E.OUTPUT, E.EGRESS_PHYSICAL),
    _of("_next_hop_v4", E.NEXT_HOP_V4, shape=FieldShape.IPV4),
    _of("_next_hop_v6", E.NEXT_HOP_V6, shape=FieldShape.IPV6),
    _of("_bgp_next_hop_v4", E.BGP_NEXT_HOP_V4, shape=FieldShape.IPV4),
    _of("_bgp_next_hop_v6", E.BGP_NEXT_HOP_V6, shape=FieldShape.IPV6),
    _of("src_as", E.SOURCE_AS),
    _of("dst_as", E.DESTINATION_AS),
    _of("flow_label", E.FLOW_LABEL),
    _of("_icmp", E.ICMP_V4, E.ICMP_V6),
    _of("_icmp_type", E.ICMP_TYPE_V4, E.ICMP_TYPE_V6),
    _of("_icmp_code", E.ICMP_CODE_V4, E.ICMP_CODE_V6),
    _of("src_mac", E.SOURCE_MAC, E.POST_SOURCE_MAC),
    _of("dst_mac", E.DESTINATION_MAC, E.POST_DESTINATION_MAC),
    _of("vlan", E.VLAN, E.DOT1Q_VLAN),
    _of("post_vlan", E.POST_VLAN, E.POST_DOT1Q_VLAN),
    _of("vrf_in", E.INGRESS_VRF),
    _of("vrf_out", E.EGRESS_VRF),
    _of("_mpls", E.MPLS_TOP_LABEL, also=True),
    _of("direction", E.DIRECTION),
    _of("biflow_direction", E.BIFLOW_DIRECTION),
    _of("end_reason", E.END_REASON),
    _of("forwarding", E.FORWARDING),
    _of("_nat_src_v4", E.NAT_SOURCE_V4, E.ASA_NAT_SOURCE, shape=FieldShape.IPV4),
    _of("_nat_dst_v4", E.NAT_DESTINATION_V4, E.ASA_NAT_DESTINATION, shape=FieldShape.IPV4),
    _of("_nat_src_v6", E.NAT_SOURCE_V6, shape=FieldShape.IPV6),
    _of("_nat_dst_v6", E.NAT_DESTINATION_V6, shape=FieldShape.IPV6),
    _of("nat_sport", E.NAT_SOURCE_PORT, E.ASA_NAT_SOURCE_PORT),
    _of("nat_dport", E.NAT_DESTINATION_PORT, E.ASA_NAT_DESTINATION_PORT),
    _of("nat_event", E.NAT_EVENT),
    _of("firewall_event", E.FIREWALL_EVENT, E.ASA_EVENT),
    _of("sampler", E.SAMPLER, E.SELECTOR),
    _of("_interval", E.SAMPLING_INTERVAL, E.SAMPLER_INTERVAL),
    _of("_algorithm", E.SELECTOR_ALGORITHM),
    _of("_chosen", E.SAMPLING_PACKET_INTERVAL),
    _of("_passed", E.SAMPLING_PACKET_SPACE),
    _of("_size", E.SAMPLING_SIZE),
    _of("_population", E.SAMPLING_POPULATION),
    _of("_probability", E.SAMPLING_PROBABILITY, shape=FieldShape.FLOAT),
    _of("_start_uptime", E.START_UPTIME),
    _of("_end_uptime", E.END_UPTIME),
    _of("_start_s", E.START_SECONDS),
    _of("_end_s", E.END_SECONDS, E.OBSERVED_S),
    _of("_start_ms", E.START_MS),
    _of("_end_ms", E.END_MS, E.OBSERVED_MS),
    _of("_start_ntp", E.START_US, E.START_NS),
    _of("_end_ntp", E.END_US, E.END_NS, E.OBSERVED_US, E.OBSERVED_NS),
    _of("_start_delta", E.START_DELTA_US),
    _of("_end_delta", E.END_DELTA_US),
    _of("_boot_ms", E.BOOT_MS),
    _of("_duration_ms", E.DURATION_MS, also=True),
    _of("_duration_us", E.DURATION_US, also=True),
    _of("_frame", E.FRAME_SECTION, E.FRAME_SECTION_V9, shape=FieldShape.FRAME),
    _of("_packet", E.IP_SECTION, shape=FieldShape.FRAME),
    _of("_frame_size", E.FRAME_SIZE, also=True),
    _of("_frame_type", E.FRAME_TYPE, also=True),
    _of("_application", E.APPLICATION, shape=FieldShape.OPAQUE, also=True),
)

#: Where an element goes, and how early it is among the sources of its target.
BY_SOURCE: dict[ElementKey, tuple[FieldTarget, int]] = {s: (target, rank) for target in TARGETS for rank, s in enumerate(target.sources)}
