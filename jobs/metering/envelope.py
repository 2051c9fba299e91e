"""What a message of ``raw-packets`` says beside its packets; it reaches every bucket, whether the bucket gets packets or not."""

from __future__ import annotations

from dataclasses import dataclass, field

#: ``kind`` of an envelope that stands for JSON packets: they carry no clock.
KIND_JSON = "json"


@dataclass
class Envelope:
    """One per message (JSON: one per task, partition and sensor)."""

    sensor: str
    domain: str
    run: int
    partition: int
    partitions: int
    seq: int
    kind: str
    clock: int
    seen_ms: int  # broker's time stamp of the message
    packets: int = 0
    max_ts: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    received: int = 0
    dropped: int = 0
    kernel_dropped: int = 0
