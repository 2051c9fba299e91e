"""Datagrams of exporters out of capture files, one file after the other, to a publisher."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import CaptureError
from infra.names import printable
from sensors.netflow.publishing import RawFlowPublisher
from sensors.netflow.recorded import RecordedDatagrams
from sensors.netflow.replaying import ReplayPace, replay
from sensors.netflow.settings import ExporterSensorSettings
from sensors.packets.files import Found, Problem
from sensors.packets.following import Follow

#: By so much a datagram of a capture may be older than one before it, ns: those of several interfaces are not merged better.
_DISORDER_NS = 1_000_000_000


@dataclass
class ReplayedCaptures:
    """The files of one command being sent; each, and each round of it, is a run of the publisher.

    Attributes
    ----------
    found
        The files; those not read to their end are added to what failed.
    settings
        Which ports exporters send to.
    pace
        How fast, and how often.
    pipe
        How pipes are waited for; None: there are none.
    stop
        Ends the sending early.
    counts
        See :class:`sensors.netflow.recorded.RecordedDatagrams`.
    truncated
        Files that are cut or damaged, used up to there.
    """

    found: Found
    settings: ExporterSensorSettings
    pace: ReplayPace
    pipe: Follow | None
    stop: threading.Event
    counts: Counter[str] = field(default_factory=Counter)
    truncated: list[str] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether a signal ended it."""
        return self.stop.is_set() or (self.pipe is not None and self.pipe.stop.is_set())

    def send(self, publisher: RawFlowPublisher, show: Callable[[str], None]) -> None:
        """Every file in turn, as often as the pace says; ``show`` is told the file, now and then."""
        for path in list(self.found.files):
            if self.stopped:
                return
            self._send_file(publisher, path, show)

    def _send_file(self, publisher: RawFlowPublisher, path: Path, show: Callable[[str], None]) -> None:
        recorded = RecordedDatagrams(path, self.settings.ports, self.pipe)
        newest = 0
        try:
            for batch in replay(recorded, self.pace, self.stop):
                newest = max(newest, *(d.received_us * 1000 for d in batch))
                publisher.send(batch, max(0, newest - _DISORDER_NS))
                show(printable(path.name))
        except CaptureError as e:  # of the reader: the publisher raises others
            self.found.failed.append(Problem.of(path, e))
        finally:
            self.counts += recorded.counts
        if publisher.in_run:
            publisher.end()
        if recorded.failed:
            self.found.failed.append(Problem(path, recorded.problem))
        elif recorded.problem:
            self.truncated.append(printable(path))
