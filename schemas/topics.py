"""Kafka topics: names, partitions, retention. The only place they are declared."""

from __future__ import annotations

from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class TopicSpec:
    """Declared configuration of one topic.

    ``partitions`` and the replication factor are those of the cluster configuration; a local configuration may ask for fewer
    (``kafka.partitions``, ``kafka.replication_factor`` in the settings).
    """

    name: str
    partitions: int
    retention_ms: int
    purpose: str
    compression: str = "lz4"
    cleanup_policy: str = "delete"
    max_message_bytes: int = 10 * 1024 * 1024
    timestamps: str = "CreateTime"

    def config(self) -> dict[str, str]:
        """Broker-side topic configuration, as Kafka spells it."""
        return {
            "retention.ms": str(self.retention_ms),
            "compression.type": self.compression,
            "cleanup.policy": self.cleanup_policy,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": self.timestamps,
        }


#: Arrow's buffers are lz4 already: a broker that compressed such messages again, and readers that undid it, took a twentieth of a machine
#: that is full. As the producer sent them, then.
_INSIDE = "producer"

#: The broker's clock: the meter compares the times of different sensors' messages, whose own clocks may differ by minutes.
RAW_PACKETS = TopicSpec(
    "raw-packets", 12, HOUR_MS, "frames from the sensors, one Arrow batch (lz4 inside) a message", _INSIDE, timestamps="LogAppendTime"
)
PREDICTIONS = TopicSpec(
    "predictions", 3, DAY_MS, "scored flow records and interim snapshots, one Arrow batch (lz4 inside) a message", _INSIDE
)
ALERTS = TopicSpec("alerts", 3, 7 * DAY_MS, "alerts as JSON, one a message, keyed by source")
DEAD_LETTER = TopicSpec("dead-letter", 1, 7 * DAY_MS, "messages that could not be decoded, with the reason")
ACCOUNTS = TopicSpec("accounts", 1, 7 * DAY_MS, "cumulative packet and flow counters of the meter, JSON, keyed by query, domain and bucket")

TOPICS: tuple[TopicSpec, ...] = (RAW_PACKETS, PREDICTIONS, ALERTS, DEAD_LETTER, ACCOUNTS)
