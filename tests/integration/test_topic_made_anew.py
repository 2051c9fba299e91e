"""Sinks whose topic is deleted and made anew, or loses messages before they are read: told, counted, and nothing twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import NewPartitions

from infra import metrics
from infra.config import Settings
from infra.errors import BrokerError, CheckpointError
from infra.kafka import progress as queries
from infra.kafka import topics
from jobs.runtime import checkpoints, inputs, runner
from jobs.runtime import lake as tables
from schemas.flows import RECORD_VERSION
from schemas.packets import FLOWS, PREDICTIONS
from tests.integration import topics_probe as probe
from tests.integration.remake import create, delete, drop_before, remake, send
from tests.integration.sinkbench import Bench, drain, running, until
from tests.sinksdata import START, flow_id

pytestmark = [pytest.mark.integration, pytest.mark.spark]
SINKS = {"lake": START["lake"], "hot": START["hot"], "alerts": START["alerts"]}
TOPIC = PREDICTIONS.name


def rows(*names: int) -> list[dict[str, Any]]:
    return [{"name": name, "attack_type": "SYN_SCAN", "predicted_label": 1} for name in names]


def place(settings: Settings, query: str) -> Path:
    return Path(checkpoints.path(settings, query, RECORD_VERSION))


def note(settings: Settings, query: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place(settings, query).with_suffix(".json").read_text())
    return found


def stored(spark: Any, bench: Bench) -> dict[str, list[Any]]:
    """Flow ids by store, each as often as it is there; of alerts the number of flows."""
    table = spark.read.format("delta").load(tables.location(bench.settings, FLOWS)).select("flow_id").collect()
    return {
        "lake": sorted(row.flow_id for row in table),
        "hot": sorted(row[0] for row in bench.sql("SELECT flow_id::text FROM network_flows")),
        "alerts": [row[0] for row in bench.sql("SELECT flow_count FROM alerts")],
    }


@pytest.mark.parametrize("unfinished", [False, True], ids=["between batches", "with a batch begun"])
def test_told_at_the_start_and_one_option_reads_the_new_topic_once(spark: Any, bench: Bench, unfinished: bool) -> None:
    """The new topic holds as many messages at the same offsets, which is all that a ledger of offsets can see of it."""
    for batch in (rows(1, 2), rows(3)):
        bench.rows(batch, "old")
        for start in SINKS.values():
            drain(start, spark, bench.settings)
    if unfinished:  # the stores have the last batch, Spark has not heard of it
        for query in SINKS:
            newest = max((place(bench.settings, query) / "commits").glob("[0-9]*"), key=lambda file: int(file.name))
            newest.unlink()
            newest.with_name(f".{newest.name}.crc").unlink(missing_ok=True)
    old = topics.extents(bench.settings, [bench.settings.topic(TOPIC)])
    remake(bench.settings, TOPIC)
    new = topics.extents(bench.settings, [bench.settings.topic(TOPIC)])
    for batch in (rows(2, 4), rows(5)):
        bench.rows(batch, "new")
    for query, start in SINKS.items():
        with pytest.raises(CheckpointError, match=f"query {query}") as caught:
            start(spark, bench.settings)
        for topic in (*old.values(), *new.values()):
            assert topic.id in str(caught.value)
        assert bench.settings.topic(TOPIC) in str(caught.value)
        assert queries.ACCEPT in caught.value.hint
    born = {query: note(bench.settings, query)["id"] for query in SINKS}
    for query in SINKS:
        assert len(inputs.accept(bench.settings, query)) == 1
        assert inputs.accept(bench.settings, query) == [], "once is enough"
    for start in SINKS.values():
        drain(start, spark, bench.settings)
    expected = sorted(flow_id(name) for name in (1, 2, 3, 4, 5))
    assert stored(spark, bench) == {"lake": expected, "hot": expected, "alerts": [5]}
    assert {query: note(bench.settings, query)["id"] for query in SINKS} == born, "the checkpoints are those they were"
    assert all(standing.behind == 0 and not standing.problem for standing in queries.standings(bench.settings))


def test_a_checkpoint_of_the_version_before_takes_the_id_or_is_refused(spark: Any, bench: Bench) -> None:
    bench.rows(rows(1), "a")
    bench.rows(rows(2), "b")
    drain(START["hot"], spark, bench.settings)
    beside = place(bench.settings, "hot").with_suffix(".json")

    def forget() -> None:
        beside.write_text(json.dumps({name: value for name, value in note(bench.settings, "hot").items() if name != "input"}))

    forget()
    bench.rows(rows(3), "c")
    drain(START["hot"], spark, bench.settings)
    name = bench.settings.topic(TOPIC)
    assert note(bench.settings, "hot")["input"]["ids"] == {name: topics.extents(bench.settings, [name])[name].id}
    forget()
    remake(bench.settings, TOPIC)
    bench.rows(rows(4), "d")
    with pytest.raises(CheckpointError, match="partition 0 was read to offset 3 and ends at 1") as caught:
        START["hot"](spark, bench.settings)
    assert queries.ACCEPT in caught.value.hint
    inputs.accept(bench.settings, "hot")
    drain(START["hot"], spark, bench.settings)
    assert bench.sql("SELECT count(*) FROM network_flows") == [(4,)]


def test_fewer_partitions_and_a_query_that_never_finished_a_batch(spark: Any, bench: Bench) -> None:
    """Where it begins is noted before its first batch: that too is an offset of the old topic."""
    bench.rows(rows(1), "a", partition=1)
    bench.rows(rows(2), "b", partition=1)
    drop_before(bench.settings, TOPIC, 2, partition=1)
    with running(START["hot"], spark, bench.settings):
        until(lambda: (place(bench.settings, "hot") / "sources" / "0" / "0").exists())
    for file in [*(place(bench.settings, "hot") / "commits").iterdir(), *(place(bench.settings, "hot") / "offsets").iterdir()]:
        file.unlink()
    remake(bench.settings, TOPIC, partitions=1)
    bench.rows(rows(3), "c")
    with pytest.raises(CheckpointError, match="was deleted and made anew"):
        START["hot"](spark, bench.settings)
    inputs.accept(bench.settings, "hot")
    drain(START["hot"], spark, bench.settings)
    assert bench.sql("SELECT flow_id::text FROM network_flows") == [(flow_id(3),)]


def watched(settings: Settings) -> Callable[[Any], None]:
    """The look that the watcher's thread takes, with all reports of a query."""
    watcher = inputs.Watcher(settings)

    def look(query: Any) -> None:
        for progress in query.recentProgress:
            watcher.observe(json.loads(progress.json))
        watcher.look({name: extent.id for name, extent in topics.extents(settings, [settings.topic(TOPIC)]).items()})

    return look


