"""When a record begins and ends, and which way is forward; the oracle and the product are held to the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.metering.cases import A, B, bits, bwd, fwd, of
from tests.unit.metering.conftest import Metered


def summary(records: list[dict]) -> list[tuple]:
    """(packets, end reason, part) of each record."""
    return [(r["total_fwd_packets"] + r["total_backward_packets"], r["end_reason"], r["part"]) for r in records]


def test_sixty_seconds_of_silence_are_inside(metered: Metered) -> None:
    assert summary(metered([fwd(0), fwd(60)])) == [(2, "forced", 0)]


def test_more_than_sixty_seconds_of_silence_end_a_flow(metered: Metered) -> None:
    records = metered([fwd(0), bwd(60.000001)])
    assert summary(records) == [(1, "idle", 0), (1, "forced", 0)]
    assert [r["src_ip"] for r in records] == [A, B]


def test_nanoseconds_are_cut_off_before_any_rule(metered: Metered) -> None:
    first, second = fwd(0), fwd(60)
    assert summary(metered([first, second._replace(ns=second.ns + 999)])) == [(2, "forced", 0)]


def test_idle_fires_by_the_clock_alone(metered: Metered) -> None:
    records = metered([fwd(0), of(61, "10.9.9.9", "10.9.9.8", 17, 1, 2, 3)])
    assert summary(records) == [(1, "idle", 0), (1, "forced", 0)]


def test_idle_by_the_clock_needs_more_than_sixty_seconds(metered: Metered) -> None:
    records = metered([fwd(0), of(60, "10.9.9.9", "10.9.9.8", 17, 1, 2, 3)])
    assert summary(records) == [(1, "forced", 0), (1, "forced", 0)]


def test_active_timeout_is_strict_and_keeps_the_direction(metered: Metered) -> None:
    records = metered([fwd(0, "S"), bwd(50), fwd(100), bwd(120), bwd(120.000001), fwd(130)])
    assert summary(records) == [(4, "active", 0), (2, "forced", 1)]
    assert [r["src_ip"] for r in records] == [A, A]
    second = records[1]
    assert (second["total_fwd_packets"], second["total_backward_packets"]) == (1, 1)
    assert second["total_tcp_flow_time"] == 130_000_000
    assert second["flow_duration"] == 9_999_999


def test_a_second_part_lasts_120_seconds_of_its_own(metered: Metered) -> None:
    times = [0, 50, 100, 150, 200, 250, 270, 270.000001]
    assert summary(metered(fwd(t) for t in times)) == [(3, "active", 0), (4, "active", 1), (1, "forced", 2)]


def test_idle_goes_before_active(metered: Metered) -> None:
    assert summary(metered(fwd(t) for t in (0, 50, 100, 161))) == [(3, "idle", 0), (1, "forced", 0)]


def test_udp_is_split_too(metered: Metered) -> None:
    frames = [of(t, A, B, 17, 5, 6, 10) for t in (0, 60, 120, 121)]
    assert summary(metered(frames)) == [(3, "active", 0), (1, "forced", 1)]


CLOSE = [fwd(0, "S"), bwd(0.1, "SA"), fwd(0.2), fwd(1, "FA"), bwd(1.1, "FA"), fwd(1.2, "A")]


def test_close_by_fins_and_an_ack(metered: Metered) -> None:
    records = metered(CLOSE)
    assert summary(records) == [(6, "fin", 0)]
    assert records[0]["tcp_state"] == "SF"


def test_the_second_fin_is_not_its_own_ack(metered: Metered) -> None:
    assert summary(metered(CLOSE[:-1])) == [(5, "forced", 0)]


def test_an_ack_of_either_side_closes(metered: Metered) -> None:
    assert summary(metered([*CLOSE[:-1], bwd(1.2, "A")])) == [(6, "fin", 0)]


def test_one_fin_does_not_close(metered: Metered) -> None:
    assert summary(metered([*CLOSE[:4], bwd(1.1, "A"), bwd(40, "PA", 10)])) == [(6, "forced", 0)]


def test_the_linger_keeps_trailing_packets(metered: Metered) -> None:
    assert summary(metered([*CLOSE, bwd(4.2, "A")])) == [(7, "fin", 0)]


def test_after_the_linger_a_new_flow_begins(metered: Metered) -> None:
    records = metered([*CLOSE, bwd(4.200001, "A")])
    assert summary(records) == [(6, "fin", 0), (1, "forced", 0)]
    assert records[1]["src_ip"] == B


def test_the_linger_is_counted_from_the_close(metered: Metered) -> None:
    assert summary(metered([*CLOSE, bwd(4, "A"), bwd(5, "A")])) == [(7, "fin", 0), (1, "forced", 0)]


def test_a_new_syn_closes_at_once(metered: Metered) -> None:
    records = metered([*CLOSE, fwd(1.3, "S", seq=9), bwd(1.4, "SA", seq=9)])
    assert summary(records) == [(6, "fin", 0), (2, "forced", 0)]


@pytest.mark.parametrize(
    "end",
    [
        CLOSE[3:],
        CLOSE[3:5],  # the ACK of the last FIN was not captured
        [fwd(1, "R")],
        [bwd(1, "RA")],
        [fwd(1, "FA"), bwd(1.1, "R")],
    ],
    ids=["fin", "fins alone", "rst", "rst of the other side", "fin and rst"],
)
@pytest.mark.parametrize("by", [fwd, bwd])
def test_a_syn_after_the_end_is_another_connection_and_a_copy_of_its_own_is_not(metered: Metered, end: list, by: Callable) -> None:
    """The copy: same side and number as the connection's SYN, from a tap or a sender that has not seen the RST."""
    start = [fwd(0, "S", seq=100), bwd(0.1, "SA", seq=2**32 - 1), fwd(0.2, "A", seq=101)]
    n, reason = len(start) + len(end), "rst" if any(bits("R") & f.data[47] for f in end) else "fin"
    copy = fwd(1.3, "S", seq=100) if by is fwd else bwd(1.3, "S", seq=2**32 - 1)
    answer = bwd if by is fwd else fwd
    assert len(metered([*start, *end, copy])) == 1
    for number in (99, 101, 2**31, 100 if by is bwd else 2**32 - 1):  # the last: of the other side
        fresh = [by(1.4, "S", seq=number), answer(1.5, "SA", seq=7), by(1.6, "FA", seq=8)]
        records = metered([*start, *end, copy, *fresh])
        assert summary(records) == [(n + 1, reason, 0), (3, "forced", 0)]
        assert records[1]["src_ip"] == (A if by is fwd else B)


