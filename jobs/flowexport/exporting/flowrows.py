"""Flows as exporters tell of them, made of what the meter closes.

The meter knows both directions of a flow; an exporter without biflows (RFC 5103) tells each as a flow of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.exporting.outgoing import INSIDE, OUTSIDE, Flows
from jobs.metering.row import ACTIVE, B_FIN, B_SYN, EVICTED, F_FIN, F_SYN, FIN, FORCED, IDLE, RST
from sensors.packets.protocols import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP

#: One flow to export. Addresses: IPv4 lies in the last four bytes. ``dport`` of ICMP is type and code (Cisco's way).
#: ``reverse_*`` are 0 where the answers are a flow of their own.
OUT_DTYPE = np.dtype(
    [
        ("ip_version", "u1"),
        ("src", "u1", 16),
        ("dst", "u1", 16),
        ("sport", "u2"),
        ("dport", "u2"),
        ("proto", "u1"),
        ("tcp_flags", "u2"),
        ("start_us", "i8"),
        ("end_us", "i8"),
        ("packets", "u8"),
        ("bytes", "u8"),  # of layer 3
        ("reverse_packets", "u8"),
        ("reverse_bytes", "u8"),
        ("reverse_tcp_flags", "u2"),
        ("input", "u4"),
        ("output", "u4"),
        ("vlan", "u2"),
        ("end_reason", "u1"),  # IPFIX flowEndReason, element 136
    ]
)

_FIN, _SYN, _RST, _PSH, _ACK, _URG, _ECE, _CWR = (1 << i for i in range(8))
#: The meter's end reasons as IPFIX has them: idle, active, end of flow, forced, lack of resources.
_REASONS = np.zeros(max(FIN, RST, IDLE, ACTIVE, EVICTED, FORCED) + 1, np.uint8)
_REASONS[[IDLE, ACTIVE, FIN, RST, FORCED, EVICTED]] = (1, 2, 3, 3, 4, 5)
#: Types of ICMP that answer one another (RFC 792, RFC 950, RFC 4443).
_ANSWERS = {0: 8, 8: 0, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
_ANSWERS_6 = {128: 129, 129: 128}


def flows_of(rows: NDArray[np.void], *, biflow: bool = False) -> Flows:
    """Flows of the rows of a flow table.

    Parameters
    ----------
    rows
        :data:`jobs.metering.row.ROW_DTYPE`, ``n`` of them.
    biflow
        One flow a row, the one that began it being the source; else one for each direction that has packets, the answers behind.

    Returns
    -------
    OUT_DTYPE[m]
        In the order of the rows. Packets and bytes sum to those of the rows.

    Notes
    -----
    The meter keeps of which direction were SYN, FIN, RST, PSH and URG. ACK is counted for both together: the answers are taken to have it,
    and the others when there are more than the answers can have; ECE and CWR are told of the one that began.
    """
    forward_flags, backward_flags = _flags(rows)
    forward = _one_way(rows, "f", forward_flags)
    if biflow:
        forward["start_us"], forward["end_us"] = rows["start"], rows["last"]
        forward["reverse_packets"], forward["reverse_bytes"] = rows["nb"], rows["l3b"]
        forward["reverse_tcp_flags"] = backward_flags
        return forward
    both = np.stack([forward, _one_way(rows, "b", backward_flags)], axis=1).reshape(-1)
    return both[both["packets"] > 0]


def _one_way(rows: NDArray[np.void], side: str, flags: NDArray[np.uint16]) -> Flows:
    out = np.zeros(len(rows), OUT_DTYPE)
    forward = side == "f"
    ends = ("src", "dst") if forward else ("dst", "src")
    ports = ("sport", "dport") if forward else ("dport", "sport")
    for name, end in zip(("src", "dst"), ends, strict=True):
        words = np.stack([rows[f"{end}_hi"], rows[f"{end}_lo"]], axis=1).astype(">u8")
        out[name] = words.view(np.uint8).reshape(-1, 16)
    for name, port in zip(("sport", "dport"), ports, strict=True):
        out[name] = rows[port]
    out["ip_version"], out["proto"] = rows["ipver"], rows["proto"]
    icmp = (rows["proto"] == IPPROTO_ICMP) | (rows["proto"] == IPPROTO_ICMPV6)
    out["dport"][icmp] = _icmp(rows[icmp], forward)
    out["tcp_flags"] = flags
    out["packets"], out["bytes"] = rows[f"n{side}"], rows[f"l3{side}"]
    out["start_us"], out["end_us"] = rows[f"{side}_first"], rows[f"{side}_last"]
    out["input"], out["output"] = (INSIDE, OUTSIDE) if forward else (OUTSIDE, INSIDE)
    out["vlan"] = np.maximum(rows["vlan1"], 1) - 1
    out["end_reason"] = _REASONS[rows["end_reason"]]
    return out


def _icmp(rows: NDArray[np.void], forward: bool) -> NDArray[np.uint16]:
    """Type and code, as a port. Of answers: the type that answers, where there is one."""
    kinds = np.maximum(rows["icmp_type"], 0).astype(np.uint16)
    codes = np.maximum(rows["icmp_code"], 0).astype(np.uint16)
    if not forward:
        told = kinds.copy()
        for answers, of in ((_ANSWERS, IPPROTO_ICMP), (_ANSWERS_6, IPPROTO_ICMPV6)):
            for kind, answer in answers.items():
                kinds[(told == kind) & (rows["proto"] == of)] = answer
    return kinds << 8 | codes & 255


def _flags(rows: NDArray[np.void]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """TCP flags that each direction had; whatever was counted is told of one of them at least."""
    tcp = rows["proto"] == IPPROTO_TCP
    has_f, has_b = rows["nf"] > 0, rows["nb"] > 0
    acks = rows["n_ack"]
    nowhere = np.zeros(len(rows), bool)
    by_flag = (
        (_SYN, rows["n_syn"], (rows["tcp"] & F_SYN) > 0, (rows["tcp"] & B_SYN) > 0),
        (_FIN, rows["n_fin"], (rows["tcp"] & F_FIN) > 0, (rows["tcp"] & B_FIN) > 0),
        (_RST, rows["n_rst"], rows["f_rst"] > 0, rows["b_rst"] > 0),
        (_PSH, rows["n_psh"], rows["f_psh"] > 0, rows["b_psh"] > 0),
        (_URG, rows["n_urg"], rows["f_urg"] > 0, rows["b_urg"] > 0),
        (_ACK, acks, acks > rows["nb"], has_b),
        (_ECE, rows["n_ece"], nowhere, nowhere),
        (_CWR, rows["n_cwr"], nowhere, nowhere),
    )
    forward, backward = np.zeros(len(rows), np.uint16), np.zeros(len(rows), np.uint16)
    for bit, count, ahead, back in by_flag:
        seen = tcp & (count > 0)
        ahead, back = seen & ahead & has_f, seen & back & has_b
        other = seen & ~ahead & ~back
        forward |= np.where(ahead | (other & has_f), np.uint16(bit), np.uint16(0))
        backward |= np.where(back | (other & ~has_f), np.uint16(bit), np.uint16(0))
    return forward, backward
