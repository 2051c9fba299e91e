"""How far queries are, told from their checkpoints and a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient

from infra.config import Settings
from infra.kafka import topics
from infra.kafka.progress import Standing, standings
from schemas.packets import RAW_PACKETS
from tests.integration.remake import drop_before, remake, send

pytestmark = pytest.mark.integration
Factory = Callable[..., Settings]


@pytest.fixture
def local(settings: Factory, kafka_server: str) -> Settings:
    made = settings(kafka={"bootstrap_servers": kafka_server})
    topics.ensure(made)
    return made


def checkpoint(settings: Settings, offsets: dict[int, dict[str, int]], finished: int) -> Path:
    """A meter's checkpoint as Spark leaves it: batch -> offsets by partition."""
    place: Path = settings.path(settings.paths.checkpoints) / "meter-v1"
    for folder in ("offsets", "commits"):
        (place / folder).mkdir(parents=True)
    for batch, parts in offsets.items():
        (place / "offsets" / str(batch)).write_text("v1\n{}\n" + json.dumps({settings.topic(RAW_PACKETS.name): parts}))
    (place / "commits" / str(finished)).write_text("v1\n{}")
    return place


def test_behind_is_what_the_checkpoint_has_not_finished(local: Settings) -> None:
    send(local, RAW_PACKETS.name, 5, partition=1)
    place = checkpoint(local, {3: {"0": 0, "1": 2}, 4: {"0": 0, "1": 5}}, finished=3)
    assert standings(local) == [Standing("meter-v1", 3)], "batch 4 was begun but not finished"
    for fresh in ("meter-v2", "hot-v1", "elsewhere-v1"):
        (place.with_name(fresh) / "commits").mkdir(parents=True)
    found = {standing.query: standing.behind for standing in standings(local)}
    assert found == {"meter-v1": 3, "meter-v2": 5, "hot-v1": 0}, "what has finished no batch has everything before it"


def test_a_partition_that_was_added_is_unread(local: Settings) -> None:
    checkpoint(local, {0: {"0": 0, "1": 0}}, finished=0)
    send(local, RAW_PACKETS.name, 4, partition=3)
    assert standings(local) == [Standing("meter-v1", 4)]


def test_what_is_gone_is_not_behind_but_skipped(local: Settings) -> None:
    send(local, RAW_PACKETS.name, 9)
    drop_before(local, RAW_PACKETS.name, 7)
    place = checkpoint(local, {0: {"0": 2, "1": 0, "2": 0, "3": 0}}, finished=0)
    assert standings(local) == [Standing("meter-v1", 2, skipped=5)]
    name = local.topic(RAW_PACKETS.name)
    place.with_name("meter-v1.json").write_text(json.dumps({"input": {"skipped": {name: {"0": 6}}, "counted": {name: {"0": 6}}}}))
    assert standings(local) == [Standing("meter-v1", 2, skipped=7)], "six that were counted, one of them twice if it were not noted"


def test_a_topic_made_anew_is_never_said_to_be_read(local: Settings) -> None:
    """Neither when its id is known to be another, nor when it ends before what was read."""
    name = local.topic(RAW_PACKETS.name)
    send(local, RAW_PACKETS.name, 3)
    place = checkpoint(local, {0: {"0": 3, "1": 0, "2": 0, "3": 0}}, finished=0)
    old = topics.extents(local, [name])[name].id
    note = place.with_name("meter-v1.json")
    note.write_text(json.dumps({"input": {"ids": {name: old}}}))
    assert standings(local) == [Standing("meter-v1", 0)]
    remake(local, RAW_PACKETS.name)
    send(local, RAW_PACKETS.name, 3)
    (found,) = standings(local)
    assert found.behind == 3
    for word in (name, old, topics.extents(local, [name])[name].id, "--accept-new-topics"):
        assert word in found.problem
    note.unlink()
    assert standings(local) == [Standing("meter-v1", 0)], "without an id it cannot be told from what was read"
    (place / "offsets" / "0").write_text("v1\n{}\n" + json.dumps({name: {"0": 4}}))
    (found,) = standings(local)
    assert found.behind == 3
    assert "partition 0 was read to offset 4 and ends at 3" in found.problem


def test_a_topic_that_is_not_there_is_said_and_not_made(local: Settings, settings: Factory, kafka_server: str) -> None:
    nowhere = local.model_copy(update={"kafka": local.kafka.model_copy(update={"topic_prefix": "nowhere."})})
    checkpoint(nowhere, {0: {"0": 3}}, finished=0)
    (found,) = standings(nowhere)
    assert found.problem == "topic nowhere.raw-packets is not on the broker"
    with topics.admin(local) as client:
        assert "nowhere.raw-packets" not in client.list_topics()


def test_a_broker_that_knows_no_ids(local: Settings) -> None:
    """Asked in the protocol of before Kafka 2.8."""
    name = local.topic(RAW_PACKETS.name)
    client = KafkaAdminClient(bootstrap_servers=local.kafka.bootstrap_servers, api_version=(2, 7))
    try:
        assert topics.ids(client, [name, "nowhere"]) == {name: ""}
    finally:
        client.close()
    with topics.admin(local) as client:
        assert len(topics.ids(client, [name])[name]) == 22, "as kafka-topics.sh writes it"
