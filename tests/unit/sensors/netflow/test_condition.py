"""What health is told by: losses of the last minute, and acknowledgements of the broker."""

from __future__ import annotations

from sensors.netflow.condition import BrokerWatch, LossWatch


def test_losses_are_told_for_a_minute() -> None:
    watch = LossWatch()
    watch.look(0, 0, 100.0)
    assert watch.told(100.0) == "ok"
    watch.look(0, 7, 110.0)
    assert watch.told(110.0) == "thinned"
    watch.look(1, 7, 120.0)
    assert watch.told(120.0) == "lost"
    watch.look(1, 9, 150.0)
    assert watch.told(179.0) == "lost"
    assert watch.told(181.0) == "thinned"  # lost at 120, thinned at 150
    assert watch.told(211.0) == "ok"
    assert watch.counts == (1, 9)


def test_a_broker_that_acknowledges_nothing_is_away() -> None:
    watch = BrokerWatch(heartbeat_s=1.0)
    watch.look(False, 0, 100.0)
    assert watch.told(100.0) == "unreachable"
    watch.look(True, 0, 101.0)
    assert watch.told(105.9) == "ok"
    assert watch.told(106.1) == "unreachable"
    watch.look(True, 12, 107.0)
    watch.look(True, 12, 111.0)
    assert watch.told(111.0) == "ok"
    assert watch.told(112.5) == "unreachable"
    watch.look(True, 13, 113.0)
    assert watch.told(113.0) == "ok"


def test_rare_heartbeats_are_waited_for() -> None:
    watch = BrokerWatch(heartbeat_s=60.0)
    watch.look(True, 1, 0.0)
    assert watch.told(299.0) == "ok"
    assert watch.told(301.0) == "unreachable"
