"""A sensor of flow exporters at work in a thread of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sensors.netflow.account import DatagramAccount
from sensors.netflow.sensor import FlowExportSensor
from tests.unit.sensors.netflow.senders import eventually


class RunningSensor:
    """A sensor at work in a thread."""

    def __init__(self, sensor: FlowExportSensor) -> None:
        self.sensor = sensor
        self.account: DatagramAccount | None = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.account = self.sensor.run()
        except BaseException as e:
            self.failure = e

    def end(self) -> DatagramAccount:
        self.sensor.stop()
        self._thread.join(60)
        assert self.account is not None
        return self.account

    def join(self) -> BaseException | None:
        self._thread.join(60)
        return self.failure


Start = Callable[[FlowExportSensor], RunningSensor]


@contextmanager
def starting() -> Iterator[Start]:
    """What starts a sensor; those that a test leaves at work are ended."""
    started: list[RunningSensor] = []

    def start(sensor: FlowExportSensor) -> RunningSensor:
        started.append(RunningSensor(sensor))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.sensor.stop()
            one.join()


def port_of(one: FlowExportSensor) -> int:
    assert eventually(lambda: bool(one.listener.sockets))
    return one.listener.sockets[0].port