def test_a_connection_whose_syn_was_not_seen_ends_at_the_first_one(metered: Metered) -> None:
    assert summary(metered([fwd(0), fwd(1, "FA"), bwd(1.1, "FA"), fwd(1.2, "S")])) == [(3, "fin", 0), (1, "forced", 0)]
    assert summary(metered([fwd(0), bwd(1, "R"), bwd(1.2, "S")])) == [(2, "rst", 0), (1, "forced", 0)]


def test_of_several_syns_of_one_side_the_last_one_is_the_connections(metered: Metered) -> None:
    tries = [fwd(0, "S", seq=1), fwd(1, "S", seq=5), bwd(1.1, "RA")]
    assert summary(metered([*tries, fwd(1.5, "S", seq=5)])) == [(4, "rst", 0)]
    assert summary(metered([*tries, fwd(1.5, "S", seq=1)])) == [(3, "rst", 0), (1, "forced", 0)]


def test_a_syn_reuses_no_connection_that_one_side_only_has_ended(metered: Metered) -> None:
    assert summary(metered([*CLOSE[:4], fwd(2, "S", seq=9), bwd(3, "S", seq=9)])) == [(6, "forced", 0)]


def test_reuse_of_a_split_connection_knows_the_syn_of_its_first_part(metered: Metered) -> None:
    long = [fwd(0, "S", seq=3), *(fwd(t) for t in (50, 100, 125)), fwd(126, "FA"), bwd(126.1, "FA")]
    assert summary(metered([*long, fwd(127, "S", seq=3)])) == [(3, "active", 0), (4, "forced", 1)]
    assert summary(metered([*long, fwd(127, "S", seq=4)])) == [(3, "active", 0), (3, "fin", 1), (1, "forced", 0)]


def test_idle_goes_before_reuse_without_a_last_ack(metered: Metered) -> None:
    assert summary(metered([*CLOSE[:5], fwd(61.100001, "S", seq=9)])) == [(5, "idle", 0), (1, "forced", 0)]
    assert summary(metered([*CLOSE[:5], fwd(61.1, "S", seq=9)])) == [(5, "fin", 0), (1, "forced", 0)]


def test_a_syn_ack_does_not_close_at_once(metered: Metered) -> None:
    assert summary(metered([*CLOSE, bwd(1.3, "SA")])) == [(7, "fin", 0)]


def test_a_syn_of_an_open_flow_stays_inside(metered: Metered) -> None:
    assert summary(metered([fwd(0, "S"), fwd(1, "S"), fwd(3, "S")])) == [(3, "forced", 0)]


@pytest.mark.parametrize("by", [fwd, bwd])
def test_rst_closes(metered: Metered, by: object) -> None:
    rst = by(1, "R")  # type: ignore[operator]
    assert summary(metered([fwd(0, "S"), rst, bwd(4, "A")])) == [(3, "rst", 0)]
    assert summary(metered([fwd(0, "S"), rst, bwd(4.000001, "A")])) == [(2, "rst", 0), (1, "forced", 0)]


def test_the_first_trigger_wins(metered: Metered) -> None:
    assert summary(metered([*CLOSE, fwd(1.5, "R")])) == [(7, "fin", 0)]
    assert summary(metered([*CLOSE[:4], fwd(1.05, "R"), *CLOSE[4:]])) == [(7, "rst", 0)]


def test_a_closing_flow_is_not_split(metered: Metered) -> None:
    frames = [fwd(0), fwd(50), fwd(100), fwd(119, "R"), bwd(121, "A")]
    assert summary(metered(frames)) == [(5, "rst", 0)]


