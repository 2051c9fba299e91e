"""What became of the datagrams of flow exporters, to the last one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DatagramAccount:
    """Datagrams of one run of the sensor, unless said otherwise; each that was received is in one line of what follows.

    Attributes
    ----------
    received, bytes
        That came out of the sockets, and their bytes.
    sent
        Acknowledged by the broker.
    waiting
        In the queue, or under way to the broker.
    thinned, limited
        Given up since the queue was filling, or their exporter sent more than its limit; kept ones stand for them.
    dropped
        Lost: the queue was full.
    refused
        Lost: the broker refused them for good.
    unsent
        Lost: the sensor ended before the broker took them.
    kernel_dropped
        Dropped by the kernel in front of the sockets: not among those received.
    """

    received: int = 0
    bytes: int = 0
    sent: int = 0
    waiting: int = 0
    thinned: int = 0
    limited: int = 0
    dropped: int = 0
    refused: int = 0
    unsent: int = 0
    kernel_dropped: int = 0

    @property
    def lost(self) -> int:
        """Datagrams that nothing stands for."""
        return self.dropped + self.refused + self.unsent + self.kernel_dropped
