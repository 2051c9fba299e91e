"""Rows by direction, and slots that are used again."""

from __future__ import annotations

import numpy as np

from jobs.metering.row import BACKWARD, FORWARD, ROW_DTYPE
from jobs.metering.table import FlowTable, Rows, Timeouts
from sensors.packets.decode import PACKET_DTYPE
from sensors.packets.protocols import IPPROTO_TCP, IPPROTO_UDP, TCP_ACK, TCP_RST


def test_the_directions_share_no_column() -> None:
    rows = np.zeros(1, ROW_DTYPE)
    for name in FORWARD.names or ():
        if name.startswith("peer_"):
            continue
        rows.view(FORWARD)[name] = 1
        rows.view(BACKWARD)[name] = 2
        assert (rows.view(FORWARD)[name], rows.view(BACKWARD)[name]) == (1, 2), name


def test_the_peer_of_one_direction_is_the_other() -> None:
    rows = np.zeros(1, ROW_DTYPE)
    peers = [name for name in FORWARD.names or () if name.startswith("peer_")]
    assert peers
    for i, name in enumerate(peers, 1):
        rows.view(FORWARD)[name] = i
        assert rows.view(BACKWARD)[name.removeprefix("peer_")] == i


def test_no_column_of_a_direction_is_left_out() -> None:
    """Columns in pairs, f and b, are those of :data:`FORWARD` and :data:`BACKWARD`, in rows that hold nothing else in both."""
    rows = np.zeros(1, ROW_DTYPE)
    for view, value in ((FORWARD, 1), (BACKWARD, 2)):
        for name in (n for n in view.names or () if not n.startswith("peer_")):
            rows.view(view)[name] = value
    found = {value: {n for n in ROW_DTYPE.names or () if rows[n] == value} for value in (1, 2)}
    assert {n.replace("f", "?", 1) for n in found[1]} == {n.replace("b", "?", 1) for n in found[2]}
    assert {n for n in ROW_DTYPE.names or () if n.startswith(("f_", "fb_"))} <= found[1]
    assert {n for n in ROW_DTYPE.names or () if n.startswith(("b_", "bb_"))} <= found[2]


def test_a_slot_keeps_nothing_of_the_flow_before() -> None:
    """What is written to the state must follow from the flow alone."""
    packets = np.zeros(2, PACKET_DTYPE)
    packets["ts"] = 1_000_000_000, 100_000_000_000  # ns: the first flow is long over, and the second one takes its slot
    packets["ipver"], packets["src_lo"], packets["dst_lo"], packets["sport"], packets["dport"] = 4, 1, 2, 3, 4
    packets["proto"] = IPPROTO_TCP, IPPROTO_UDP
    packets["seq"], packets["payload"], packets["flags"] = (500, 0), 10, (TCP_ACK | TCP_RST, 0)
    used = FlowTable(Timeouts())
    closed = Rows()
    used.meter(packets[:1], closed)
    used.expire(np.array([90_000_000]), closed)
    assert len(closed.found()) == 1
    used.meter(packets[1:], closed)
    fresh = FlowTable(Timeouts())
    fresh.meter(packets[1:], closed)
    assert used.take_dirty().tobytes() == fresh.take_dirty().tobytes()
