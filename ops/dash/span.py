"""What a page is about: the time it shows and the sensors, as they stand in its address. Pure.

``from`` and ``to`` are what Grafana writes into its own addresses, so that a link serves both: ``now-6h``, milliseconds since the epoch, or
ISO 8601. UTC, unless a time says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from infra import durations
from infra.errors import ConfigError
from infra.names import valid_text

#: What a page shows where its address says nothing.
FROM, TO = "now-1h", "now"
#: Ranges that the page offers.
RANGES: tuple[tuple[str, str], ...] = (
    ("now-15m", "Last 15 minutes"),
    ("now-1h", "Last hour"),
    ("now-6h", "Last 6 hours"),
    ("now-24h", "Last 24 hours"),
    ("now-7d", "Last 7 days"),
    ("now-30d", "Last 30 days"),
)
_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}
_LONGEST = timedelta(days=3660)
_MAX_SENSORS, _MAX_NAME = 100, 256
_HINT = "write now-6h, 2026-03-01T12:00 (UTC), or milliseconds since 1970"


@dataclass(frozen=True)
class PageSpan:
    """A range of time, and sensors.

    Parameters
    ----------
    start, end : datetime
        UTC; ``start`` lies before ``end``.
    sensors : tuple of str
        Their names; empty: all of them.
    since, until : str
        As the address said it.
    """

    start: datetime
    end: datetime
    sensors: tuple[str, ...] = ()
    since: str = field(default=FROM, compare=False)
    until: str = field(default=TO, compare=False)

    @property
    def live(self) -> bool:
        """Whether it goes on as time does."""
        return "now" in self.until

    @property
    def query(self) -> str:
        """It as the query of an address, relative times as such."""
        return self.with_range(self.since, self.until)

    def with_range(self, since: str, until: str = TO) -> str:
        """The query of an address with another time and the same sensors."""
        return urlencode([("from", since), ("to", until), *(("sensor", name) for name in self.sensors)])


def read(
    since: str, until: str, sensors: Sequence[str] = (), now: datetime | None = None, names: tuple[str, str] = ("from", "to")
) -> PageSpan:
    """A range as an address or an option says it.

    Parameters
    ----------
    since, until
        See the module; empty: the last hour. ``6h`` is short for ``now-6h``.
    sensors
        Names; empty ones do not count.
    now
        The time; whole seconds of it count, so that what is asked within one second is the same question.
    names
        What begin and end are called in an error.

    Raises
    ------
    ConfigError
        A time is none, the range is empty or longer than ten years, or there are too many sensors.
    """
    moment = (now or datetime.now(UTC)).replace(microsecond=0)
    since, until = since.strip() or FROM, until.strip() or TO
    start, end = _moment(names[0], since, moment), _moment(names[1], until, moment)
    if start >= end:
        raise ConfigError(f"{names[0]} {since!r} is not before {names[1]} {until!r}", _HINT)
    if end - start > _LONGEST:
        raise ConfigError(f"{names[0]} {since!r} {names[1]} {until!r} is longer than {_LONGEST.days} days", "take a shorter range")
    chosen = tuple(sorted({valid_text(name) for name in sensors if name}))
    if len(chosen) > _MAX_SENSORS or any(len(name) > _MAX_NAME for name in chosen):
        raise ConfigError(f"{len(chosen)} sensors: at most {_MAX_SENSORS}, of {_MAX_NAME} characters", "leave them out: all sensors")
    if any("\0" in name for name in chosen):
        raise ConfigError("a sensor's name holds a NUL character", "leave it out: all sensors")
    return PageSpan(start, end, chosen, _spelled(since), _spelled(until))


def _spelled(text: str) -> str:
    return text if _ago(text) is None else f"now-{text}"


def _ago(text: str) -> float | None:
    """Seconds; Grafana, whose addresses these are too, means months by a capital M."""
    return durations.read(text) if text.islower() and not text.startswith("+") else None


def _moment(name: str, text: str, now: datetime) -> datetime:
    try:
        if text == "now":
            return now
        if (seconds := _ago(text.removeprefix("now-"))) is not None:
            return now - timedelta(seconds=seconds)
        if re.fullmatch(r"[0-9]{10,16}", text):
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError) as e:
        raise ConfigError(f"{name} {text[:60]!r} is no time", _HINT) from e


def name(span: PageSpan) -> str:
    """A range as a person says it: one of those offered, else its ends."""
    if span.until == TO and (known := dict(RANGES).get(span.since)):
        return known
    if span.until == TO and (match := re.fullmatch(r"now-([0-9]+)([smhdw])", span.since)):
        return f"Last {match[1]} {_UNITS[match[2]]}s" if int(match[1]) > 1 else f"Last {_UNITS[match[2]]}"
    if span.until == TO:
        return f"Since {span.start:%Y-%m-%d %H:%M} UTC"
    return f"{span.start:%Y-%m-%d %H:%M} to {span.end:%Y-%m-%d %H:%M} UTC"
