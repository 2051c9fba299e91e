"""Live capture: one thread takes frames from the interface, one sends them.

The capture never waits for the broker. Between the two lies a queue of unsent flushes, bounded in bytes; when it is full its oldest
frames are dropped and counted, and the flush itself stays, with its clock: a watermark is about what will still be sent. Sending goes on
by itself when the broker is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from infra.config import Settings
from infra.errors import FlowlakeError
from schemas.wire import CLOCK_END
from sensors.packets.afpacket import PacketSocket
from sensors.packets.frames import FrameBatch, concat
from sensors.packets.ordering import Reorderer
from sensors.packets.publisher import PacketPublisher
from sensors.packets.settings import SensorSettings
from sensors.publish.connecting import connected
from sensors.publish.counting import Counters, Stopped
from sensors.publish.sensor import Sensor

log = logging.getLogger(__name__)

_COST = 18  # bytes of a packet in a FrameBatch beside its frame, rounded
_GATHER_S = 0.001  # pause that lets frames gather in the socket, so that a system call brings many


class FlushQueue:
    """Unsent flushes ``(frames, clock)`` in order, bounded in bytes; the oldest frames give way."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._flushes: deque[tuple[FrameBatch, int]] = deque()
        self._bytes = 0
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frames: FrameBatch, clock: int) -> None:
        """Append a flush; never waits."""
        frames = frames.compact()  # a slice would keep its whole parent
        with self._changed:
            self._flushes.append((frames, clock))
            self._bytes += _size(frames)
            if self._bytes > self._bound:
                self._make_room()
            self._changed.notify()

    def _make_room(self) -> None:
        kept: deque[tuple[FrameBatch, int]] = deque()
        while self._bytes > self._bound and len(self._flushes) > 1:
            frames, clock = self._flushes.popleft()
            self._bytes -= _size(frames)
            self._dropped += len(frames)
            if clock == CLOCK_END:  # the end of a run must be told
                kept.append((FrameBatch.empty(), clock))
        self._flushes.extendleft(reversed(kept))
        if self._bytes > self._bound:  # one flush alone: its later part stays
            frames, clock = self._flushes.pop()
            sizes = frames.nbytes - (frames.offsets - frames.offsets[0]) + _COST * np.arange(len(frames), -1, -1)
            cut = int(np.searchsorted(-sizes, 512 - self._bound))
            rest = frames.slice(cut).compact()
            self._flushes.append((rest, clock))
            self._bytes -= _size(frames) - _size(rest)
            self._dropped += cut

    def get(self, timeout: float) -> tuple[FrameBatch, int, int] | None:
        """The oldest flush and the packets dropped since the last call; None on timeout, or at the end."""
        with self._changed:
            if not self._flushes and not self._closed:
                self._changed.wait(timeout)
            if not self._flushes:
                return None
            frames, clock = self._flushes.popleft()
            self._bytes -= _size(frames)
            dropped, self._dropped = self._dropped, 0
            return frames, clock, dropped

    def close(self) -> None:
        """Nothing will be appended any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def finished(self) -> bool:
        with self._changed:
            return self._closed and not self._flushes

    @property
    def nbytes(self) -> int:
        return self._bytes

    @property
    def dropped(self) -> int:
        """Packets dropped that no ``get`` has told about yet."""
        return self._dropped

    def clear(self) -> int:
        """Give up what is left; number of packets, earlier drops included."""
        with self._changed:
            n = sum(len(f) for f, _ in self._flushes) + self._dropped
            self._flushes.clear()
            self._bytes = self._dropped = 0
            return n


def _compile() -> None:
    """Have the kernels compiled before frames come in: the first use takes seconds when nothing is cached."""
    from sensors.packets.encoding import split

    order = Reorderer(0)
    for _ in order.feed(FrameBatch.from_frames([bytes(60)] * 2, [2, 1])):
        pass
    for frames, _ in order.finish():
        for _ in split(frames, 2):
            pass


def _size(frames: FrameBatch) -> int:
    return frames.nbytes + _COST * len(frames) + 256


class LiveSensor(Sensor):
    """Capture one interface into ``raw-packets``.

    Parameters
    ----------
    settings
        ``kafka`` and ``sensor`` are used.
    interface, filter_text
        What to capture; the filter is a pcap-filter(7) expression.
    duration_s, count
        Stop after so long, or so many packets; None: until :meth:`stop`.

    Raises
    ------
    CaptureError
        On construction: no such interface, no permission, wrong filter.
    """

    def __init__(
        self,
        settings: Settings,
        interface: str,
        *,
        filter_text: str = "",
        sensor_id: str | None = None,
        domain: str | None = None,
        duration_s: float | None = None,
        count: int | None = None,
    ) -> None:
        self.settings = settings
        self.sensor_id, self.domain = sensor_id, domain
        self._duration, self._count = duration_s, count
        sensor = settings.section(SensorSettings)
        _compile()
        self._socket = PacketSocket(interface, sensor.snaplen, filter_text, sensor.socket_buffer_mb << 20)
        # Half of the bound for what waits here, half for what the producer holds.
        self._queue = FlushQueue(sensor.buffer_mb << 19)
        self._stop = threading.Event()
        self._abandon = threading.Event()
        self._publisher: PacketPublisher | None = None
        self._counters = Counters()
        self.captured = 0
        self._failure: BaseException | None = None
        self._linger = 10.0

    # -- control ---------------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the capture; what was captured is still sent. May be called from a signal handler."""
        self._stop.set()

    @property
    def counters(self) -> Counters:
        """Counters as of now."""
        c = self._publisher.counters if self._publisher else self._counters
        c.kernel_dropped = self._socket.kernel_dropped
        return c

    def run(self, tick: Callable[[LiveSensor], None] | None = None) -> Counters:
        """Capture until told to stop; ``tick`` is called several times a second.

        Raises
        ------
        CaptureError
            The interface has gone; what was captured before is sent first.
        """
        capture = threading.Thread(target=self._guarded, args=(self._capture,), name="capture", daemon=True)
        sender = threading.Thread(target=self._guarded, args=(self._send,), name="send", daemon=True)
        capture.start()
        sender.start()
        while capture.is_alive():
            capture.join(0.2)
            if tick:
                tick(self)
        deadline = time.monotonic() + self._linger
        while sender.is_alive() and time.monotonic() < deadline:
            sender.join(0.2)
            if tick:
                tick(self)
        self._abandon.set()
        sender.join()
        self._socket.close()
        counters = self.counters
        left = self._queue.clear()
        if self._publisher:
            self._publisher.drop(left)
            lost = self._publisher.close(timeout_s=max(1.0, deadline - time.monotonic()))
            counters.dropped += lost
            left += lost
        else:
            counters.received += left
            counters.dropped += left
        if left:
            log.warning("%d packets could not be sent before the end", left)
        if self._failure is not None:
            raise self._failure
        return counters

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as e:
            self._failure = self._failure or e
            self._stop.set()
            if not isinstance(e, FlowlakeError):
                log.exception("live sensor")
        finally:
            if work == self._capture:
                self._queue.close()

    # -- capture thread --------------------------------------------------------------------------------------------------------

    def _capture(self) -> None:
        sensor = self.settings.section(SensorSettings)
        order = Reorderer(sensor.live_reorder_ms)
        flush_s, heartbeat_s = sensor.flush_ms / 1000, sensor.heartbeat_ms / 1000
        began = last_flush = last_put = time.monotonic()
        held: list[FrameBatch] = []
        waiting = 0
        ended = False
        while not ended:
            empty_at = time.time_ns()
            frames, more = self._socket.take()
            now = time.monotonic()
            if self._count is not None and self.captured + len(frames) >= self._count:
                frames, ended = frames.slice(0, self._count - self.captured), True
            self.captured += len(frames)
            if len(frames):
                held.append(frames)
                waiting += len(frames)
            ended = ended or self._stop.is_set() or (self._duration is not None and now - began >= self._duration)
            if waiting >= sensor.batch_packets or now - last_flush >= flush_s or ended:
                last_flush = now
                told = self._flush(order, held, None if more else empty_at)
                held, waiting = [], 0
                if told or now - last_put >= heartbeat_s:
                    if not told:
                        self._queue.put(FrameBatch.empty(), order.clock)
                    last_put = now
                self._socket.statistics()
            if more or ended:
                continue
            if len(frames):
                time.sleep(_GATHER_S)
            else:
                self._socket.wait(min(flush_s, heartbeat_s))
        if self._stop.is_set() or self._duration is not None:
            self._flush(order, [self._socket.take()[0]] if self._count is None else [], None)
        for due, clock in order.finish():
            self._queue.put(due, clock)

    def _flush(self, order: Reorderer, held: list[FrameBatch], empty_at: int | None) -> bool:
        """Hand over what is due; True when there were packets."""
        told = False
        for due, clock in order.feed(concat(held)) if held else ():
            self._queue.put(due, clock)
            told = True
        if empty_at is not None:
            for due, clock in order.advance(empty_at):
                self._queue.put(due, clock)
                told = True
        return told

    # -- sending thread --------------------------------------------------------------------------------------------------------

    def _publishing(self) -> PacketPublisher:
        bound = self.settings.section(SensorSettings).buffer_mb << 19
        return PacketPublisher(self.settings, self.sensor_id, self.domain, live=True, stop=self._abandon, buffer_bytes=bound)

    def _send(self) -> None:
        publisher = self._publisher = connected(self._publishing, self._abandon)
        if publisher is None:
            return
        while not self._queue.finished and not self._abandon.is_set():
            item = self._queue.get(0.2)
            if item is None:
                continue
            frames, clock, dropped = item
            publisher.counters.kernel_dropped = self._socket.kernel_dropped
            if dropped:
                log.warning("%d packets dropped: the broker is too slow or away", dropped)
                publisher.drop(dropped)
            try:
                if clock == CLOCK_END:
                    if len(frames):
                        publisher.send(frames, 0)
                    publisher.end()
                else:
                    publisher.send(frames, clock)
            except Stopped:
                return
        if self._queue.finished:
            publisher.flush(self._linger)
