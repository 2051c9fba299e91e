"""Columns that are made of several fields, or of fields in another form: times, addresses, flags, types of ICMP, rates, frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport import frames
from jobs.flowexport.columns import FlowColumns, FlowMark, mapped
from jobs.flowexport.layouts import Layout
from jobs.flowexport.merging import merge_frames
from jobs.flowexport.optiondata import COUNTED, N_OF_MANY, PROBABLE
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.times import Clock, flow_times
from sensors.packets.protocols import IPPROTO_ICMP, IPPROTO_ICMPV6, LINKTYPE_ETHERNET, LINKTYPE_IEEE802_11, LINKTYPE_RAW

#: Values of fields by the names of their targets.
Given = dict[str, NDArray[Any]]
#: IE 408: what a link frame is; 1 is Ethernet.
_FRAME_802_11 = 2
_LABEL_SHIFT = 4
#: Columns of addresses, and what the names of their targets begin with.
_ENDS = ("src", "dst")
_ADDRESSES = (*_ENDS, "next_hop", "bgp_next_hop", "nat_src", "nat_dst")


def derive(layout: Layout, given: Given, out: FlowColumns, rows: slice, clock: Clock, rules: DecodeRules) -> None:
    """Fill in what takes more than one field, or another form than it comes in; ``given``: by the names of targets."""
    given = {name: _native(name, values) for name, values in given.items()}
    start, end, marks = flow_times(given, clock, rules)
    out["start_us"][rows], out["end_us"][rows] = start, end
    if layout.biflow:
        marks |= np.uint32(FlowMark.BIFLOW)
    _counters(layout, given, out, rows, marks)
    _addresses(given, out, rows)
    _flags(given, out, rows)
    if layout.targets & {"_frame", "_packet"}:
        _from_frames(given, out, rows, marks)
    _icmp(given, out, rows)
    if "_mpls" in given:
        out["mpls_label"][rows] = given["_mpls"] >> np.uint64(_LABEL_SHIFT)
    if given.keys() & {"_interval", "_chosen", "_size", "_probability"}:
        _own_rates(given, out, rows)
    out["marks"][rows] |= marks


def _native(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Numbers as the machine has them; addresses stay as they are."""
    number = values.dtype.kind == "u" and values.ndim == 1 and not name.endswith("_v4")
    return values.astype(np.uint64) if number else values


def _counters(layout: Layout, given: Given, out: FlowColumns, rows: slice, marks: NDArray[np.uint32]) -> None:
    """Of what left the exporter where nothing is said of what came in."""
    count, size = out["packets"][rows], out["bytes"][rows]
    nothing = (count == 0) & (size == 0)
    for name, column in (("_post_bytes", size), ("_post_packets", count)):
        if name in given:
            column[:] = np.where(nothing, given[name], column)
    if not layout.targets & {"bytes", "packets", "_post_bytes", "_post_packets", "_frame", "_packet"}:
        marks |= np.uint32(FlowMark.NO_COUNTERS)


def _addresses(given: Given, out: FlowColumns, rows: slice) -> None:
    versions = out["ip_version"][rows]
    for name in _ADDRESSES:
        target = out[name][rows]
        four, six = given.get(f"_{name}_v4"), given.get(f"_{name}_v6")
        if four is not None:
            mapped(target, four)
            if name not in _ENDS:
                target[four == 0] = 0  # 0.0.0.0: there is none
        if six is not None:
            words = np.ascontiguousarray(six).view(np.uint8).reshape(-1, 16)
            # a template of both versions leaves one of them empty
            there = words.any(axis=1) if four is not None else np.ones(len(words), bool)
            target[there] = words[there]
        if name in _ENDS and (four is not None or six is not None):
            is_six = np.zeros(len(target), bool) if six is None else there
            versions[:] = np.maximum(versions, np.where(is_six, 6, 4))
    if "_ip_version" in given and not any(f"_{name}" in given for name in ("src_v4", "src_v6", "dst_v4", "dst_v6")):
        versions[:] = np.minimum(given["_ip_version"], np.uint64(255))


