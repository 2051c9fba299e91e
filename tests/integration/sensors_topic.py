"""A raw-packets topic of a test, and what a sensor put into it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic

from infra.config import Settings
from schemas.packets import RAW_PACKETS


@dataclass
class Message:
    partition: int
    headers: dict[str, str]
    table: pa.Table

    @property
    def clock(self) -> int:
        return int(self.headers["clock"])


def create(settings: Settings, partitions: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.create_topics([NewTopic(settings.topic(RAW_PACKETS.name), partitions, 1, topic_configs=RAW_PACKETS.config())])
    admin.close()


def read(settings: Settings) -> list[Message]:
    """Everything in the topic, by partition and offset."""
    topic = settings.topic(RAW_PACKETS.name)
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka.bootstrap_servers, max_partition_fetch_bytes=8 << 20)
    try:
        parts = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())]
        ends = consumer.end_offsets(parts)
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        found: dict[int, list[Message]] = {p.partition: [] for p in parts}
        while any(consumer.position(p) < ends[p] for p in parts):
            for part, records in consumer.poll(1000).items():
                for r in records:
                    headers = {k: v.decode() for k, v in r.headers}
                    found[part.partition].append(Message(part.partition, headers, pa.ipc.open_stream(r.value).read_all()))
    finally:
        consumer.close()
    return [m for p in sorted(found) for m in found[p]]


def check_promises(messages: list[Message]) -> None:
    """No packet lies below a clock told before it; numbers follow one another; every run of every partition ends once."""
    state: dict[tuple[int, str], tuple[int, int]] = {}
    for m in messages:
        key = (m.partition, m.headers["run"])
        clock, seq = state.get(key, (0, -1))
        assert int(m.headers["seq"]) == seq + 1
        assert m.clock >= clock
        assert all(t >= clock for t in m.table["ts"].to_pylist())
        state[key] = (m.clock, seq + 1)
    ends = [(m.partition, m.headers["run"]) for m in messages if m.headers["kind"] == "end"]
    assert sorted(ends) == sorted(state)
