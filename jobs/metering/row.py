"""A row of the flow table: one flow, all of whose aggregates are integers, so that a record does not depend on batches.

Two columns of each kind belong to the two directions of a flow. :data:`FORWARD` and :data:`BACKWARD` show the same bytes of a row with the
columns of one direction under names that both share: what holds of a direction is written once.
"""

from __future__ import annotations

import numpy as np

END_REASONS: tuple[str, ...] = ("", "fin", "rst", "idle", "active", "evicted", "forced")
FIN, RST, IDLE, ACTIVE, EVICTED, FORCED = range(1, 7)

#: Times and spans in us, counts in packets, sizes in bytes.
ROW_DTYPE = np.dtype(
    [
        ("slot", "u8"),  # where the row lies in its table; the same in every copy of the table
        ("src_hi", "u8"),
        ("src_lo", "u8"),
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("conn_start", "i8"),  # us; of part 0
        ("start", "i8"),
        ("last", "i8"),
        ("close_ts", "i8"),  # when FIN/ACK or RST closed it
        ("f_first", "i8"),
        ("f_last", "i8"),
        ("b_first", "i8"),
        ("b_last", "i8"),
        ("nf", "i8"),
        ("nb", "i8"),
        ("sf", "i8"),  # payload bytes
        ("sb", "i8"),
        ("qf", "u8"),  # sum of squared payload
        ("qb", "u8"),
        ("hf", "i8"),  # L4 header bytes
        ("hb", "i8"),
        ("l3f", "i8"),
        ("l3b", "i8"),
        ("iat_q", "u8"),  # sums of squared gaps, us^2
        ("f_iat_q", "u8"),
        ("b_iat_q", "u8"),
        ("iat_max", "i8"),
        ("iat_min", "i8"),
        ("f_iat_max", "i8"),
        ("f_iat_min", "i8"),
        ("b_iat_max", "i8"),
        ("b_iat_min", "i8"),
        ("active_start", "i8"),
        ("active_sum", "i8"),
        ("active_q", "u8"),
        ("active_max", "i8"),
        ("active_min", "i8"),
        ("idle_sum", "i8"),
        ("idle_q", "u8"),
        ("idle_max", "i8"),
        ("idle_min", "i8"),
        ("fb_start", "i8"),  # bulk, forward: start (-1: none), time of last data packet
        ("fb_last", "i8"),
        ("fb_size", "i8"),
        ("fb_bytes", "i8"),
        ("fb_dur", "i8"),
        ("bb_start", "i8"),
        ("bb_last", "i8"),
        ("bb_size", "i8"),
        ("bb_bytes", "i8"),
        ("bb_dur", "i8"),
        ("next_age", "i8"),  # us of age at which the next interim snapshot is due
        ("next_packets", "i8"),
        ("shown", "i8"),  # packets in the last interim snapshot
        ("fb_cnt", "u4"),
        ("fb_n", "u4"),
        ("fb_pk", "u4"),
        ("bb_cnt", "u4"),
        ("bb_n", "u4"),
        ("bb_pk", "u4"),
        ("f_max", "u4"),
        ("f_min", "u4"),
        ("b_max", "u4"),
        ("b_min", "u4"),
        ("n_fin", "u4"),
        ("n_syn", "u4"),
        ("n_rst", "u4"),
        ("n_psh", "u4"),
        ("n_ack", "u4"),
        ("n_urg", "u4"),
        ("n_ece", "u4"),
        ("n_cwr", "u4"),
        ("f_psh", "u4"),
        ("b_psh", "u4"),
        ("f_urg", "u4"),
        ("b_urg", "u4"),
        ("f_rst", "u4"),
        ("b_rst", "u4"),
        ("f_data", "u4"),  # packets with payload
        ("b_data", "u4"),
        ("gaps", "u4"),  # gaps > 1 s
        ("active_n", "u4"),
        ("idle_n", "u4"),
        ("f_next", "u4"),  # next expected TCP sequence number
        ("b_next", "u4"),
        ("f_hole_lo", "u4"),  # last hole seen in the sequence space
        ("f_hole_hi", "u4"),
        ("b_hole_lo", "u4"),
        ("b_hole_hi", "u4"),
        ("f_syn", "u4"),  # sequence number of the connection's last SYN, where F_SYN or B_SYN says that there was one
        ("b_syn", "u4"),
        ("out_of_order", "u4"),
        ("duplicate", "u4"),
        ("malformed", "u4"),
        ("tunnel", "u4"),
        ("part", "u4"),
        ("sport", "u2"),
        ("dport", "u2"),
        ("domain", "u2"),
        ("sensor", "u2"),
        ("vlan1", "u2"),
        ("vlan2", "u2"),
        ("vlan3", "u2"),
        ("f_win", "u2"),
        ("b_win", "u2"),
        ("tcp", "u2"),  # TCP_* bits seen on the connection
        ("icmp_type", "i2"),
        ("icmp_code", "i2"),
        ("conn_type", "i2"),  # ICMP type and code of the connection's first packet: they name the conversation
        ("conn_code", "i2"),
        ("proto", "u1"),
        ("ipver", "u1"),
        ("f_hmin", "u1"),
        ("b_hmin", "u1"),
        ("closing", "u1"),  # 0, FIN or RST: what closed it, lingering
        ("end_reason", "u1"),
        ("f_state", "u1"),  # TCP endpoint states, and those before them
        ("b_state", "u1"),
        ("f_before", "u1"),
        ("b_before", "u1"),
    ],
    align=True,
)

