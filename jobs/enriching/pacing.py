"""So many acts a second, over all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class LookupPace:
    """Tells each caller how long to wait, so that ``per_second`` acts are begun in a second; after a pause, those of a tenth at once.

    Parameters
    ----------
    per_second
        Acts.
    clock
        Seconds.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = 1 / per_second
        self._ahead = max(0.1, self._every)
        self._clock = clock
        self._next = clock() - self._ahead
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Seconds until the caller may act; its turn is taken."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now - self._ahead)
            self._next = turn + self._every
            return max(turn - now, 0.0)
