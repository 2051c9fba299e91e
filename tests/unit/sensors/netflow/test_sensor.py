"""The sensor without a broker: what comes is kept as far as memory allows, thinned, dropped, and all of it counted and told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from infra.config import Settings
from infra.errors import ConfigError
from sensors.netflow import metrics
from sensors.netflow.account import DatagramAccount
from sensors.netflow.draining import Drained
from sensors.netflow.sensor import FlowExportSensor
from tests.unit.sensors.netflow.runningsensor import Start, port_of, starting
from tests.unit.sensors.netflow.senders import DATA, TEMPLATE, eventually, free_ports, ipfix, send

pytestmark = pytest.mark.slow  # an attempt to reach a broker takes its time


@pytest.fixture
def start() -> Iterator[Start]:
    with starting() as start:
        yield start


def sensor(settings: Callable[..., Settings], linger_s: float = 0.0, duration_s: float | None = None, **own: Any) -> FlowExportSensor:
    made = settings(netflow_sensor={"ports": free_ports(1), **own})
    return FlowExportSensor(made, "edge", linger_s=linger_s, duration_s=duration_s)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"flowlens_{name}", labels)


def test_without_a_broker_everything_is_counted(settings: Callable[..., Settings], start: Start) -> None:
    one = sensor(settings, buffer_mb=1, most_sampling=2)
    running, registry = start(one), metrics.registry(one)
    port = port_of(one)
    sent = 0
    for _ in range(200):
        send([ipfix(1, TEMPLATE, DATA), *[ipfix(1, DATA, sequence=i) for i in range(29)]], port)
        sent += 30
        assert eventually(lambda so_far=sent: one.intake.counts.received + one.listener.kernel_dropped == so_far)  # type: ignore[misc]
    send([ipfix(2, DATA)], port, source="127.0.0.9")
    assert eventually(lambda: len(one.intake.exporters) == 2)
    assert eventually(lambda: one.losses.told(time.monotonic()) == "lost")
    health = metrics.health(one)
    assert (health.status, health.checks["kafka"], health.checks["listeners"]) == ("degraded", "unreachable", "ok")
    now = one.account()
    assert min(now.thinned, now.dropped, now.waiting) > 0
    assert value(registry, "datagrams_received_total", exporter="127.0.0.1") == sent - now.kernel_dropped
    assert value(registry, "datagrams_received_total", exporter="127.0.0.9") == 1
    assert value(registry, "datagrams_dropped_total", exporter="127.0.0.1", reason="queue_full") == pytest.approx(now.dropped, abs=1)
    assert value(registry, "datagrams_thinned_total", exporter="127.0.0.1") == now.thinned
    assert value(registry, "sampling", exporter="127.0.0.1") == 2
    assert value(registry, "kernel_dropped_total", port=str(port)) == now.kernel_dropped
    assert value(registry, "queue_depth") == now.waiting
    assert value(registry, "pending") == 0
    ended = running.end()
    assert ended.received + ended.kernel_dropped == sent + 1
    assert ended.received == ended.thinned + ended.limited + ended.dropped + ended.unsent
    assert (ended.sent, ended.refused, ended.waiting) == (0, 0, 0)
    assert one.counters.received == one.counters.dropped == ended.dropped + ended.unsent
    assert value(registry, "datagrams_dropped_total", exporter="all", reason="unsent") == ended.unsent


def test_it_ends_after_its_time(settings: Callable[..., Settings]) -> None:
    one = sensor(settings, linger_s=3600.0, duration_s=0.0)  # with nothing to send, no broker is waited for
    assert asdict(one.run()) == asdict(DatagramAccount())


def test_a_worker_that_died_is_told(settings: Callable[..., Settings], start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sensor(settings, workers=1)

    def broken(_: Drained) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(one.listener, "_hand_on", broken)
    running = start(one)
    port = port_of(one)
    assert one.working
    send([b"x"], port)
    failure = running.join()  # nobody is left who receives
    assert str(failure) == "no room"
    health = metrics.health(one)
    assert (health.status, health.checks["listeners"]) == ("unhealthy", "failed")


def test_while_others_receive_it_goes_on_unhealthy(
    settings: Callable[..., Settings], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sensor(settings, workers=2)

    def broken(drained: Drained) -> None:
        if b"x" in drained.columns[0]:
            raise RuntimeError("no room")
        one.intake.take(drained)

    monkeypatch.setattr(one.listener, "_hand_on", broken)
    running = start(one)
    port = port_of(one)
    send([b"x"], port)
    assert eventually(lambda: metrics.health(one).status == "unhealthy")
    for who in range(1, 41):  # the kernel gives each to one of the workers
        send([b"y"], port, source=f"127.0.0.{who}")
    assert eventually(lambda: one.intake.counts.received > 0)
    assert not one.listener.deaf
    one.stop()
    assert str(running.join()) == "no room"
    assert one.account().unsent == one.account().received > 0


def test_a_port_that_is_taken_ends_it_at_once(settings: Callable[..., Settings], start: Start) -> None:
    ports = free_ports(1)
    running = start(sensor(settings, ports=ports))
    port_of(running.sensor)
    with pytest.raises(ConfigError, match=f"UDP port {ports[0]}"):
        sensor(settings, ports=ports).run()
    running.end()


def test_exporters_that_made_room_are_told_as_one(settings: Callable[..., Settings], start: Start) -> None:
    one = sensor(settings, most_exporters=2)
    running, registry = start(one), metrics.registry(one)
    port = port_of(one)
    for who in range(1, 6):
        send([b"a", b"b"], port, source=f"127.0.0.{who}")
        assert eventually(lambda who=who: one.intake.counts.received == 2 * who)  # type: ignore[misc]
    assert value(registry, "datagrams_received_total", exporter="forgotten") == 6
    assert value(registry, "datagrams_received_total", exporter="127.0.0.5") == 2
    assert value(registry, "datagrams_received_total", exporter="127.0.0.1") is None
    assert value(registry, "exporters") == 2
    running.end()


def test_addresses_as_people_write_them() -> None:
    assert metrics.shown(bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 1])) == "10.0.0.1"
    assert metrics.shown(bytes.fromhex("20010db8000000000000000000000007")) == "2001:db8::7"
