"""Recorded datagrams as if they came now: at a pace, several times over, with times of their own.

Speed 1 is the recorded pace, N is N times as fast, 0 is flat out. Payloads stay as they are, export times in them too: the decoder takes an
exporter's clock for wrong that is far from the time of receipt, and corrects what it says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from schemas.rawflows import RawDatagram

#: Between two repetitions, us.
_PAUSE_US = 1_000_000
_MOST_DATAGRAMS = 1024


@dataclass(frozen=True)
class ReplayPace:
    """How recorded datagrams are replayed.

    Attributes
    ----------
    speed
        Multiple of the recorded speed; 0: as fast as they are taken.
    times
        How often.
    shift_to_now
        Times of receipt are moved so that the first datagram is now; else they are as recorded. Repetitions follow one another in both.
    gather_us
        Datagrams that come due within so long are given at once.
    """

    speed: float = 1.0
    times: int = 1
    shift_to_now: bool = False
    gather_us: int = 100_000

    def __post_init__(self) -> None:
        if not self.speed >= 0:
            raise ValueError(f"speed {self.speed} is negative")
        if self.times < 1:
            raise ValueError(f"{self.times} times is not once")


def replay(recorded: Iterable[RawDatagram], pace: ReplayPace, stop: threading.Event | None = None) -> Iterator[list[RawDatagram]]:
    """The datagrams in the order given, in batches, each when it is due.

    Parameters
    ----------
    recorded
        Iterated over anew for each repetition.
    pace
        How.
    stop
        Ends it early.
    """
    stop = stop or threading.Event()
    began = time.monotonic()
    origin: int | None = None  # shifted times (us) of the first datagram, and of the newest one
    newest: int | None = None
    for _ in range(pace.times):
        shift: int | None = None
        for batch in _gathered(recorded, pace.gather_us):
            if shift is None:
                shift = _shift(batch[0].received_us, newest, pace)
            moved = [d._replace(received_us=d.received_us + shift) for d in batch]
            last = moved[-1].received_us
            origin = moved[0].received_us if origin is None else origin
            newest = last if newest is None else max(newest, last)
            due_s = (last - origin) / 1e6 / pace.speed if pace.speed else 0.0
            if stop.wait(max(0.0, began + due_s - time.monotonic())):
                return
            yield moved


def _shift(first: int, newest: int | None, pace: ReplayPace) -> int:
    """What is added to recorded times (us), of a run whose first one is ``first``, behind one that ended at ``newest``."""
    if newest is not None:
        return newest + _PAUSE_US - first
    return time.time_ns() // 1000 - first if pace.shift_to_now else 0


def _gathered(recorded: Iterable[RawDatagram], within_us: int) -> Iterator[list[RawDatagram]]:
    """Datagrams that lie close to one another."""
    batch: list[RawDatagram] = []
    for datagram in recorded:
        if batch and (abs(datagram.received_us - batch[0].received_us) > within_us or len(batch) == _MOST_DATAGRAMS):
            yield batch
            batch = []
        batch.append(datagram)
    if batch:
        yield batch
