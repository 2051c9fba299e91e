"""How long the tests of this folder look: ``FLOWLAKE_FUZZ_SECONDS``, shared out among them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

#: Read when the tests are collected: the suite takes the caller's settings out of the environment before the first one runs.
SECONDS = float(os.environ.get("FLOWLAKE_FUZZ_SECONDS") or 6)


def rounds(share: float, least: int = 1) -> Iterator[int]:
    """Numbers from 0 until this share of the time is used up; ``least`` of them on the slowest machine."""
    until = time.monotonic() + share * SECONDS
    i = 0
    while i < least or time.monotonic() < until:
        yield i
        i += 1