def skipped(settings: Settings) -> int:
    return {standing.query: standing.skipped for standing in queries.standings(settings)}[f"probe-v{RECORD_VERSION}"]


def test_messages_that_were_gone_are_counted_once(spark: Any, bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """While it was stopped, while it runs, and not for a partition that was added."""
    settings, name = bench.settings, bench.settings.topic(TOPIC)

    def metric() -> float:
        return (
            metrics.REGISTRY.get_sample_value("flowlake_skipped_messages_total", {"query": "probe", "topic": name, "partition": "0"}) or 0
        )

    send(settings, TOPIC, 10)
    look = watched(settings)
    with running(probe.start, spark, settings) as query:
        query.processAllAvailable()
        drop_before(settings, TOPIC, 10)  # all of it was read
        send(settings, TOPIC, 5)
        query.processAllAvailable()
        look(query)
    assert (skipped(settings), metric()) == (0, 0)

    send(settings, TOPIC, 20)
    drop_before(settings, TOPIC, 25)
    assert skipped(settings) == 10, "told before anybody starts it"
    with topics.admin(settings) as client:
        client.create_partitions({name: NewPartitions(3)})
    send(settings, TOPIC, 4, partition=2)
    with running(probe.start, spark, settings) as query:
        query.processAllAvailable()
        look(query)
        look(query)
    assert (skipped(settings), metric()) == (10, 10)
    said = capfd.readouterr().err
    assert said.count("messages were gone before they were read") == 1
    assert "partition 0: 10" in said

    strict = settings.model_copy(update={"sinks": settings.sinks.model_copy(update={"fail_on_data_loss": True})})
    send(settings, TOPIC, 3)
    drop_before(settings, TOPIC, 37)
    with pytest.raises(CheckpointError, match=r"2 messages of .* query probe .*partition 0: 2") as caught:
        probe.start(spark, strict)
    assert "fail_on_data_loss: false" in caught.value.hint
    assert note(settings, "probe")["input"]["skipped"] == {name: {"0": 10}}, "it was not skipped"


def test_a_query_that_is_too_slow(spark: Any, bench: Bench) -> None:
    """Retention overtakes it while it runs. What a consumer had fetched ahead by then is read, and not counted as gone."""
    settings = bench.settings.model_copy(update={"sinks": bench.settings.sinks.model_copy(update={"max_messages": 2})})
    send(settings, TOPIC, [bytes(600_000)] * 16)
    read: list[int] = []

    def slow(frame: Any, batch: int) -> None:
        if batch == 1:
            drop_before(settings, TOPIC, 12)
        read.extend(row.offset for row in frame.collect())

    look = watched(settings)
    query = probe.start(spark, settings, slow)
    try:
        query.processAllAvailable()
        look(query)
    finally:
        query.stop()
    lost = set(range(16)) - set(read)
    assert lost
    assert skipped(settings) == len(lost)


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "after it was missed"])
def test_while_it_runs_the_query_ends_with_the_way_out(spark: Any, bench: Bench, capfd: pytest.CaptureFixture[str], pause: bool) -> None:
    """A topic that is back at once is noticed by its id alone: Spark goes on at the old offsets without a word."""
    settings = bench.settings
    send(settings, TOPIC, 10)
    watcher = inputs.Watcher(settings)
    read: list[int] = []

    def observe(progress: Any) -> None:
        watcher.observe(progress)
        read.append(progress["numInputRows"])

    query = runner.StartedQuery("probe", partial(probe.start, spark, settings), essential=True, fault=partial(watcher.fault, "probe"))
    fast = runner.Restart(first_s=0.2, most_s=0.4)
    watcher.start()
    try:
        code: list[int] = []
        going = threading.Thread(target=lambda: code.append(runner.run(spark, [query], restart=fast, observer=observe, poll_s=0.1)))
        going.start()
        until(lambda: sum(read) == 10)
        if pause:
            delete(settings, TOPIC)
            time.sleep(3)
            create(settings, TOPIC, 2)
        else:
            remake(settings, TOPIC)
        send(settings, TOPIC, 12)
        going.join(60)
        assert not going.is_alive()
    finally:
        watcher.stop()
    assert code == [CheckpointError.exit_code]
    said = capfd.readouterr().err
    assert "deleted and made anew" in said
    assert queries.ACCEPT in said


def test_a_topic_that_is_not_there_is_waited_for(spark: Any, bench: Bench) -> None:
    delete(bench.settings, TOPIC)
    with pytest.raises(BrokerError, match=rf"topic {bench.settings.topic(TOPIC)} is not on the broker"):
        until(lambda: bool(probe.start(spark, bench.settings).stop()), 10)
