"""A topic flows.raw of a test, and what a sensor put into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic

from infra.config import Settings
from schemas.rawflows import FLOWS_RAW, RawMessage, decode


@dataclass
class FlowMessage:
    partition: int
    headers: dict[str, str]
    raw: RawMessage

    @property
    def payloads(self) -> list[bytes]:
        at = self.raw.offsets
        return [self.raw.data[at[i] : at[i + 1]] for i in range(len(self.raw))]


def create(settings: Settings, partitions: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.create_topics([NewTopic(settings.topic(FLOWS_RAW.name), partitions, 1, topic_configs=FLOWS_RAW.config())])
    admin.close()


def read(settings: Settings) -> list[FlowMessage]:
    """Everything in the topic, by partition and offset."""
    return [FlowMessage(r.partition, {k: v.decode() for k, v in r.headers}, decode(r.value)) for r in records(settings)]


def records(settings: Settings) -> list[Any]:
    """The same as Kafka has it."""
    topic = settings.topic(FLOWS_RAW.name)
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka.bootstrap_servers, max_partition_fetch_bytes=8 << 20)
    found: list[Any] = []
    try:
        parts = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())]
        ends = consumer.end_offsets(parts)
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        while any(consumer.position(p) < ends[p] for p in parts):
            for some in consumer.poll(1000).values():
                found += some
    finally:
        consumer.close()
    return sorted(found, key=lambda r: (r.partition, r.offset))


def check_promises(messages: list[FlowMessage]) -> None:
    """No datagram lies below a clock told before it; numbers follow one another; every run of every partition ends once."""
    state: dict[tuple[int, str], tuple[int, int]] = {}
    ends = []
    for m in messages:
        key = (m.partition, m.headers["run"])
        clock, seq = state.get(key, (0, -1))
        assert int(m.headers["seq"]) == seq + 1
        assert int(m.headers["clock"]) >= clock
        assert all(at * 1000 >= clock for at in m.raw.received_us)
        assert all(stream % int(m.headers["partitions"]) == m.partition for stream in m.raw.streams)
        state[key] = (int(m.headers["clock"]), seq + 1)
        ends += [key] if m.headers["kind"] == "end" else []
    assert sorted(ends) == sorted(state)


def by_sender(messages: list[FlowMessage]) -> dict[tuple[bytes, int], list[bytes]]:
    """Payloads of each address and port, in the order of the topic; those of one of them are one stream."""
    found: dict[tuple[bytes, int], list[bytes]] = {}
    for m in messages:
        for sender, port, payload in zip(m.raw.senders, m.raw.ports, m.payloads, strict=True):
            found.setdefault((sender, port), []).append(payload)
    return found
