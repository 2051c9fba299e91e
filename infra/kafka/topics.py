"""Topics on the broker against those that are declared: created when missing, every difference reported."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from infra.config import Settings
from infra.errors import BrokerError, one_line
from schemas.topics import TopicSpec

if TYPE_CHECKING:
    from kafka.admin import KafkaAdminClient

HINT = "flowlake up starts the local one; kafka.bootstrap_servers names another"
#: Kafka error codes (protocol guide, "Error Codes").
_UNKNOWN_TOPIC = 3
_TOPIC_EXISTS = 36


@dataclass(frozen=True)
class TopicState:
    """One topic: what is declared for it, what is on the broker, and how they differ.

    ``partitions`` and ``replication`` are those of the broker (0 when the topic is missing); ``messages`` is end minus beginning offset,
    summed over partitions.
    """

    name: str
    purpose: str
    declared_partitions: int
    partitions: int
    replication: int
    messages: int
    created: bool
    differences: tuple[str, ...]

    @property
    def missing(self) -> bool:
        return self.partitions == 0


@dataclass(frozen=True)
class Report:
    """State of every declared topic."""

    topics: tuple[TopicState, ...] = field(default_factory=tuple)

    @property
    def differences(self) -> list[str]:
        """``topic: what differs``, over all topics; empty when the broker is as declared."""
        return [f"{topic.name}: {difference}" for topic in self.topics for difference in topic.differences]

    def as_dict(self) -> dict[str, Any]:
        return {"topics": [asdict(topic) for topic in self.topics], "differences": self.differences}


def ensure(settings: Settings) -> Report:
    """Create the declared topics that are missing and report the state of all. Existing ones are never changed.

    Raises
    ------
    BrokerError
        No broker answers, or it refuses to create a topic (names topic and reason).
    """
    with admin(settings) as client:
        return _inspect(client, settings, created=_create(client, settings))


def inspect(settings: Settings) -> Report:
    """State of the declared topics; creates nothing.

    Raises
    ------
    BrokerError
        No broker answers.
    """
    with admin(settings) as client:
        return _inspect(client, settings, created=frozenset())


@contextmanager
def admin(settings: Settings, timeout_s: float = 5.0) -> Iterator[KafkaAdminClient]:
    """An admin client; Kafka's own errors inside the block come out as BrokerError."""
    from kafka import errors
    from kafka.admin import KafkaAdminClient

    from infra.kafka.client import client_options

    servers = settings.kafka.bootstrap_servers
    try:
        client = KafkaAdminClient(
            **client_options(settings.kafka),
            client_id="flowlake-admin",
            bootstrap_timeout_ms=int(timeout_s * 1000),
            request_timeout_ms=15_000,
        )
    except (errors.KafkaError, OSError, ValueError) as e:
        raise BrokerError(f"no Kafka broker answers at {servers}: {one_line(e)}", HINT) from e
    try:
        yield client
    except errors.KafkaError as e:
        raise BrokerError(f"the Kafka broker at {servers} refuses: {one_line(e)}", HINT) from e
    finally:
        client.close()


def declared_partitions(settings: Settings, spec: TopicSpec) -> int:
    """Partitions of a topic: the settings' where given, else the schema's."""
    return settings.kafka.partitions.get(spec.name, spec.partitions)


def _create(client: KafkaAdminClient, settings: Settings) -> frozenset[str]:
    from kafka.admin import NewTopic

    there = set(client.list_topics())
    wanted = [
        NewTopic(
            settings.topic(spec.name), declared_partitions(settings, spec), settings.kafka.replication_factor, topic_configs=spec.config()
        )
        for spec in settings.catalogue.topics
        if settings.topic(spec.name) not in there
    ]
    if not wanted:
        return frozenset()
    answer = client.create_topics(wanted, timeout_ms=15_000, raise_errors=False, wait_for_metadata=False)
    created = set()
    for topic in answer["topics"]:
        if topic["error_code"] == 0:
            created.add(topic["name"])
        elif topic["error_code"] != _TOPIC_EXISTS:
            # Already there: somebody else created it in the meantime, which is as good.
            raise BrokerError(
                f"topic {topic['name']} cannot be created at {settings.kafka.bootstrap_servers}: {topic['error_message']}",
                "kafka.replication_factor must not exceed the number of brokers; the user needs the right to create topics",
            )
    return frozenset(created)


