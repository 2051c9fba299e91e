"""What ``flowlake sensor replay`` does: capture files one after the other to the broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import ConfigError
from infra.names import printable
from sensors.packets.settings import SensorSettings

if TYPE_CHECKING:
    from sensors.packets.files import Found
    from sensors.packets.following import Follow
    from sensors.packets.ordering import Disorder
    from sensors.packets.pacing import Pacer
    from sensors.packets.publisher import PacketPublisher

#: Between two rounds of a file, in its own time, ns.
_ROUND_GAP_NS = 1_000_000_000


@dataclass(frozen=True)
class ReplayOptions:
    """How capture files are sent.

    Attributes
    ----------
    speed
        Times the recorded speed; 0: flat out. None: 1, and 0 for what grows: that is sent at the pace at which it is written.
    shift_to_now
        Move the times of each file.
    loop
        Rounds.
    sort
        Put the packets of each file in order first.
    following, pipe
        How a growing file, or pipes, are waited for.

    Raises
    ------
    ConfigError
        Options that do not go together, or a speed that is no number.
    """

    speed: float | None = None
    shift_to_now: bool = False
    loop: int = 1
    sort: bool = False
    following: Follow | None = None
    pipe: Follow | None = None

    def __post_init__(self) -> None:
        if self.following is not None and self.loop > 1:
            raise ConfigError(f"--follow with --loop {self.loop}", "a file that is still being written can be sent once")
        if self.pipe is not None and self.loop > 1:
            raise ConfigError(f"--loop {self.loop} with a pipe", "what comes through a pipe can be sent once")
        if self.pace != self.pace or self.pace == float("inf"):
            raise ConfigError(f"--speed {self.pace} is not a number of times", "0 is flat out")

    @property
    def waited(self) -> Follow | None:
        """What is waited for; None when all files are whole."""
        return self.following or self.pipe

    @property
    def pace(self) -> float:
        """The speed that holds."""
        if self.speed is not None:
            return self.speed
        return 1.0 if self.waited is None else 0.0


@dataclass
class Replay:
    """The files of one command being sent.

    Attributes
    ----------
    found
        The files; those not read to their end are added to what failed.
    show
        Told the progress in a line, now and then.
    stop
        Ends the sending early.
    truncated
        Files that are cut or damaged.
    disorder
        What was late, by file.
    """

    found: Found
    options: ReplayOptions
    settings: SensorSettings
    show: Callable[[str], None]
    stop: threading.Event
    truncated: list[str] = field(default_factory=list)
    disorder: dict[str, Disorder] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether a signal ended it."""
        return self.stop.is_set() or (self.options.waited is not None and self.options.waited.stop.is_set())

    def send(self, publisher: PacketPublisher) -> None:
        """Every file in turn, ``loop`` times; later rounds get later times."""
        offset = 0
        for _ in range(self.options.loop):
            times: list[int] = []
            for path in self.found.files:
                pacer = self._send_file(publisher, path, offset)
                if pacer is None:
                    return
                times += [time_ns for time_ns in (pacer.first, pacer.last) if time_ns is not None]
            if times:
                offset += max(times) - min(times) + _ROUND_GAP_NS

    def _send_file(self, publisher: PacketPublisher, path: Path, offset: int) -> Pacer | None:
        """Its pacer, which knows its times; None when nothing more is to be sent."""
        from sensors.packets.capture import CaptureReader
        from sensors.packets.files import Problem
        from sensors.packets.ordering import Disorder
        from sensors.packets.pacing import Pacer
        from sensors.packets.replay import chunks

        options = self.options
        reader = CaptureReader(path, self.settings.snaplen, options.following, options.pipe)
        pacer = Pacer(publisher, self.settings, speed=options.pace, shift_to_now=options.shift_to_now, offset_ns=offset, stop=self.stop)

        def tick() -> None:
            done = f"{100 * reader.bytes_read / reader.size:.0f} %" if reader.size else ""
            self.show(f"{printable(reader.path.name)} {done}  {publisher.counters.sent:,} packets sent")

        late = Disorder()
        finished = pacer.send(chunks(reader, self.settings, sort=options.sort, disorder=late), tick)
        name = printable(path)
        if late.late:
            self.disorder[name] = late
        if reader.truncated and name not in self.truncated:
            self.truncated.append(name)
        if reader.failed:
            self.found.failed.append(Problem(path, reader.problem))
        return pacer if finished and (options.pipe is None or options.pipe.ending is None) else None

    def summary(self, publisher: PacketPublisher) -> dict[str, Any]:
        """What was read and sent."""
        from sensors.packets.files import told

        counters = publisher.counters
        return {
            "sensor": publisher.sensor_id,
            "files": [printable(f) for f in self.found.files],
            "packets_received": counters.received,
            "packets_sent": counters.sent,
            "messages": counters.messages,
            "bytes": counters.bytes,
            "dropped": counters.received - counters.sent,
            "kernel_dropped": 0,
            "send_errors": counters.send_errors,
            "truncated": self.truncated,
            "skipped": told(self.found.skipped),
            "failed": told(self.found.failed),
            "runs": counters.runs,
            "stopped": self.stopped,
            "out_of_order": {name: late.summary() for name, late in self.disorder.items()},
        }
