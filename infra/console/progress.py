"""A line on the terminal that says how far a command is."""

from __future__ import annotations

import sys
import time

#: Seconds between two changes of it.
_PAUSE_S = 0.2


class ProgressLine:
    """A progress line on standard error, at most some times a second; nothing where that is no terminal.

    Parameters
    ----------
    quiet
        Show nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._on = sys.stderr.isatty() and not quiet
        self._last = 0.0

    def show(self, text: str) -> None:
        """Put the line up, in place of the one before."""
        now = time.monotonic()
        if self._on and now - self._last > _PAUSE_S:
            self._last = now
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take it away."""
        if self._on and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
