"""What is told of exported flows: sums by exporter and quantiles, whatever comes twice, and however many exporters there are."""

from __future__ import annotations

import json
import math

import numpy as np
from prometheus_client import CollectorRegistry

from infra.config import Settings
from jobs.flowexport.datagrams import address16
from jobs.sources.netflow import flowcounts
from jobs.sources.netflow.flowcounts import FlowDelays
from jobs.sources.netflow.flowmetrics import ExportedFlowMetrics, FlowAccountBook


def columns(*exporters: str) -> dict[str, np.ndarray]:
    return {"exporter": np.frombuffer(b"".join(map(address16, exporters)), np.uint8).reshape(-1, 16)}


def session(exporter: str, version: int = 1, **counts: int) -> bytes:
    whose = {"query": "q", "bucket": 0, "exporter": exporter, "sender": exporter, "export_protocol": "netflow-v9", "exporter_domain": 0}
    return json.dumps({**whose, "version": version, **counts}).encode()


def test_records_and_duplicates_are_counted_by_exporter() -> None:
    told: dict[str, list[int]] = {}
    whose = np.zeros((4, 16), np.uint8)
    whose[1] = 1
    names = flowcounts.count(told, columns("192.0.2.1", "192.0.2.1", "2001:db8::1", "192.0.2.1"), whose)
    assert told == {"192.0.2.1": [3, 1], "2001:db8::1": [1, 0]}
    assert names == set(told)


def test_exporters_without_end_are_counted_together() -> None:
    told: dict[str, list[int]] = {}
    many = [f"10.{n // 65536}.{n // 256 % 256}.{n % 256}" for n in range(flowcounts.MOST_EXPORTERS + 50)]
    flowcounts.count(told, columns(*many), np.zeros((len(many), 16), np.uint8))
    assert len(told) == flowcounts.MOST_EXPORTERS + 1
    assert told[flowcounts.OTHERS] == [50, 0]


def test_quantiles_are_those_of_the_values() -> None:
    took = np.random.default_rng(3).lognormal(-1, 1, 20_000)
    delays = FlowDelays()
    delays.note(np.round((1000 - took) * 1e6).astype(np.int64), 1000.0)
    back = FlowDelays.of(json.loads(delays.message("q", 0, 1))["delays"])
    assert back.records == len(took)
    assert math.isclose(back.seconds, took.sum(), rel_tol=1e-4)
    for share in (0.5, 0.9, 0.99):
        assert math.isclose(back.quantile(share), np.quantile(took, share), rel_tol=0.06)
    assert math.isnan(FlowDelays().quantile(0.5))


def test_a_copy_counts_once_and_what_is_no_account_not_at_all() -> None:
    now = [0.0]
    book = FlowAccountBook(lambda: now[0])
    delays = FlowDelays()
    delays.note(np.array([0, 0]), 1.0)
    for _ in range(2):
        book.add(session("192.0.2.1", records=5))
        book.add(flowcounts.said("q", 0, 1, {"192.0.2.1": [5, 2]}, {"192.0.2.1"}))
        book.add(delays.message("q", 0, 0))
    book.add(flowcounts.said("q", 1, 1, {"192.0.2.1": [1, 0]}, {"192.0.2.1"}))
    book.add(flowcounts.said("another", 1, 1, {"192.0.2.1": [9, 9]}, {"192.0.2.1"}))
    for odd in (None, b"{", b"[]", b'{"exporter": "x"}', b'{"flow_bucket": 0, "query": "q", "version": 9, "delays": {}}'):
        book.add(odd)
    assert [row["records"] for row in book.sessions("q")] == [5]
    assert book.processed("q") == {"192.0.2.1": (6, 2)}
    assert (book.delays("q")[0].records, book.delays("q")[1]) == (2, 2)
    now[0] = 601.0
    assert (book.delays("q")[0].records, book.delays("q")[1]) == (0, 2), "the quantiles are of the last minutes, the sums are not"


def test_labels_are_bounded() -> None:
    registry = CollectorRegistry()
    shown = ExportedFlowMetrics(Settings(), lambda: "q", registry)
    for n in range(flowcounts.MOST_EXPORTERS + 5):
        shown.book.add(session(f"10.1.{n // 256}.{n % 256}", datagrams=1, records=2, lost=1))
    registry.register(shown)
    (received,) = [metric for metric in registry.collect() if metric.name == "flowlens_flows_received"]
    assert len(received.samples) == flowcounts.MOST_EXPORTERS + 1
    assert registry.get_sample_value("flowlens_flows_received_total", {"exporter": flowcounts.OTHERS}) == 10
    assert registry.get_sample_value("flowlens_export_lost_total", {"exporter": "10.1.0.7", "export_protocol": "netflow-v9"}) == 1
