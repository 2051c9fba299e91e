"""What a sensor is, of whatever source."""

from __future__ import annotations

from typing import Any, Protocol

from sensors.publish.counting import Counters


class Sensor(Protocol):
    """Takes records where they are seen and hands them, in batches, to a publisher (:class:`sensors.publish.publisher.Publisher`).

    Making one does nothing: no socket, no thread, no connection to the broker.
    """

    @property
    def counters(self) -> Counters:
        """What became of what it took."""
        ...

    def run(self) -> Any:
        """Work until its input ends, or :meth:`stop`; what was taken is sent then, or counted as dropped."""
        ...

    def stop(self) -> None:
        """End :meth:`run`; may be called from another thread or a signal handler. Returns at once."""
        ...
