"""What is known of the exporters that send: rates, counts, and how far each is thinned. Bounded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.rawflows import RawDatagram
from sensors.netflow.pressure import Thinning
from sensors.netflow.streams import option_ids, teaches

_SECOND_US = 1_000_000
#: Seconds after which a change of the rate has been taken over by 63 %.
_SMOOTHED_S = 5.0
#: Streams of one exporter that are thinned apart from one another; those beyond share.
_STREAMS = 64
#: Of one exporter: options templates that are remembered, and datagrams a second that are kept since others are read by them. (It sends
#: templates with every twentieth datagram or so, at most.)
_MOST_OPTIONS, _MOST_LESSONS = 128, 200


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
    _lessons: RateMeter = field(default_factory=RateMeter)
    _options: dict[int, set[int]] = field(default_factory=dict)
    _thinnings: dict[int, Thinning] = field(default_factory=dict)

    def add(self, other: SendingExporter) -> None:
        """Count what another one has counted."""
        self.received += other.received
        self.bytes += other.bytes
        self.kept += other.kept
        self.thinned += other.thinned
        self.dropped += other.dropped

    def hear(self, datagram: RawDatagram) -> None:
        """Count one that has come, and remember which options templates it defines."""
        self.received += 1
        self.bytes += len(datagram.payload)
        self.meter.add(datagram.received_us)
        for number in option_ids(datagram.payload):
            if sum(map(len, self._options.values())) < _MOST_OPTIONS:
                self._options.setdefault(datagram.stream % _STREAMS, set()).add(number)

    def vital(self, datagram: RawDatagram) -> bool:
        """Whether other datagrams are read by this one, so that it is kept for itself alone; of a flood of such ones, few are."""
        if not teaches(datagram.payload, self._options.get(datagram.stream % _STREAMS, ())):
            return False
        self._lessons.add(datagram.received_us)
        return self._lessons.count <= _MOST_LESSONS

    def owes(self, stream: int) -> bool:
        """Whether datagrams of a stream (its hash) were given up that no kept one stands for yet."""
        thinning = self._thinnings.get(stream % _STREAMS)
        return thinning is not None and thinning.skipped > 0

    def thin(self, stream: int, every: int) -> int:
        """For how many datagrams the next one of a stream stands (:meth:`Thinning.keep`); 0: it is given up."""
        thinning = self._thinnings.get(stream % _STREAMS)
        if thinning is None:
            thinning = self._thinnings[stream % _STREAMS] = Thinning()
        return thinning.keep(every)

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
    past
        What had been counted of these.
    unaccounted
        Datagrams of theirs that had been given up and that none stood for in the end.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[bytes, SendingExporter] = {}
        self.forgotten = 0
        self.past = SendingExporter()
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
        self.past.add(oldest)
        self.unaccounted += oldest.skipped

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[tuple[bytes, SendingExporter]]:
        return iter(list(self._known.items()))
