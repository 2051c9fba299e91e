"""What counts as lost, late, repeated, restarted; whatever the order, the sum is right."""

from __future__ import annotations

import random

import pytest

from jobs.flowexport.sequence import ANY, Sequence, signed
from jobs.flowexport.session import ExportSession, SessionKey

SPAN = 2**32


def fed(*taken: tuple[int, int], clock: int = 1000) -> Sequence:
    s = Sequence()
    for first, units in taken:
        s.take(first % SPAN, units, clock)
    return s


def test_the_first_number_says_nothing() -> None:
    assert fed((123_456, 1)) == Sequence(expected=123_457, newest=123_456, clock_ms=1000, units=1)


@pytest.mark.parametrize("start", [0, SPAN - 5])
def test_a_gap_is_lost(start: int) -> None:
    s = fed((start, 3), (start + 3, 4), (start + 17, 2))
    assert (s.lost, s.expected) == (10, (start + 19) % SPAN)


@pytest.mark.parametrize("start", [7, SPAN - 5])
def test_what_comes_late_is_not_lost(start: int) -> None:
    s = fed((start, 1), (start + 5, 1), (start + 2, 2), (start + 6, 1))
    assert (s.lost, s.late, s.repeated) == (2, 1, 0)
    assert s.gaps == [[(start + 1) % SPAN, 1], [(start + 4) % SPAN, 1]]


def ported(*taken: tuple[int, int, int]) -> Sequence:
    """Of number, units, port."""
    s = Sequence()
    for first, units, port in taken:
        s.take(first, units, 1000, port=port)
    return s


def test_an_exporter_that_opens_its_socket_anew_may_count_anew() -> None:
    s = ported((10, 5, 61853), (15, 5, 61853), (1_278_177, 5, 65156), (1_278_190, 1, 65156))
    assert (s.lost, s.restarts) == (8, 1), "of what was lost at the restart nobody knows; what is missing since is lost"
    s = ported((10, 5, 61853), (15, 5, 65156), (22, 1, 61853))
    assert (s.lost, s.restarts) == (2, 0), "it goes on where it was, and both ports are known then"


def test_of_who_changes_its_port_all_the_time_gaps_are_lost() -> None:
    s = ported(*((10 * n, 10, 5000 + n) for n in range(20)), (205, 1, 6000))
    assert (s.lost, s.restarts) == (5, 0)


def test_what_the_collector_left_out_is_no_restart() -> None:
    s = Sequence()
    s.take(1, 1, 1000, port=7)
    s.take(6, 1, 1000, port=8, left_out=4)
    assert (s.lost, s.spared, s.restarts) == (0, 4, 0)


def test_what_comes_twice_is_told() -> None:
    s = fed((1, 1), (2, 1), (2, 1), (3, 1), (3, 1))
    assert (s.lost, s.repeated, s.restarts) == (0, 2, 0)


def test_what_comes_late_twice_counts_once() -> None:
    s = fed((1, 1), (4, 1), (2, 1), (2, 1))
    assert (s.lost, s.late, s.repeated) == (1, 1, 1)


def test_every_order_of_some_datagrams_loses_nothing() -> None:
    for seed in range(200):
        r = random.Random(seed)
        start = r.choice([5, SPAN - 20])
        units = [r.randint(1, 9) for _ in range(40)]
        firsts = [start + sum(units[:i]) for i in range(len(units))]
        order = sorted(range(1, len(units)), key=lambda i: i + r.random() * 4)
        s = fed(*[(firsts[i], units[i]) for i in [0, *order]])
        assert (s.lost, s.restarts) == (0, 0), f"seed {seed}"


@pytest.mark.parametrize("most_units", [1, 30])
def test_random_losses_are_counted_exactly(most_units: int) -> None:
    for seed in range(200):
        r = random.Random(seed)
        s, lost, at = Sequence(), 0, SPAN - 300
        for _ in range(100):
            units = r.randint(1, most_units)
            s.take(at % SPAN, units, 0)
            gone = r.choice([0, 0, r.randint(1, 50)])
            lost += gone
            at += units + gone
        s.take(at % SPAN, 1, 0)
        assert (s.lost, s.late, s.repeated, s.restarts) == (lost, 0, 0, 0), f"seed {seed}"


