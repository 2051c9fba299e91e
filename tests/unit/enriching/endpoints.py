"""Addresses as the columns have them, and what the tests of the enrichment share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.enriching.addresses import NO_ADDRESS, as_matrix, packed


def matrix(texts: Sequence[str]) -> NDArray[np.uint8]:
    """``uint8[n, 16]``; an empty text: no address."""
    return as_matrix([packed(t) if t else NO_ADDRESS for t in texts])


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def until(reached: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for what happens in another thread."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
