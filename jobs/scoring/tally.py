"""What the scoring of a process comes to: counts that only grow, by what they are about.

Workers have no page of metrics. They keep count here, and tell the driver when they ask it for models (:mod:`jobs.scoring.handout`),
which adds up what is new (:mod:`jobs.scoring.counters`). What a worker counted in its last seconds is lost with it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

#: What is counted: the kind, then names, such as the record type and versions.
Key = tuple[str, ...]

#: Kinds of counts.
RECORDS, SECONDS, ALIKE, UNLIKE, FAILED = "records", "seconds", "alike", "unlike", "failed"


@dataclass
class ProcessTally:
    """Counts of one process.

    Attributes
    ----------
    process
        Tells processes apart; a process that is forked from this one gets another.
    """

    process: str = field(default_factory=lambda: uuid.uuid4().hex)
    _counts: dict[Key, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, key: Key, by: float = 1.0) -> float:
        """Count; returns what it has come to."""
        with self._lock:
            self._counts[key] = self._counts.get(key, 0.0) + by
            return self._counts[key]

    def at(self, key: Key) -> float:
        """A count; 0 unless it was begun."""
        return self._counts.get(key, 0.0)

    def plain(self) -> list[tuple[list[str], float]]:
        """All counts, for JSON."""
        with self._lock:
            return [(list(key), count) for key, count in self._counts.items()]


#: That of this process.
TALLY = ProcessTally()


def renewed() -> None:
    """A process that was forked begins anew, under a name of its own."""
    TALLY.__init__()  # type: ignore[misc]


class TallySum:
    """Counts of all processes: what is new since a process told last.

    Parameters
    ----------
    most
        Processes that are remembered; the one that has been silent for the longest is forgotten first.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._last: dict[str, dict[Key, float]] = {}
        self._lock = threading.Lock()

    def news(self, process: str, counts: list[tuple[list[str], float]]) -> Iterator[tuple[Key, float]]:
        """Key and growth of each count that has grown."""
        now = {tuple(map(str, key)): float(count) for key, count in counts}
        with self._lock:
            before = self._last.pop(process, {})
            self._last[process] = now
            while len(self._last) > self._most:
                del self._last[next(iter(self._last))]
        for key, count in now.items():
            if (more := count - before.get(key, 0.0)) > 0:
                yield key, more
