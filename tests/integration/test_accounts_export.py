"""The meter's metrics from its accounts on a real broker, over a reset of its checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaProducer

from infra import metrics
from infra.config import Settings
from infra.kafka import topics
from infra.kafka.client import client_options
from jobs.runtime import checkpoints
from jobs.sources.packets.accounts import Exporter
from jobs.sources.packets.query import NAME
from jobs.sources.packets.stateful import STATE_VERSION
from schemas.packets import ACCOUNTS

pytestmark = pytest.mark.integration


def metric(name: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"flowlake_{name}", {"query": "meter"}) or 0


def until(what: str, done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def begin(settings: Settings) -> str:
    """What the query does first: its checkpoint, not empty from then on."""
    place = checkpoints.open(settings, NAME, STATE_VERSION)
    Path(place.path).mkdir(exist_ok=True)
    (Path(place.path) / "metadata").write_text("{}")
    return place.id


def test_open_flows_after_a_reset_are_those_of_the_new_checkpoint(settings: Callable[..., Settings], kafka_server: str) -> None:
    made = settings(kafka={"bootstrap_servers": kafka_server})
    topics.ensure(made)
    producer = KafkaProducer(**client_options(made.kafka))

    def send(query: str, version: int, **counts: int) -> None:
        row = {"query": query, "domain": "tap", "bucket": 0, "version": version, **counts}
        producer.send(made.topic(ACCOUNTS.name), json.dumps(row).encode()).get(30)

    old = begin(made)
    send(old, 1, metered=1000, open=70)  # of the process before this one
    time.sleep(0.01)  # messages are told apart by the millisecond
    exporter = Exporter(made, partial(checkpoints.opened, NAME))
    metered = metric("packets_total")
    exporter.start()
    try:
        send(old, 2, metered=1005, open=7)
        until("the old checkpoint", lambda: (metric("open_flows"), metric("packets_total") - metered) == (7, 5))
        checkpoints.reset(made, NAME)
        new = begin(made)
        assert new != old
        send(new, 1, metered=3, open=2)
        until("the new checkpoint", lambda: (metric("open_flows"), metric("packets_total") - metered) == (2, 8))
    finally:
        exporter.stop()
        producer.close()
