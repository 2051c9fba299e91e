"""Ctrl-C while the command is still being imported: ends it quietly. Imported before all else, and so imports next to nothing.

A KeyboardInterrupt there would be a stack trace of the import machinery, or be swallowed by what loads an extension.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

#: Exit code of an interrupted command, as shells have it: 128 and the signal's number.
INTERRUPTED = 130


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _begin() -> None:
    """From here on, where nobody else handles the signal, or has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, _end)


def done() -> None:
    """Until here: Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_begin()