#: What was seen on a TCP connection, kept over a timeout split; of any flow, that a fragment opened it that had waited. Each bit of the
#: forward direction is followed by the one of the backward direction.
F_FIN, B_FIN, F_SEQ, B_SEQ, F_DATA, B_DATA, F_SYN, B_SYN, OPENED_LATE = (1 << i for i in range(9))

#: States of one endpoint of a TCP connection, in Zeek's terms.
INACTIVE, SYN_SENT, SYN_ACK_SENT, PARTIAL, ESTABLISHED, CLOSED, RESET = range(7)

#: The columns of one direction: name, forward column, backward column.
_ONE_WAY = (
    ("first", "f_first", "b_first"),  # us; -1: no packet yet
    ("last", "f_last", "b_last"),
    ("packets", "nf", "nb"),
    ("bytes", "sf", "sb"),  # payload
    ("bytes_q", "qf", "qb"),
    ("header_bytes", "hf", "hb"),
    ("l3_bytes", "l3f", "l3b"),
    ("iat_q", "f_iat_q", "b_iat_q"),
    ("iat_max", "f_iat_max", "b_iat_max"),
    ("iat_min", "f_iat_min", "b_iat_min"),
    ("length_max", "f_max", "b_max"),
    ("length_min", "f_min", "b_min"),
    ("header_min", "f_hmin", "b_hmin"),
    ("window", "f_win", "b_win"),  # of the first packet
    ("data", "f_data", "b_data"),
    ("psh", "f_psh", "b_psh"),
    ("urg", "f_urg", "b_urg"),
    ("rst", "f_rst", "b_rst"),
    ("bulk_start", "fb_start", "bb_start"),
    ("bulk_last", "fb_last", "bb_last"),
    ("bulk_count", "fb_cnt", "bb_cnt"),  # of the bulk that may be going on
    ("bulk_size", "fb_size", "bb_size"),
    ("bulks", "fb_n", "bb_n"),  # of those that were long enough
    ("bulk_packets", "fb_pk", "bb_pk"),
    ("bulk_bytes", "fb_bytes", "bb_bytes"),
    ("bulk_dur", "fb_dur", "bb_dur"),
    ("next", "f_next", "b_next"),
    ("hole_lo", "f_hole_lo", "b_hole_lo"),
    ("hole_hi", "f_hole_hi", "b_hole_hi"),
    ("syn", "f_syn", "b_syn"),
    ("state", "f_state", "b_state"),
    ("before", "f_before", "b_before"),
)
#: Columns of the other direction that a direction looks at.
_OF_PEER = ("bulk_last", "state", "before")


def _offset(name: str) -> int:
    assert ROW_DTYPE.fields is not None
    return ROW_DTYPE.fields[name][1]


def _one_way(own: int) -> np.dtype:
    """The row with the columns of one direction under their common names; ``own``: 1 forward, 2 backward."""
    columns = {names[0]: names[own] for names in _ONE_WAY}
    columns |= {f"peer_{names[0]}": names[3 - own] for names in _ONE_WAY if names[0] in _OF_PEER}
    return np.dtype(
        {
            "names": list(columns),
            "formats": [ROW_DTYPE[name] for name in columns.values()],
            "offsets": [_offset(name) for name in columns.values()],
            "itemsize": ROW_DTYPE.itemsize,
        },
        align=True,
    )


FORWARD, BACKWARD = _one_way(1), _one_way(2)
