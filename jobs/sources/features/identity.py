"""Who a flow is that another meter has seen: its id, made of what it is about, and its community id."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.metering.identity import community_ids
from jobs.metering.row import ROW_DTYPE
from jobs.sources.features.cells import Addresses

#: Keeps these ids apart from the meter's own: a flow that both have seen is two records.
_PERSON = b"flow-features"
_SECOND = 1_000_000


def flow_ids(
    domains: Sequence[str], sensors: Sequence[str], src: Addresses, dst: Addresses, numbers: dict[str, NDArray], wanted: NDArray[np.bool_]
) -> list[str]:
    """UUIDs (version 8, RFC 9562): 16 bytes of BLAKE2b over domain, sensor, addresses, ports, protocol, start and part.

    The same flow of the same sensor has the same id however often, and in whatever message, it is sent. CICFlowMeter writes its times in
    whole seconds: two connections of one key within one second would be one. To such a start, duration and packets are added.

    Parameters
    ----------
    domains, sensors
        Of each row.
    src, dst
        Addresses.
    numbers
        ``src_port``, ``dst_port``, ``protocol``, ``start_time`` (us), ``part``, ``flow_duration`` (us), ``total_fwd_packets`` and
        ``total_backward_packets`` of each row.
    wanted
        Rows that need one; the others get an empty text.
    """
    key = np.stack([src.high, src.low, dst.high, dst.low], axis=1).astype(">u8")
    named = ("src_port", "dst_port", "protocol", "start_time", "part")
    about = np.stack([numbers[name].astype(np.int64) for name in named], axis=1).astype(">i8")
    measured = ("flow_duration", "total_fwd_packets", "total_backward_packets")
    more = np.stack([numbers[name].astype(np.int64) for name in measured], axis=1).astype(">i8")
    coarse = numbers["start_time"] % _SECOND == 0
    found = []
    for row in range(len(key)):
        if not wanted[row]:
            found.append("")
            continue
        names = b"".join(b"%d:%b" % (len(name), name) for name in (domains[row].encode(), sensors[row].encode()))
        content = names + key[row].tobytes() + about[row].tobytes() + (more[row].tobytes() if coarse[row] else b"")
        raw = bytearray(blake2b(content, digest_size=16, person=_PERSON).digest())
        raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80
        found.append(str(UUID(bytes=bytes(raw))))
    return found


def communities(src: Addresses, dst: Addresses, numbers: dict[str, NDArray], seed: int) -> pa.StringArray:
    """Community IDs v1; ``numbers`` as for :func:`flow_ids`, and ``icmp_type`` and ``icmp_code`` (-1: not known)."""
    rows = np.zeros(len(src.version), ROW_DTYPE)
    rows["ipver"] = src.version
    rows["src_hi"], rows["src_lo"], rows["dst_hi"], rows["dst_lo"] = src.high, src.low, dst.high, dst.low
    rows["sport"], rows["dport"], rows["proto"] = numbers["src_port"], numbers["dst_port"], numbers["protocol"]
    rows["conn_type"], rows["conn_code"] = numbers["icmp_type"], numbers["icmp_code"]
    return community_ids(rows, seed)
