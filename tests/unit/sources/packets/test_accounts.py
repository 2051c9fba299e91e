"""What the driver makes of the meter's accounts."""

from __future__ import annotations

import json
import threading

import pytest

from infra import config, metrics
from jobs.sources.packets import accounts
from jobs.sources.packets.accounts import AccountBook, Exporter
from jobs.sources.packets.source import SOURCE
from schemas.accounts import SHARED_ID


def row(version: int, bucket: int, query: str = "q", **counts: object) -> bytes:
    return json.dumps({"query": query, "domain": "tap", "bucket": bucket, "version": version, **counts}).encode()


def metric(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"flowlake_{name}", labels) or 0


class Running:
    """An exporter that has begun, without its thread; ``live`` is the checkpoint of now."""

    def __init__(self, live: str | None = "q") -> None:
        self.live = live
        self.exporter = Exporter(config.load(), lambda: self.live)
        self._before = self._metered()

    @staticmethod
    def _metered() -> float:
        return metric("packets_total", query="meter")

    def take(self, *rows: bytes, new: bool = True) -> tuple[float, float]:
        """Packets counted since the start, flows open."""
        for value in rows:
            self.exporter.take(value, new=new)
        self.exporter.show()
        return self._metered() - self._before, metric("open_flows", query="meter")


def test_open_flows_are_those_of_the_live_checkpoint() -> None:
    running = Running("old")
    assert running.take(row(1, 0, "old", metered=5, open=3), row(1, 1, "old", metered=6, open=4)) == (11, 7)
    running.live = "new"  # it was reset
    assert running.take() == (11, 0)
    assert running.take(row(1, 0, "new", metered=2, open=2)) == (13, 2)
    assert running.take(row(2, 0, "old", metered=9, open=9)) == (13, 2), "a late message of a checkpoint that is no more"


def test_counters_begin_with_the_process() -> None:
    running = Running(None)  # the topic is read before the query begins
    assert running.take(row(7, 0, metered=100, open=5), row(3, 0, "dead", metered=50, open=8), new=False)[0] == 0
    running.live = "q"
    assert running.take() == (0, 5)
    assert running.take(row(8, 0, metered=104, open=6)) == (4, 6)
    assert running.take(row(8, 0, metered=104, open=6)) == (4, 6), "a batch that was repeated"
    assert running.take(row(1, 1, metered=1, open=1)) == (5, 7), "a bucket that had nothing before"


def test_the_topic_read_again_from_its_beginning_counts_once() -> None:
    running = Running()
    earlier, later = row(1, 0, metered=10), row(2, 0, metered=15)
    for _ in range(2):  # the broker was away
        running.take(earlier, new=False)
        assert running.take(later)[0] == 5


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"5", b"[]", b"{}", row(1, 0, metered="many", domain=None), b'{"query": 1, "version": {}}']
)
def test_what_is_no_account_is_ignored(value: bytes | None) -> None:
    book = AccountBook()
    book.add(row(1, 0, metered=3))
    book.add(value)
    assert book.totals()["metered"] == 3


def test_two_sensors_of_one_id_are_told_once_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(accounts.LOG, "warning", lambda text, **fields: told.append((text, fields["domain"])))
    before = metric("shared_id_messages_total", domain="tap")
    running = Running()

    def take(value: bytes, new: bool = True) -> float:
        running.take(value, new=new)
        return metric("shared_id_messages_total", domain="tap") - before

    assert take(row(1, 0, packets=5)) == 0
    assert take(row(2, 0, packets=5, **{SHARED_ID: 3}), new=False) == 0  # of before this driver began
    assert take(row(2, 0, "dead", packets=5, **{SHARED_ID: 9})) == 0
    assert told == []
    assert take(row(3, 0, packets=9, **{SHARED_ID: 4})) == 1
    assert take(row(3, 1, packets=9, **{SHARED_ID: 2})) == 3
    assert told == [("two live sensors have the same id; both are metered, but their records cannot be told apart", "tap")]


def test_only_the_query_of_the_meter_brings_the_exporter() -> None:
    threads = threading.active_count()
    made = {query.name: query.service(config.load()) for query in SOURCE.queries if query.service}
    assert {name: type(service) for name, service in made.items()} == {"meter": Exporter}
    assert threading.active_count() == threads, "nothing runs before its start"
