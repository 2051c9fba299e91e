"""Where the datagrams of flow exporters go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from schemas.rawflows import RawDatagram
from sensors.publish.counting import Counters


class FlowOutlet(Protocol):
    """Takes datagrams, in order; :class:`sensors.publish.publisher.Publisher` is one.

    ``counters`` tell what was handed over, and what arrived. One that chooses between ways has a ``way``: ``kafka`` or ``direct``.
    """

    @property
    def counters(self) -> Counters: ...

    def send(self, batch: Sequence[RawDatagram] | None, clock: int, /) -> None:
        """Take datagrams (None: a heartbeat); whatever was received before ``clock`` (ns) is among what was sent. Stopped: it was."""

    def drop(self, packets: int, /) -> None:
        """Count datagrams given up in front of it."""

    def end(self) -> None:
        """Nothing will follow."""

    def flush(self, timeout_s: float | None = None, /) -> bool:
        """Wait until all has arrived; whether it has."""

    def close(self, timeout_s: float = 10.0, /) -> int:
        """Let go; number of datagrams that did not arrive."""


#: Makes one: sensor id, domain, and what ends its waiting. BrokerError: what it writes to cannot be reached yet.
OutletMaker = Callable[[str, str | None, threading.Event], FlowOutlet]
