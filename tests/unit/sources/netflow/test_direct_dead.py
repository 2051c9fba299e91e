"""Datagrams that could not be decoded, as rows."""

from __future__ import annotations

from jobs.flowexport.faults import FaultReason, Rejected
from jobs.sources.netflow.directdead import MOST_A_SECOND, DirectDeadLetters
from schemas.rawflows import RawDatagram

_SENDER = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])


def datagram(number: int) -> RawDatagram:
    return RawDatagram(b"no flows %d" % number, _SENDER, 2055, 2055, 1_700_000_000_000_000 + number, 4, 0)


def test_a_datagram_is_kept_once_with_its_first_fault() -> None:
    dead = DirectDeadLetters("edge")
    faults = [Rejected(1, FaultReason.BAD_SET, 20, False), Rejected(1, FaultReason.BAD_TEMPLATE, 44, False)]
    dead.take(faults, [datagram(0), datagram(1)])
    made = dead.rows()
    assert made is not None
    (row,) = made.to_pylist()
    assert (row["sender"], row["sender_port"], row["reason"], row["at_byte"], row["kept_of"]) == ("192.0.2.7", 2055, "bad_set", 20, 4)
    assert row["datagram"] == b"no flows 1"
    assert dead.rows() is None


def test_a_write_that_is_repeated_has_the_same_id_and_other_datagrams_have_others() -> None:
    ids = []
    for numbers in ([0, 1], [0, 2]):
        dead = DirectDeadLetters("edge")
        dead.take([Rejected(n, FaultReason.BAD_SET, 0, True) for n in (0, 1)], [datagram(n) for n in numbers])
        made = dead.rows()
        assert made is not None
        ids.append(made["id"].to_pylist())
    assert ids[0][0] == ids[1][0]
    assert len({*ids[0], *ids[1]}) == 3
    assert all(0 <= one < 2**63 for one in ids[0])


def test_a_flood_of_nonsense_is_counted_and_kept_in_part() -> None:
    now = [5.0]
    dead = DirectDeadLetters("edge", clock=lambda: now[0])
    flood = [datagram(n) for n in range(MOST_A_SECOND + 30)]
    faults = [Rejected(n, FaultReason.UNKNOWN_VERSION, 0, True) for n in range(len(flood))]
    dead.take(faults, flood)
    dead.take(faults[:7], flood)
    made = dead.rows()
    assert made is not None
    assert (made.num_rows, dead.left_out) == (MOST_A_SECOND, 37)
    now[0] = 6.2
    dead.take(faults[:7], flood)
    later = dead.rows()
    assert later is not None
    assert (later.num_rows, dead.left_out) == (7, 37)
