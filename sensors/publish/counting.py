"""What sensors count of what they hand over, whatever takes it: apart from the client of Kafka, which not every sensor needs."""

from __future__ import annotations

from dataclasses import dataclass


class Stopped(Exception):
    """The stop signal came while the publisher waited for the broker."""


@dataclass(slots=True)
class Counters:
    """Counted over all runs of one publisher, unless said otherwise. Records (packets) unless said otherwise."""

    received: int = 0  # taken over by the sensor
    sent: int = 0  # acknowledged by the broker
    dropped: int = 0  # given up in the sensor, failed sends included
    kernel_dropped: int = 0
    messages: int = 0  # messages acknowledged
    bytes: int = 0  # bytes of values acknowledged
    send_errors: int = 0  # messages given up
    buffered_bytes: int = 0  # waiting for an acknowledgement now
    runs: int = 0
    clock: int = 0  # last watermark, ns
