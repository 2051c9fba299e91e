"""Failing inputs made small, by leaving out and by zeroing what does not matter for the failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.oracle.meter import Frame


def data(value: bytes, fails: Callable[[bytes], bool], seconds: float = 20.0) -> bytes:
    """Shortest bytes found in the time that still fail: cut from the end, pieces taken out, the rest zeroed."""
    until = time.monotonic() + seconds
    size = max(len(value) // 2, 1)
    while size and time.monotonic() < until:
        at = max(len(value) - size, 0)
        while at >= 0 and value and time.monotonic() < until:
            shorter, zeroed = value[:at] + value[at + size :], value[:at] + bytes(len(value[at : at + size])) + value[at + size :]
            if fails(shorter):
                value = shorter
            elif zeroed != value and fails(zeroed):
                value = zeroed
            at = at - size if at >= size or at == 0 else 0
        size //= 2
    return value


def frame(value: Frame, fails: Callable[[Frame], bool], seconds: float = 20.0) -> Frame:
    """The same for the bytes of a frame; its length on the wire goes first, if it can."""
    if value.wire is not None and fails(value._replace(wire=None)):
        value = value._replace(wire=None)
    return value._replace(data=data(value.data, lambda b: fails(value._replace(data=b)), seconds))


def frames(value: Sequence[Frame], fails: Callable[[Sequence[Frame]], bool], seconds: float = 30.0) -> list[Frame]:
    """Fewest frames that still fail together."""
    until, left = time.monotonic() + seconds, list(value)
    size = max(len(left) // 2, 1)
    while size and time.monotonic() < until:
        at = 0
        while at < len(left) and len(left) > 1 and time.monotonic() < until:
            fewer = left[:at] + left[at + size :]
            if fewer and fails(fewer):
                left = fewer
            else:
                at += size
        size //= 2
    return left
