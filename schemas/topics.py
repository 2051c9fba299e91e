"""Kafka topics: what is declared of each (name, partitions, retention), and the topics of the platform itself.

Those of a source are declared in its own module (:mod:`schemas.packets`).
"""

from __future__ import annotations

from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: Bytes of a message, where a topic declares no other bound.
LARGEST_MESSAGE = 10 * 1024 * 1024


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
    max_message_bytes: int = LARGEST_MESSAGE
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
COMPRESSED_INSIDE = "producer"

ALERTS = TopicSpec("alerts", 3, 7 * DAY_MS, "alerts as JSON, one a message, keyed by source")
DEAD_LETTER = TopicSpec("dead-letter", 1, 7 * DAY_MS, "messages that could not be decoded, with the reason")
NOTIFICATIONS = TopicSpec("notifications", 1, 7 * DAY_MS, "messages about incidents for a SIEM, where a channel of kind kafka is declared")

#: Topics of the platform itself, whatever the sources.
PLATFORM: tuple[TopicSpec, ...] = (ALERTS, DEAD_LETTER, NOTIFICATIONS)