@pytest.mark.parametrize("units", [(2, 13, 15, 10, 10), (9, 3, 3, 4), (5, 5, 1, 7, 9)])
def test_numbers_of_the_last_record(units: tuple[int, ...]) -> None:
    taken, at = [], 100
    for n in units:
        at += n
        taken.append((at, n))
    s = fed(*taken, (at + 20 + 6, 6))
    assert (s.lost, s.repeated, s.restarts) == (20, 0, 0)


def told(s: Sequence) -> tuple[int, int]:
    """What an account says: lost, and not decided."""
    account = ExportSession(SessionKey(b"", b"", 0, 5, 0), b"", sequence=s).account()
    return account["lost"], account["undecided"]


def test_what_a_number_of_the_last_record_would_explain_is_undecided() -> None:
    """As Open vSwitch counts: until it is known, nothing is called lost."""
    assert told(fed((0, 1), (3, 3))) == (0, 2)
    assert told(fed((0, 1), (3, 3), (6, 3), (9, 3))) == (0, 2), "equal counts say nothing"
    assert told(fed((0, 1), (3, 3), (6, 3), (9, 3), (11, 2))) == (0, 0)
    assert told(fed((0, 1), (3, 3), (11, 8), (16, 5))) == (0, 0)


def test_a_loss_like_that_is_one_when_the_numbers_of_first_records_go_on() -> None:
    assert told(fed((0, 1), (3, 3), (6, 3), (9, 5))) == (2, 0)
    late = fed((0, 1), (3, 3), (1, 2), (6, 4))
    assert told(late) == (0, 0)
    assert told(fed((0, 4), (9, 3))) == (5, 0), "no number of a last record"


def test_numbers_of_the_datagram_itself() -> None:
    s = fed((7, 20), (8, 13), (9, 20), (10, 1), (15, 20))
    assert (s.lost, s.repeated, s.restarts) == (4, 0, 0)


def test_a_restart_is_seen_by_the_uptime() -> None:
    s = Sequence()
    s.take(1000, 1, 50_000, 900_000)
    s.take(1500, 1, 55_000, 1_000)  # ahead, but up for a second only
    assert (s.lost, s.restarts, s.expected) == (0, 1, 1501)


def test_an_uptime_that_wraps_is_no_restart() -> None:
    s = Sequence()
    s.take(1000, 1, 50_000, SPAN - 1000)
    s.take(1004, 1, 55_000, 4_000)
    assert (s.lost, s.restarts) == (3, 0)


def test_a_restart_is_seen_by_the_clock() -> None:
    s = Sequence()
    s.take(1000, 5, 50_000)
    s.take(0, 5, 51_000)
    s.take(5, 5, 52_000)
    assert (s.lost, s.restarts, s.repeated) == (0, 1, 0)


def test_a_restart_within_a_second_is_seen_by_its_run() -> None:
    s = fed((1000, 5), (0, 5), (5, 5), (10, 5), (15, 5))
    assert (s.lost, s.restarts, s.expected) == (0, 1, 20)


def test_a_jump_that_no_network_loses_is_a_restart() -> None:
    assert (fed((5, 1), (2**30, 1)).lost, fed((5, 1), (2**30, 1)).restarts) == (0, 1)


def test_gaps_that_are_remembered_are_bounded() -> None:
    s = fed(*[(3 * i, 1) for i in range(1000)])
    assert s.lost == 2 * 999
    assert len(s.gaps) == 64


@pytest.mark.parametrize(("difference", "near"), [(0, 0), (1, 1), (SPAN - 1, -1), (2**31, -(2**31)), (-5, -5)])
def test_differences_are_the_nearer_way(difference: int, near: int) -> None:
    assert signed(difference) == near


def test_what_the_collector_left_out_is_not_lost() -> None:
    """Under pressure 1 of N datagrams is kept, and says for how many it stands."""
    count = Sequence()
    count.take(10, 1, 0)
    count.take(14, 1, 0, left_out=3)  # it stands for four
    assert (count.lost, count.spared) == (0, 3)
    count.take(20, 1, 0, left_out=3)  # five are missing, of which three were left out
    assert (count.lost, count.spared) == (2, 6)
    records = Sequence()
    records.take(100, 30, 0)
    records.take(190, 30, 0, left_out=ANY)
    assert (records.lost, records.spared) == (0, 60)