def _inspect(client: KafkaAdminClient, settings: Settings, created: frozenset[str]) -> Report:
    from kafka.admin import ConfigResource, ConfigResourceType

    names = [settings.topic(spec.name) for spec in settings.catalogue.topics]
    found = _described(client, names, expected=created)
    present = [name for name in names if name in found]
    configs: dict[str, dict[str, Any]] = {}
    if present:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in present]
        configs = client.describe_configs(resources, config_filter="all")["topic"]
    counts = messages(settings, present)
    states = []
    for spec, name in zip(settings.catalogue.topics, names, strict=True):
        partitions = found.get(name, [])
        values = {key: str(entry["value"]) for key, entry in configs.get(name, {}).items()}
        replication = min((len(p["replica_nodes"]) for p in partitions), default=0)
        states.append(
            TopicState(
                name=name,
                purpose=spec.purpose,
                declared_partitions=declared_partitions(settings, spec),
                partitions=len(partitions),
                replication=replication,
                messages=counts.get(name, 0),
                created=name in created,
                differences=tuple(_differences(settings, spec, len(partitions), replication, values)),
            )
        )
    return Report(tuple(states))


def _described(client: KafkaAdminClient, names: list[str], expected: frozenset[str]) -> dict[str, list[dict[str, Any]]]:
    """Partitions by topic. Metadata lags behind creation, so topics just created (``expected``) are asked for again."""
    import time

    for attempt in range(50):
        found = {t["name"]: t["partitions"] for t in client.describe_topics(names) if t["error_code"] == 0 and t["partitions"]}
        settled = all(p["error_code"] == 0 for name in expected & found.keys() for p in found[name])
        if (expected <= found.keys() and settled) or attempt == 49:
            return found
        time.sleep(0.1)
    raise AssertionError("unreachable")


def _differences(settings: Settings, spec: TopicSpec, partitions: int, replication: int, values: dict[str, str]) -> Iterator[str]:
    if partitions == 0:
        yield "missing"
        return
    wanted = declared_partitions(settings, spec)
    if partitions != wanted:
        yield f"{partitions} partitions, declared {wanted}"
    if replication != settings.kafka.replication_factor:
        yield f"replication factor {replication}, declared {settings.kafka.replication_factor}"
    for key, value in spec.config().items():
        if values.get(key) != value:
            yield f"{key}={values.get(key, '(not set)')}, declared {value}"


def end_offsets(settings: Settings, names: list[str]) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """Beginning and end offsets by (topic, partition).

    Raises
    ------
    BrokerError
        No broker answers.
    """
    from kafka import KafkaConsumer, TopicPartition, errors

    from infra.kafka.client import client_options

    if not names:
        return {}, {}
    try:
        consumer = KafkaConsumer(**client_options(settings.kafka), client_id="flowlake-offsets", allow_auto_create_topics=False)
        try:
            partitions = [TopicPartition(name, p) for name in names for p in sorted(consumer.partitions_for_topic(name) or ())]
            first, last = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        finally:
            consumer.close()
    except (errors.KafkaError, OSError) as e:
        raise BrokerError(f"no Kafka broker answers at {settings.kafka.bootstrap_servers}: {one_line(e)}", HINT) from e
    return {(p.topic, p.partition): int(o) for p, o in first.items()}, {(p.topic, p.partition): int(o) for p, o in last.items()}


def messages(settings: Settings, names: list[str]) -> dict[str, int]:
    """Messages on the broker by topic."""
    first, last = end_offsets(settings, names)
    counts = dict.fromkeys(names, 0)
    for key, end in last.items():
        counts[key[0]] += end - first[key]
    return counts


@dataclass(frozen=True)
class Extent:
    """A topic as it stands on the broker.

    ``id`` is born with the topic: one that is deleted and made anew has another, under the same name. As Kafka's own tools write it; empty
    where the broker cannot tell (Kafka before 2.8). ``first`` and ``end`` are offsets by partition.
    """

    id: str
    first: Mapping[int, int]
    end: Mapping[int, int]


def extents(settings: Settings, names: Collection[str]) -> dict[str, Extent]:
    """Ids and offsets of those of some topics that are on the broker.

    Raises
    ------
    BrokerError
        No broker answers.
    """
    with admin(settings) as client:
        found = ids(client, names)
    first, end = end_offsets(settings, list(found))
    return {name: Extent(known, of_topic(first, name), of_topic(end, name)) for name, known in found.items()}


def of_topic(offsets: Mapping[tuple[str, int], int], topic: str) -> dict[int, int]:
    """Offsets of one topic, by partition."""
    return {p: offset for (name, p), offset in offsets.items() if name == topic}


def ids(client: KafkaAdminClient, names: Collection[str]) -> dict[str, str]:
    """Ids of those of some topics that are on the broker; an empty text where it cannot tell."""
    answer = client.describe_topics(list(names)) if names else []
    return {topic["name"]: _spelled(topic.get("topic_id")) for topic in answer if topic["error_code"] == 0 and topic["partitions"]}


def _spelled(topic_id: object) -> str:
    """A topic's id as ``kafka-topics.sh`` writes it; empty for none."""
    known = uuid.UUID(str(topic_id)) if topic_id else uuid.UUID(int=0)
    return base64.urlsafe_b64encode(known.bytes).decode().rstrip("=") if known.int else ""