def test_forward_is_the_source_of_the_first_packet(metered: Metered) -> None:
    (r,) = metered([bwd(0, "A", 10), fwd(1, "A", 20)])
    assert (r["src_ip"], r["src_port"], r["total_length_fwd_packets"]) == (B, 80, 10)


def test_a_syn_ack_first_turns_the_direction(metered: Metered) -> None:
    (r,) = metered([bwd(0, "SA"), fwd(1, "A", 20)])
    assert (r["src_ip"], r["dst_port"], r["total_length_fwd_packets"], r["total_backward_packets"]) == (A, 80, 20, 1)


def test_a_syn_ack_does_not_turn_a_later_part(metered: Metered) -> None:
    records = metered([bwd(0), fwd(60), bwd(120), bwd(121, "SA")])
    assert [(r["part"], r["src_ip"]) for r in records] == [(0, B), (1, B)]


def test_ports_and_protocols_keep_flows_apart(metered: Metered) -> None:
    frames = [of(0, A, B, 17, 1, 2, 5), of(0, A, B, 17, 2, 1, 5), of(0, A, B, 6, 1, 2, 5), of(0, A, B, 17, 1, 3, 5)]
    assert len(metered(frames)) == 4


def test_a_host_that_talks_to_itself(metered: Metered) -> None:
    (r,) = metered([of(0, A, A, 17, 7, 7, 5), of(1, A, A, 17, 7, 7, 5)])
    assert (r["total_fwd_packets"], r["total_backward_packets"]) == (2, 0)


def test_a_host_that_answers_itself_has_no_way_back(metered: Metered) -> None:
    from tests.unit.metering.cases import bits

    (r,) = metered([of(0, A, A, 6, 7, 7, 0, flags=bits("SA")), of(1, A, A, 6, 7, 7, 5, flags=bits("A"))])
    assert (r["total_fwd_packets"], r["total_backward_packets"]) == (2, 0)


def test_capture_order_decides_between_equal_times(metered: Metered) -> None:
    (r,) = metered([bwd(0, "A", 1), fwd(0, "A", 2), bwd(0, "A", 3)])
    assert (r["src_ip"], r["total_fwd_packets"], r["flow_duration"]) == (B, 2, 0)


def test_packets_a_little_out_of_order_are_put_right(metered: Metered) -> None:
    (r,) = metered([bwd(0.2, "SA"), fwd(0.0, "S"), fwd(0.6, "PA", 10), fwd(0.3)])
    assert (r["src_ip"], r["flow_iat_max"], r["fwd_iat_min"]) == (A, 300_000, 300_000)


@pytest.mark.parametrize(
    ("frames", "state"),
    [
        ([fwd(0, "S")], "S0"),
        ([fwd(0, "S"), fwd(1, "S")], "S0"),
        ([fwd(0, "S"), bwd(1, "SA")], "S1"),
        (CLOSE[:3], "S1"),
        (CLOSE[:4], "S2"),
        ([*CLOSE[:3], bwd(1, "FA")], "S3"),
        (CLOSE, "SF"),
        ([fwd(0, "S"), bwd(1, "RA")], "REJ"),
        ([*CLOSE[:3], fwd(1, "R")], "RSTO"),
        ([*CLOSE[:3], bwd(1, "R")], "RSTR"),
        ([fwd(0, "S"), fwd(1, "R")], "RSTOS0"),
        ([bwd(0, "SA"), bwd(1, "R")], "RSTRH"),
        ([fwd(0, "S"), fwd(1, "F")], "SH"),
        ([bwd(0, "SA"), bwd(1, "F")], "SHR"),
        ([fwd(0, "A", 5), bwd(1, "A", 5)], "OTH"),
        ([fwd(0, "PA", 5)], "OTH"),
        # as Zeek has it where the beginning was missed, or is odd
        ([bwd(0, "SA"), fwd(1, "A")], "S1"),
        ([fwd(0, "FA"), bwd(1, "FA"), fwd(2, "A")], "SF"),
        ([fwd(0, "A"), fwd(1, "FA"), bwd(2, "FA"), fwd(3, "RA")], "SF"),
        ([fwd(0, "FA"), bwd(1, "R")], "RSTR"),
        ([fwd(0, "A"), fwd(1, "R")], "RSTOS0"),
        ([fwd(0, "S"), bwd(1, "A")], "S0"),
        ([fwd(0, "S"), bwd(1, "S")], "S1"),
        ([fwd(0, "R"), bwd(1, "R")], "REJ"),
    ],
)
def test_connection_states(metered: Metered, frames: list, state: str) -> None:
    (r,) = metered(frames)
    assert r["tcp_state"] == state


def test_a_port_reused_within_a_microsecond_counts_on(metered: Metered) -> None:
    """Else two records would have one key, start and part, and so one id."""
    frames = [fwd(0, "S", seq=1), bwd(0, "RA"), fwd(0, "S", seq=9), bwd(0, "RA"), fwd(0.000001, "S", seq=20), bwd(1, "RA")]
    records = metered(frames)
    assert summary(records) == [(2, "rst", 0), (2, "rst", 1), (2, "rst", 0)]
    if "flow_id" in records[0]:
        assert len({r["flow_id"] for r in records}) == 3
