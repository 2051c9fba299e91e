"""Which way datagrams go, by how many records a second they hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

_S = 1_000_000


class FlowWay(StrEnum):
    """Where datagrams go: undecoded to Kafka, or decoded here into PostgreSQL."""

    KAFKA = "kafka"
    DIRECT = "direct"


@dataclass
class RecordRate:
    """Records a second over the last seconds, by times of receipt (us since the epoch): what waited in memory counts when it came.

    Parameters
    ----------
    window_s
        Over so long.
    """

    window_s: int
    _by_second: Counter[int] = field(default_factory=Counter)

    def note(self, records: float, first_us: int, last_us: int) -> None:
        """So many more, received between two times."""
        first, last = first_us // _S, last_us // _S
        seconds = range(max(first, last - self.window_s), last + 1)
        share = records / max(last - first + 1, 1)
        for second in seconds:
            self._by_second[second] += share  # type: ignore[assignment]  # of a float

    def at(self, now_us: int) -> float:
        """1/s, as of a time; what is older than the window, or later than now since a clock was set back, is forgotten."""
        now = now_us // _S
        for second in [one for one in self._by_second if not now - self.window_s < one <= now]:
            del self._by_second[second]
        return sum(self._by_second.values()) / self.window_s


@dataclass
class WaySwitch:
    """To Kafka as soon as there are more records than a threshold, and back when there have been fewer than a part of it for some time.

    Parameters
    ----------
    threshold
        Records/s, over ``window_s``.
    lower
        Part of it below which it goes back,
    hold_s
        after so many seconds below.
    """

    threshold: float
    lower: float
    window_s: int
    hold_s: float
    way: FlowWay = FlowWay.DIRECT
    rate: float = 0.0
    _low_since_us: int | None = None

    def __post_init__(self) -> None:
        self._rates = RecordRate(self.window_s)

    def note(self, records: float, first_us: int, last_us: int) -> None:
        """So many records came, in datagrams received between two times (us since the epoch)."""
        self._rates.note(records, first_us, last_us)

    def wanted(self, now_us: int) -> FlowWay:
        """Where datagrams ought to go, as of a time (us since the epoch)."""
        self.rate = self._rates.at(now_us)
        if self.rate >= self.lower * self.threshold:
            self._low_since_us = None
        elif self._low_since_us is None or now_us < self._low_since_us:
            self._low_since_us = now_us
        if self.way is FlowWay.DIRECT:
            return FlowWay.KAFKA if self.rate > self.threshold else FlowWay.DIRECT
        low = self._low_since_us is not None and now_us - self._low_since_us >= self.hold_s * _S
        return FlowWay.DIRECT if low else FlowWay.KAFKA
