"""At what pace a replay sends, and with which times.

Speed 1 is the recorded pace, N is N times as fast, 0 is flat out. Between packets the sensor's clock walks on with the file's time, so that
a quiet stretch of a file closes idle flows as a quiet link does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from schemas.wire import CLOCK_END
from sensors.packets.ordering import FAR_AHEAD
from sensors.packets.publisher import PacketPublisher
from sensors.packets.replay import Chunk
from sensors.packets.settings import SensorSettings


@dataclass(slots=True)
class _Anchor:
    """Where a run's time meets the wall's."""

    first: int  # file time of the first packet, ns
    wall: int  # monotonic clock at that moment, ns
    delta: int  # added to file times, ns
    reach: int  # file time up to which gaps are believed and waited for


class Pacer:
    """Send chunks through a publisher at a pace.

    Parameters
    ----------
    speed
        Multiple of the recorded speed; 0: as fast as the broker takes it.
    shift_to_now
        Move the times of each run so that its first packet is now.
    offset_ns
        Otherwise added to all times (repetitions of a file follow one another).
    stop
        Ends the sending early; what was sent stays sent, and the run is closed.
    """

    def __init__(
        self,
        publisher: PacketPublisher,
        settings: SensorSettings,
        *,
        speed: float = 1.0,
        shift_to_now: bool = False,
        offset_ns: int = 0,
        stop: threading.Event | None = None,
    ) -> None:
        if not speed >= 0:
            raise ValueError(f"speed {speed} is negative")
        self._publisher = publisher
        self._settings = settings
        self._speed = speed
        self._shift = shift_to_now
        self._offset = offset_ns
        self._stop = stop or threading.Event()
        self._flush = settings.flush_ms * 1_000_000
        self._heartbeat = settings.heartbeat_ms * 1_000_000
        self._run: _Anchor | None = None
        self._last_put = 0
        self.first: int | None = None  # earliest and latest file time sent, as far as it is believed
        self.last: int | None = None

    def send(self, chunks: Iterable[Chunk], tick: Callable[[], None] | None = None) -> bool:
        """Send all chunks; False when stopped. ``tick`` is called at every flush or heartbeat.

        Raises
        ------
        BrokerError, Stopped
            From the publisher.
        CaptureError
            From the source of the chunks.
        """
        for chunk in chunks:
            if self._stop.is_set() or not self._chunk(chunk, tick):
                break
            if chunk.end:
                self._run = None
        else:
            return True
        if self._publisher.in_run:
            self._publisher.end()
        return False

    def _chunk(self, chunk: Chunk, tick: Callable[[], None] | None) -> bool:
        frames = chunk.frames
        if len(frames):
            run = self._run = self._run or self._begin(int(frames.ts[0]))
            if chunk.clock != CLOCK_END:
                run.reach = max(run.reach, chunk.clock + FAR_AHEAD)
            known = frames.ts[frames.ts <= run.reach]
            if len(known):
                low, high = int(known.min()), int(known.max())
                self.first = low if self.first is None else min(self.first, low)
                self.last = high if self.last is None else max(self.last, high)
            if self._speed and not self._paced(chunk, run, tick):
                return False
        run_delta = self._run.delta if self._run else 0
        if not self._speed or not len(frames):
            clock = chunk.clock if chunk.clock in (0, CLOCK_END) else max(0, chunk.clock + run_delta)
            self._publisher.publish(Chunk(frames.shifted(run_delta), clock, chunk.run_index, chunk.end))
            if tick:
                tick()
        return True

    def _begin(self, first: int) -> _Anchor:
        delta = time.time_ns() - first if self._shift else self._offset
        window = self._settings.reorder_ms * 1_000_000
        return _Anchor(first, time.monotonic_ns(), delta, first + window + FAR_AHEAD)

    def _paced(self, chunk: Chunk, run: _Anchor, tick: Callable[[], None] | None) -> bool:
        """Send the packets of a chunk as they come due; False when stopped."""
        frames, ts = chunk.frames, chunk.frames.ts
        # In the last chunk of a run lie the packets whose times nothing has confirmed; nobody waits for the year 2060.
        believed = int(np.searchsorted(ts, run.reach, "right")) if chunk.end else len(ts)
        at = 0
        while True:
            now = time.monotonic_ns()
            file_now = run.first + int((now - run.wall) * self._speed)
            due = int(np.searchsorted(ts, file_now, "right"))
            if max(due, at) >= believed:
                due = len(ts)
            rest = chunk.clock if due == len(ts) else min(chunk.clock, int(ts[due]))
            if due > at:
                part = frames.slice(at, due).shifted(run.delta)
                final = due == len(ts)
                clock = rest if rest in (0, CLOCK_END) else max(0, rest + run.delta)
                self._publisher.publish(Chunk(part, clock, chunk.run_index, chunk.end and final))
                at, self._last_put = due, now
                if tick:
                    tick()
                if final:
                    return True
            elif now - self._last_put >= self._heartbeat:
                self._publisher.heartbeat(max(0, min(file_now, rest) + run.delta))
                self._last_put = now
                if tick:
                    tick()
            due_in = int((int(ts[at]) - file_now) / self._speed)
            beat_in = self._last_put + self._heartbeat - now
            pause = max(min(max(due_in, self._last_put + self._flush - now), beat_in), 1_000_000)
            if self._stop.wait(pause / 1e9):
                return False
