"""What is known of the exporters that send: rates, counts, and how far each is thinned. Bounded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.rawflows import RawDatagram
from sensors.netflow.pressure import Thinning

_SECOND_US = 1_000_000
#: Seconds after which a change of the rate has been taken over by 63 %.
_SMOOTHED_S = 5.0
#: Streams of one exporter that are thinned apart from one another; those beyond share.
_STREAMS = 64


@dataclass(slots=True)
class RateMeter:
    """Datagrams a second: counted by the second, and smoothed over some of them."""

    since_us: int = 0
    count: int = 0
    smoothed: float = 0.0

    def add(self, now_us: int) -> None:
        """One more, at a time (us since the epoch)."""
        if abs(now_us - self.since_us) >= _SECOND_US:  # also when the clock was set back
            self.smoothed = self.rate(now_us)
            self.since_us, self.count = now_us, 0
        self.count += 1

    def rate(self, now_us: int) -> float:
        """Smoothed, in 1/s."""
        seconds = (now_us - self.since_us) / _SECOND_US
        if seconds < 1:
            return self.smoothed
        if not self.since_us:
            return 0.0
        return self.count / seconds + (self.smoothed - self.count / seconds) * math.exp(-seconds / _SMOOTHED_S)

    @property
    def least(self) -> float:
        """1/s: the smoothed rate, or what the present second has seen already, so that a burst is met at once."""
        return max(self.smoothed, float(self.count))


@dataclass(slots=True)
class SendingExporter:
    """One sender.

    Attributes
    ----------
    received, bytes, kept, thinned, dropped
        Datagrams that came, their bytes, and what became of them: kept, given up while others stand for them, lost as the queue was full.
    meter
        Its rate.
    """

    received: int = 0
    bytes: int = 0
    kept: int = 0
    thinned: int = 0
    dropped: int = 0
    meter: RateMeter = field(default_factory=RateMeter)
    _thinnings: dict[int, Thinning] = field(default_factory=dict)

    def keep(self, datagram: RawDatagram, every: int) -> int:
        """For how many datagrams of its stream one stands under 1:N sampling (:meth:`Thinning.keep`); 0: it is given up."""
        if every <= 1 and not self._thinnings:
            return 1
        place = datagram.stream % _STREAMS
        thinning = self._thinnings.get(place)
        if thinning is None:
            thinning = self._thinnings[place] = Thinning()
        return thinning.keep(datagram.payload, every)

    @property
    def skipped(self) -> int:
        """Datagrams given up that no kept one stands for yet."""
        return sum(thinning.skipped for thinning in self._thinnings.values())

    def over(self, limit: float) -> int:
        """N of 1:N with which it keeps to ``limit`` datagrams/s (0: none)."""
        return max(1, math.ceil(self.meter.least / limit)) if limit else 1


class ExporterTable:
    """Exporters by address, those that were silent longest first.

    Parameters
    ----------
    most
        Exporters at once.

    Attributes
    ----------
    forgotten
        Exporters that had to make room for others.
    unaccounted
        Datagrams of theirs that had been given up and that none stood for in the end.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[bytes, SendingExporter] = {}
        self.forgotten = 0
        self.unaccounted = 0

    def of(self, sender: bytes) -> SendingExporter:
        """The exporter with an address (16 bytes), which now was heard of last."""
        found = self._known.pop(sender, None)
        if found is None:
            found = SendingExporter()
            if len(self._known) >= self._most:
                self._forget()
        self._known[sender] = found
        return found

    def _forget(self) -> None:
        oldest = self._known.pop(next(iter(self._known)))
        self.forgotten += 1
        self.unaccounted += oldest.skipped

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[tuple[bytes, SendingExporter]]:
        return iter(list(self._known.items()))