def _flags(given: Given, out: FlowColumns, rows: slice) -> None:
    """YAF counts the first packet's flags on their own."""
    for name, column in (("", "tcp_flags"), ("_reverse", "reverse_tcp_flags")):
        for which in ("first", "other"):
            values = given.get(f"{name}_{which}_flags")
            if values is not None:
                out[column][rows] |= values.astype(np.uint16)


def _icmp(given: Given, out: FlowColumns, rows: slice) -> None:
    """Type and code: of fields of their own, or where the destination port would be."""
    proto, dport = out["proto"][rows], out["dport"][rows]
    icmp = (proto == IPPROTO_ICMP) | (proto == IPPROTO_ICMPV6)
    kind, code = out["icmp_type"][rows], out["icmp_code"][rows]
    both = given.get("_icmp")
    unread = icmp & (kind < 0)
    if both is None or not (both != 0).any():
        both = dport.astype(np.uint64)
    both = np.where(both == 0, dport, both)
    kind[:] = np.where(unread, both >> np.uint64(8) & np.uint64(255), kind)
    code[:] = np.where(unread, both & np.uint64(255), code)
    for name, column in (("_icmp_type", kind), ("_icmp_code", code)):
        if name in given:
            column[:] = np.where(icmp, given[name].astype(np.int16) & 255, column)


def _own_rates(given: Given, out: FlowColumns, rows: slice) -> None:
    """A rate in the record itself: noted as one, or left for others to say."""
    rate = np.zeros(len(out["rate"][rows]))
    if "_interval" in given:
        rate = np.maximum(given["_interval"].astype(float), 1)
    if "_chosen" in given and "_passed" not in given:
        rate = np.where(given["_chosen"] > 0, 1.0, rate)
    ways = _ways_of_sampling(given)
    for way in reversed(ways.values()):
        rate = np.where(way > 0, way, rate)
    if "_algorithm" in given:
        for algorithm, way in ways.items():
            rate = np.where((given["_algorithm"] == algorithm) & (way > 0), way, rate)
    out["rate"][rows] = np.where(rate > 0, rate, 1)
    out["rate_source"][rows] = rate > 0


def _ways_of_sampling(given: Given) -> dict[int, NDArray[np.float64]]:
    """Rates (0: not said) by selectorAlgorithm, of those of which all is said; as :func:`jobs.flowexport.optiondata.stated_rate`."""
    ways: dict[int, NDArray[np.float64]] = {}
    if "_chosen" in given and "_passed" in given:
        ways[COUNTED] = _share(given["_chosen"].astype(float) + given["_passed"], given["_chosen"])
    if "_size" in given and "_population" in given:
        ways[N_OF_MANY] = np.where(given["_size"] > 0, np.maximum(_share(given["_population"], given["_size"]), 1), 0)
    if "_probability" in given:
        p = given["_probability"].astype(float)
        ways[PROBABLE] = np.where((p > 1e-12) & (p <= 1), 1 / np.where(p > 0, p, 1), 0)
    return ways


def _share(of: NDArray[Any], by: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(by > 0, of / np.where(by > 0, by, 1).astype(float), 0)


def _from_frames(given: Given, out: FlowColumns, rows: slice, marks: NDArray[np.uint32]) -> None:
    """Fields of the beginning of a packet, where the record does not say them itself; it stands for one packet."""
    name = "_frame" if "_frame" in given else "_packet"
    heads = given[name]
    beginnings = heads.tolist() if heads.dtype == object else [h.tobytes() for h in heads]
    n = len(beginnings)
    wire = given.get("_frame_size", np.zeros(n, np.uint64)).astype(np.int64)
    if name == "_frame":
        kinds = given.get("_frame_type", np.ones(n, np.uint64))
        links = np.where(kinds == _FRAME_802_11, LINKTYPE_IEEE802_11, LINKTYPE_ETHERNET)
    else:
        links = np.full(n, LINKTYPE_RAW)
    merge_frames(frames.fields(beginnings, wire.tolist(), links.tolist()), np.arange(n), out, rows, marks)
