"""The sensor of flow exporters: datagrams from the wire to ``flows.raw``, as they came.

Threads: some receive (:class:`sensors.netflow.workers.FlowListener`) and never wait for the broker, one sends. Between them lies a queue;
when it fills, one datagram stands for several, and beyond that they are dropped, all of it counted. Sending goes on by itself when the
broker is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from infra.config import Settings
from sensors.netflow.account import DatagramAccount
from sensors.netflow.condition import BrokerWatch, LossWatch
from sensors.netflow.intake import DatagramIntake
from sensors.netflow.outlet import FlowOutlet, OutletMaker
from sensors.netflow.settings import ExporterSensorSettings
from sensors.netflow.waiting import DatagramQueue
from sensors.netflow.workers import FlowListener
from sensors.publish.connecting import connected
from sensors.publish.counting import Counters, Stopped
from sensors.publish.sensor import Sensor

log = logging.getLogger(__name__)

#: Bytes that are sent at once, so that there is a message of some 100 kB for each partition.
_BATCH_BYTES = 4 << 20
_EVERYTHING = 1 << 62
_TICK_S = 0.2


class FlowExportSensor(Sensor):
    """Receive from exporters, and send to ``flows.raw``.

    Parameters
    ----------
    settings
        ``kafka`` and the section of :class:`ExporterSensorSettings` are used.
    sensor_id, domain
        Default to the settings'; the domain to the sensor id.
    duration_s
        Stop after so long; None: until :meth:`stop`.
    linger_s
        At the end the broker has so long to take what is left.
    outlet
        Makes what the datagrams are handed to; by default a publisher to ``flows.raw``.

    Attributes
    ----------
    listener, intake, queue
        The parts, in the order of the way.
    losses, broker
        What its health is told by.
    mode
        Where datagrams go, as the settings say.
    """

    def __init__(
        self,
        settings: Settings,
        sensor_id: str | None = None,
        domain: str | None = None,
        *,
        duration_s: float | None = None,
        linger_s: float = 10.0,
        outlet: OutletMaker | None = None,
    ) -> None:
        self._settings = settings
        self._own = settings.section(ExporterSensorSettings)
        self.sensor_id, self._domain = sensor_id or self._own.name, domain
        self._duration, self._linger = duration_s, linger_s
        self._outlet = outlet
        self.mode = self._own.mode
        # Half of the bound for what waits here, half for what the producer holds.
        self.queue = DatagramQueue(self._own.buffer_mb << 19)
        self.intake = DatagramIntake(self._own, self.queue)
        self.listener = FlowListener(self._own, self.intake.take)
        self.losses = LossWatch()
        self.broker = BrokerWatch(self._own.heartbeat_ms / 1000)
        self._stop = threading.Event()
        self._received = threading.Event()  # all that will ever be
        self._abandon = threading.Event()
        self._publisher: FlowOutlet | None = None
        self._counters = Counters()
        self._told = 0  # drops of the queue that the publisher knows of
        self._refused: int | None = None  # as of the end
        self._failure: BaseException | None = None
        self._state = self.losses.told(0.0)

    def stop(self) -> None:
        """End :meth:`run`: what was received is still sent. May be called from a signal handler."""
        self._stop.set()

    @property
    def counters(self) -> Counters:
        """What was handed to the publisher; :meth:`account` tells of all that came."""
        counters = self._publisher.counters if self._publisher else self._counters
        counters.kernel_dropped = self.listener.kernel_dropped
        return counters

    @property
    def way(self) -> str:
        """Where datagrams go now: ``kafka``, ``direct``; ``auto``: that is not known yet."""
        return str(getattr(self._publisher, "way", self.mode)) if self.mode == "auto" else self.mode

    def account(self) -> DatagramAccount:
        """What became of the datagrams, as of now."""
        came, handed = self.intake.counts, self.counters
        failed = handed.dropped - self._told
        refused = failed if self._refused is None else self._refused
        waiting = len(self.queue) + handed.received - handed.sent - handed.dropped
        return DatagramAccount(
            received=came.received,
            bytes=came.bytes,
            sent=handed.sent,
            waiting=waiting,
            thinned=came.thinned,
            limited=came.limited,
            dropped=came.dropped,
            refused=refused,
            unsent=failed - refused,
            kernel_dropped=handed.kernel_dropped,
        )

    @property
    def working(self) -> bool:
        """Whatever should be at work is: all workers that receive, and the one that sends."""
        return self._failure is None and (self._received.is_set() or self.listener.working)

    def run(self, tick: Callable[[FlowExportSensor], None] | None = None) -> DatagramAccount:
        """Receive until told to stop; ``tick`` is called several times a second.

        Raises
        ------
        ConfigError
            A port is taken, or an address is not this machine's.
        Exception
            What ended all that receive, or the one that sends; what had been received is sent first, if that can be.
        """
        self.listener.start()
        sender = threading.Thread(target=self._guarded, name="send", daemon=True)
        sender.start()
        try:
            self._wait(tick)
        finally:
            try:
                self.listener.stop()
            except Exception as e:
                self._failure = self._failure or e
            self._finish(sender, tick)
        if self._failure is not None:
            raise self._failure
        return self.account()

    def _wait(self, tick: Callable[[FlowExportSensor], None] | None) -> None:
        """Until it is told to stop, or the time is over, or nothing can be received any more."""
        ends = None if self._duration is None else time.monotonic() + self._duration
        while not self._stop.wait(_TICK_S if ends is None else min(_TICK_S, max(0.0, ends - time.monotonic()))):
            self._look(tick)
            if self.listener.deaf or (ends is not None and time.monotonic() >= ends):
                return

    def _look(self, tick: Callable[[FlowExportSensor], None] | None) -> None:
        now = time.monotonic()
        account = self.account()
        self.losses.look(account.lost, account.thinned + account.limited, now)
        self.broker.look(self._publisher is not None, self.counters.messages, now)
        if (state := self.losses.told(now)) != self._state:
            self._state = state
            log.warning("datagrams of the last minute: %s; since the start %d were lost, %d thinned", state, *self.losses.counts)
        if tick:
            tick(self)

    def _finish(self, sender: threading.Thread, tick: Callable[[FlowExportSensor], None] | None) -> None:
        """Let what is left be sent, for some time; count what is not."""
        self._received.set()
        deadline = time.monotonic() + self._linger
        # A broker that was never there, with nothing for it, is not waited for.
        while sender.is_alive() and time.monotonic() < deadline and (self._publisher is not None or len(self.queue)):
            sender.join(_TICK_S)
            self._look(tick)
        self._refused = self.counters.dropped - self._told
        self._abandon.set()
        sender.join()
        left = len(self.queue.get(_EVERYTHING, 0))
        if self._publisher is not None:
            self._tell_drops(self._publisher)
            self._publisher.drop(left)
            lost = self._publisher.close(max(1.0, deadline - time.monotonic()))
            self._publisher.counters.dropped += lost
        else:
            self._told = self.intake.counts.dropped
            self._counters.received = self._counters.dropped = left + self._told
        if unsent := self.account().unsent:
            log.warning("%d datagrams could not be sent before the end", unsent)

    # -- sending thread --------------------------------------------------------------------------------------------------------

    def _guarded(self) -> None:
        try:
            self._publisher = connected(self._publishing, self._abandon)
            if self._publisher is not None:
                self._send(self._publisher)
        except Stopped:
            pass
        except BaseException as e:
            self._failure = self._failure or e
            self._stop.set()
            log.exception("sending")

    def _publishing(self) -> FlowOutlet:
        if self._outlet is not None:
            return self._outlet(self.sensor_id, self._domain, self._abandon)
        from sensors.netflow.publishing import raw_flow_publisher  # with the client of Kafka

        return raw_flow_publisher(self._settings, self.sensor_id, self._domain, live=True, stop=self._abandon, share=2)

    def _send(self, publisher: FlowOutlet) -> None:
        flush_s, heartbeat_s = self._own.flush_ms / 1000, self._own.heartbeat_ms / 1000
        spoken = 0.0
        while not self._abandon.is_set():
            all_received = self._received.is_set()
            heard_ns = self.listener.heard_us * 1000
            batch = self.queue.get(_BATCH_BYTES, 0 if all_received else flush_s)
            emptied = not len(self.queue)
            publisher.counters.kernel_dropped = self.listener.kernel_dropped
            self._tell_drops(publisher)
            now = time.monotonic()
            if batch or now - spoken >= heartbeat_s:
                publisher.send(batch or None, heard_ns if emptied else 0)  # 0: the promise made last
                spoken = now
            if all_received and emptied:
                break
            if emptied:
                self._received.wait(max(0.0, now + flush_s - time.monotonic()))
        publisher.end()
        publisher.flush(self._linger)

    def _tell_drops(self, publisher: FlowOutlet) -> None:
        dropped = self.intake.counts.dropped
        if dropped > self._told:
            publisher.drop(dropped - self._told)
            self._told = dropped
