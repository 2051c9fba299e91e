"""Beginnings of packets, as exporters send them in samples and in link frames, read by the packet decoder.

RFC 7133 (dataLinkFrameSection), RFC 5477 (ipHeaderPacketSection), sFlow's raw header. The innermost IP packet counts, whatever tags,
labels and tunnels are around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.columns import mapped
from sensors.packets.decode import MAX_WIRE, decode
from sensors.packets.protocols import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_QINQ,
    ETHERTYPE_VLAN,
    ETHERTYPE_VLAN_9100,
    LINKTYPE_ETHERNET,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
)

#: Bytes of each frame that addresses, tags and the first word of IP are looked for in.
_HEAD = 40
_ETHERNET, _TAG = 14, 4
_TAGS = (ETHERTYPE_VLAN, ETHERTYPE_QINQ, ETHERTYPE_VLAN_9100)
_MOST_TAGS = 3


@dataclass
class FrameFields:
    """What ``n`` beginnings say.

    Attributes
    ----------
    read : bool[n]
        An IP packet was found; the other arrays have no meaning where it was not, but for ``macs`` and ``lengths``.
    columns
        Arrays by names of columns.
    lengths : uint64[n]
        Bytes of layer 3: of the packet found, else of what the frame carries.
    """

    read: NDArray[np.bool_]
    columns: dict[str, NDArray[Any]]
    lengths: NDArray[np.uint64]


def fields(frames: Sequence[bytes], wire: Sequence[int], links: Sequence[int]) -> FrameFields:
    """Read frames.

    Parameters
    ----------
    frames
        Their first bytes.
    wire
        Bytes on the wire of each; 0: not known.
    links
        LINKTYPE_* of each.
    """
    n = len(frames)
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum([len(f) for f in frames], out=offsets[1:])
    data = np.frombuffer(b"".join(frames) or b"\0", np.uint8)
    link = np.asarray(links, np.uint16)
    length = np.maximum(np.asarray(wire, np.int64), np.diff(offsets))
    packets, reasons = decode(data, offsets, np.zeros(n, np.int64), np.minimum(length, MAX_WIRE).astype(np.uint32), link)
    read = reasons == 0
    columns = _packet_columns(packets)
    heads = _heads(frames)
    ethernet = link == LINKTYPE_ETHERNET
    columns |= _ethernet_columns(heads, ethernet)
    first, plain = _first_ip(heads, ethernet, link)
    columns |= _ip_columns(heads, first, plain & (packets["tunnel"] == 0) & read)
    carried = np.maximum(length - np.where(ethernet, first, 0), 0)
    return FrameFields(read, columns, np.where(read, packets["l3_bytes"], carried).astype(np.uint64))


def _packet_columns(packets: NDArray[Any]) -> dict[str, NDArray[Any]]:
    six = packets["ipver"] == 6
    made: dict[str, NDArray[Any]] = {
        "src": _addresses(packets["src_hi"], packets["src_lo"], six),
        "dst": _addresses(packets["dst_hi"], packets["dst_lo"], six),
        "ip_version": packets["ipver"],
        "tcp_flags": packets["flags"],
        "vlan": np.where(packets["vlan1"] > 0, packets["vlan1"] - 1, 0),
    }
    for name in ("sport", "dport", "proto", "icmp_type", "icmp_code", "tunnel"):
        made[name] = packets[name]
    return made


def _addresses(high: NDArray[np.uint64], low: NDArray[np.uint64], six: NDArray[np.bool_]) -> NDArray[np.uint8]:
    words = np.stack([high, low], axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)
    four = np.zeros_like(words)
    mapped(four, low.astype(">u4").view("<u4"))
    return np.where(six[:, None], words, four)


def _heads(frames: Sequence[bytes]) -> NDArray[np.uint8]:
    """The first bytes of each, filled up with zeros."""
    return np.frombuffer(b"".join(f[:_HEAD].ljust(_HEAD, b"\0") for f in frames), np.uint8).reshape(-1, _HEAD)


def _number(heads: NDArray[np.uint8], at: NDArray[np.int64], size: int) -> NDArray[np.uint64]:
    """Numbers of so many bytes at a place of each head."""
    rows = np.arange(len(heads))
    value = np.zeros(len(heads), np.uint64)
    for k in range(size):
        value = value << np.uint64(8) | heads[rows, np.minimum(at + k, _HEAD - 1)].astype(np.uint64)
    return value


def _ethernet_columns(heads: NDArray[np.uint8], ethernet: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    at = np.zeros(len(heads), np.int64)
    zero = np.uint64(0)
    return {
        "dst_mac": np.where(ethernet, _number(heads, at, 6), zero),
        "src_mac": np.where(ethernet, _number(heads, at + 6, 6), zero),
    }


def _first_ip(
    heads: NDArray[np.uint8], ethernet: NDArray[np.bool_], link: NDArray[np.uint16]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where what the frame carries begins, behind its tags, and whether that is IP."""
    at = np.where(ethernet, _ETHERNET, 0)
    kind = _number(heads, at - 2, 2)
    for _ in range(_MOST_TAGS):
        tagged = ethernet & np.isin(kind, _TAGS)
        at = np.where(tagged, at + _TAG, at)
        kind = _number(heads, at - 2, 2)
    plain = np.where(ethernet, np.isin(kind, (ETHERTYPE_IPV4, ETHERTYPE_IPV6)), np.isin(link, (LINKTYPE_IPV4, LINKTYPE_IPV6)))
    return at, plain


def _ip_columns(heads: NDArray[np.uint8], at: NDArray[np.int64], plain: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Type of service or traffic class, and flow label."""
    word = _number(heads, at, 4)
    six = word >> np.uint64(28) == 6
    tos = np.where(six, word >> np.uint64(20), word >> np.uint64(16)) & np.uint64(0xFF)
    label = np.where(six, word & np.uint64(0xFFFFF), np.uint64(0))
    zero = np.uint64(0)
    return {"tos": np.where(plain, tos, zero), "flow_label": np.where(plain, label, zero)}
