"""To Kafka at once, back with patience."""

from __future__ import annotations

import pytest

from jobs.sources.netflow.switching import FlowWay, RecordRate, WaySwitch

S = 1_000_000
BEGAN = 1_767_225_600


def switch(**changed: float | FlowWay) -> WaySwitch:
    return WaySwitch(**{"threshold": 1000.0, "lower": 0.8, "window_s": 10, "hold_s": 30.0, **changed})  # type: ignore[arg-type]


def ran(one: WaySwitch, rates: list[int], began: int = BEGAN) -> list[FlowWay]:
    """The way after each second, at so many records in it; it is followed."""
    found = []
    for second, records in enumerate(rates, began):
        one.note(records, second * S, second * S + S // 2)
        one.way = one.wanted(second * S + S // 2)
        found.append(one.way)
    return found


def test_a_burst_goes_to_kafka_as_soon_as_the_window_holds_too_many() -> None:
    assert ran(switch(), [500] * 20 + [4000] * 3).index(FlowWay.KAFKA) == 21
    assert FlowWay.KAFKA not in ran(switch(), [1000] * 60)


def test_it_goes_back_only_after_a_while_below_the_lower_bound() -> None:
    one = switch()
    ran(one, [3000] * 20)
    assert one.way is FlowWay.KAFKA
    assert FlowWay.DIRECT not in ran(one, [900] * 120, BEGAN + 20)  # between the two
    ways = ran(one, [700] * 60, BEGAN + 140)
    assert 30 <= ways.index(FlowWay.DIRECT) <= 41

    one = switch(way=FlowWay.KAFKA)
    assert FlowWay.DIRECT not in ran(one, ([2000] * 5 + [700] * 25) * 4)  # never long enough


def test_silence_is_few_records() -> None:
    one = switch()
    ran(one, [3000] * 20)
    now = (BEGAN + 20) * S
    assert one.wanted(now) is FlowWay.KAFKA
    assert one.wanted(now + 11 * S) is FlowWay.KAFKA
    assert one.wanted(now + 42 * S) is FlowWay.DIRECT


def test_a_batch_is_spread_over_the_time_in_which_it_came() -> None:
    rate = RecordRate(10)
    rate.note(20_000, BEGAN * S, (BEGAN + 19) * S)
    assert rate.at((BEGAN + 19) * S) == pytest.approx(1000)
    assert rate.at((BEGAN + 24) * S) == pytest.approx(500)
    assert rate.at((BEGAN - 100) * S) == 0  # a clock set back
