"""Threads that receive: each has its own sockets, and hands on whatever comes."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Callable

from sensors.netflow.draining import Drain, Drained
from sensors.netflow.settings import ExporterSensorSettings
from sensors.netflow.sockets import FlowSocket, open_sockets

log = logging.getLogger(__name__)

_GATHER_S = 0.001  # pause that lets datagrams gather in a socket, so that a system call brings many
_POLL_MS = 200
#: Calls for one socket before it is the others' turn.
_ROUNDS = 16
#: A datagram gets its time before it lies in the socket: by no more than this, us.
_STAMPED_AHEAD_US = 10_000


class FlowListener:
    """Listen for datagrams until told to stop.

    Making one does nothing: no socket, no thread.

    Parameters
    ----------
    settings
        Addresses, ports, workers, buffers.
    hand_on
        Called with what came, from each worker's thread (:meth:`sensors.netflow.intake.DatagramIntake.take`).

    Attributes
    ----------
    sockets
        All that were opened; each tells its port, the kernel's buffer and what the kernel dropped.
    """

    def __init__(self, settings: ExporterSensorSettings, hand_on: Callable[[Drained], None]) -> None:
        self._settings = settings
        self._hand_on = hand_on
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self._heard: list[int] = []
        self.sockets: list[FlowSocket] = []

    def start(self) -> None:
        """Open the sockets and receive from them.

        Raises
        ------
        ConfigError
            A port is taken, or an address is not this machine's.
        """
        s = self._settings
        for number, sockets in enumerate(open_sockets(s.addresses, s.ports, s.workers, s.socket_buffer_mb << 20)):
            self.sockets += sockets
            self._heard.append(0)
            self._threads.append(threading.Thread(target=self._guarded, args=(number, sockets), name="receive", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take what has come, and end.

        Raises
        ------
        Exception
            What had ended a worker before.
        """
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for one in self.sockets:
            one.close()
        if self._failure is not None:
            raise self._failure

    @property
    def working(self) -> bool:
        """Every worker is at work; False once one has failed, whose exporters nobody hears then."""
        return self._failure is None and all(thread.is_alive() for thread in self._threads)

    @property
    def deaf(self) -> bool:
        """No worker is at work."""
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def heard_us(self) -> int:
        """Whatever was received before this time (us since the epoch) has been handed on; 0 at first."""
        return min(self._heard, default=0)

    @property
    def kernel_dropped(self) -> int:
        """Datagrams that the kernel dropped in front of the sockets."""
        return sum(one.dropped() for one in self.sockets)

    def _guarded(self, number: int, sockets: list[FlowSocket]) -> None:
        try:
            self._receive(number, sockets)
        except BaseException as e:
            self._failure = self._failure or e
            log.exception("receiving")

    def _receive(self, number: int, sockets: list[FlowSocket]) -> None:
        drain = Drain()
        poll = select.poll()
        opened = {one.raw.fileno(): one for one in sockets}
        for descriptor in opened:
            poll.register(descriptor, select.POLLIN)
        while not self._stop.is_set():
            empty_us = time.time_ns() // 1000
            ready = poll.poll(_POLL_MS)
            left_us = [newest for descriptor, _ in ready if (newest := self._drained(drain, opened[descriptor]))]
            self._heard[number] = min([empty_us, *left_us]) - _STAMPED_AHEAD_US
            if ready and not left_us:
                time.sleep(_GATHER_S)
        ended_us = time.time_ns() // 1000
        for one in sockets:
            self._drained(drain, one, ended_us)

    def _drained(self, drain: Drain, source: FlowSocket, until_us: int = 0) -> int:
        """Hand on what a socket has: for some rounds, and all that came before a time (us). Time of the last if there may be more, or 0."""
        more, newest, rounds = True, 0, 0
        while more and (rounds < _ROUNDS or newest < until_us):
            some, more = drain.take(source)
            if some is not None:
                self._hand_on(some)
                newest = some.newest_us
            rounds += 1
        return newest if more else 0
