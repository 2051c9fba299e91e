"""From the slices of a meter to summaries of 5 s."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jobs.windows.hashing import mixed
from jobs.windows.prefixes import shorten
from jobs.windows.summary import ADDRESSES, ITEM_DTYPE, PAIRS, PORTS, ROW_DTYPE, SLOTS, Summaries, grouped
from schemas.windows import SIZES
from sensors.packets.protocols import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP

#: Seconds of the smallest window.
SECONDS = SIZES[0]

_SAME = {
    "packets_out": "nf", "packets_in": "nb", "bytes_out": "l3f", "bytes_in": "l3b", "data_out": "f_data", "data_in": "b_data",
    "flows_started": "opened", "syn": "f_syn", "syn_ack": "b_syn_ack", "ack_out": "f_ack", "ack_in": "b_ack", "fin_out": "f_fin",
    "fin_in": "b_fin", "rst_out": "f_rst", "rst_in": "b_rst",
}  # fmt: skip


def summed(slices: npt.NDArray[np.void], domains: Sequence[str], ipv6_prefix: int = 128) -> Summaries:
    """Slices by source and slot.

    Parameters
    ----------
    slices
        :data:`jobs.metering.slices.SLICE_DTYPE`, of slots of :data:`SECONDS`.
    domains
        Names by their domain number; two lives of a domain have one.
    ipv6_prefix
        Bits of an IPv6 address that make a source: with 64 the temporary addresses of a network's hosts (RFC 8981) are one.
    """
    n = len(slices)
    names = tuple(sorted(set(domains)))
    rows = np.zeros(n, ROW_DTYPE)
    rows["domain"] = np.array([names.index(name) for name in domains] or [0], np.uint32)[slices["domain"]]
    for name in ("ipver", "src_hi", "src_lo", "first", "last"):
        rows[name] = slices[name]
    rows["bits"] = np.where(slices["ipver"] == 4, 32, 128)
    shorten(rows, 32, ipv6_prefix, names)
    rows["begin"] = slices["slot"]
    for name, source in _SAME.items():
        rows[name] = slices[source]
    packets = rows["packets_out"] + rows["packets_in"]
    kinds = {"tcp": slices["proto"] == IPPROTO_TCP, "udp": slices["proto"] == IPPROTO_UDP}
    for name, mask in kinds.items():
        rows[f"{name}_packets"] = np.where(mask, packets, 0)
        rows[f"{name}_started"] = np.where(mask, rows["flows_started"], 0)
    rows["icmp_packets"] = np.where(np.isin(slices["proto"], (IPPROTO_ICMP, IPPROTO_ICMPV6)), packets, 0)
    return grouped(rows, _items(slices, packets), names)


def _items(slices: npt.NDArray[np.void], packets: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
    n = len(slices)
    address = mixed(mixed(slices["dst_hi"]) ^ slices["dst_lo"])
    port = mixed((slices["proto"].astype(np.uint64) << np.uint64(16)) | slices["dport"])
    items = np.zeros(3 * n, ITEM_DTYPE)
    for kind, values in ((ADDRESSES, address), (PORTS, port), (PAIRS, mixed(address + port))):
        some = items[kind * n : (kind + 1) * n]
        some["row"], some["kind"], some["hash"] = np.arange(n), kind, values
        some["packets"], some["bytes_out"], some["bytes_in"] = packets, slices["l3f"], slices["l3b"]
        some["started"], some["syn"] = slices["opened"], slices["f_syn"]
        some["proto"] = 0 if kind == ADDRESSES else slices["proto"]
        some["when"] = slices["opened"].astype(np.uint64) << (slices["slot"] % SLOTS).astype(np.uint64)
    return items
