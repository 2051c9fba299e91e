"""Every expression of views and rules, evaluated by a real Prometheus that has scraped what the stream and a sensor really show."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from infra import config, metrics
from infra.process import free_port
from jobs.sinks import counters
from jobs.sources.netflow.flowcounts import FlowDelays, said
from jobs.sources.netflow.flowmetrics import ExportedFlowMetrics
from jobs.sources.packets import metrics as packets
from ops.grafana.rules import RULES
from ops.views.catalogue import views
from ops.views.macros import expand_promql
from ops.views.model import Panel
from schemas.packets import FLOWS
from schemas.windowrecords import WINDOWS
from sensors.publish.metrics import SensorCollector, serve
from sensors.publish.publisher import Counters as SensorCounters
from tests.integration.views.prometheus import PrometheusServer

pytestmark = pytest.mark.integration
#: What a label says in the tests, so that no test of others meets it.
MARK = "of_views"
#: What the text format puts behind the name of a metric, by its kind.
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


def panels() -> list[Panel]:
    return [panel for view in views([FLOWS, *WINDOWS.values()]) for panel in view.panels if panel.source == "metrics"]


def declared() -> list[MetricWrapperBase]:
    """All metrics that the modules of the stream declare."""
    found = [value for module in (metrics, counters, packets) for value in vars(module).values() if isinstance(value, MetricWrapperBase)]
    return list({id(metric): metric for metric in found}.values())


def sensor() -> SensorCounters:
    return SensorCounters(received=10, sent=9, dropped=1, clock=1_700_000_000_000_000_000)


def exporters() -> ExportedFlowMetrics:
    """Metrics of a stream that has heard of one exporter of flows."""
    shown = ExportedFlowMetrics(config.Settings(), lambda: "q")
    whose = {"query": "q", "bucket": 0, "exporter": MARK, "sender": MARK, "export_protocol": "ipfix", "exporter_domain": 0}
    counts = {"records": 9, "datagrams": 1, "lost": 1, "waiting_sets": 1, "seen_us": round(time.time() * 1e6)}
    shown.book.add(json.dumps({**whose, **counts, "version": 1}).encode())
    shown.book.add(said("q", 0, 1, {MARK: [9, 1]}, {MARK}))
    delays = FlowDelays()
    delays.note(np.array([0]), 1.0)
    shown.book.add(delays.message("q", 0, 1))
    return shown


def exported() -> set[str]:
    """Names of series that can be there, with what Prometheus' text format puts behind them."""
    families = [*(family for metric in declared() for family in metric.describe()), *SensorCollector("s", sensor).collect()]
    families += exporters().collect()
    names = {"up"}  # Prometheus' own, of each page that it scrapes
    for family in families:
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}.get(
            family.type, ("",)
        )
        names |= {family.name + ending for ending in endings}
    return names


def named(promql: str) -> set[str]:
    return set(re.findall(r"\b(?:flowlake|flowlens)_\w+|\bup\b", promql))


class TestMetricNames:
    @pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel.key)
    def test_a_panel_asks_for_what_is_exported(self, panel: Panel) -> None:
        assert named(panel.query)
        assert named(panel.query) <= exported()

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
    def test_a_rule_asks_for_what_is_exported(self, rule: Any) -> None:
        assert named(rule.query)
        assert named(rule.query) <= exported()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus on PATH: apt-get install prometheus")
    _move(1)
    heard = exporters()
    metrics.REGISTRY.register(heard)
    stream, sensors = free_port(), free_port()
    metrics.serve("127.0.0.1", stream)
    stop: Callable[[], None] = serve("127.0.0.1", sensors, MARK, sensor)
    server = PrometheusServer(
        tmp_path_factory.mktemp("prometheus"),
        config.ROOT / "infra" / "prometheus" / "prometheus.yml",
        [f"127.0.0.1:{stream}", f"127.0.0.1:{sensors}"],
    )
    try:
        server.wait(lambda: _scraped(server) >= 1, "a first scrape")
        _move(3)
        before = _scraped(server)
        server.wait(lambda: _scraped(server) >= before + 2, "two more scrapes")
        yield server
    finally:
        metrics.REGISTRY.unregister(heard)
        server.stop()
        stop()


def _scraped(server: PrometheusServer) -> int:
    """Scrapes so far of the page that has been asked least."""
    result = server.ask("query", query="count_over_time(up[1h])")["result"]
    return min((int(series["value"][1]) for series in result), default=0) if len(result) == 2 else 0


def _move(amount: float) -> None:
    """Let every metric have a series, and move it."""
    for metric in declared():
        own = metric.labels(*[MARK] * len(metric._labelnames)) if metric._labelnames else metric
        if isinstance(own, Counter):
            own.inc(amount)
        elif isinstance(own, Gauge):
            own.set(amount)
        elif isinstance(own, Histogram):
            own.observe(amount)


class TestExpressions:
    @pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel.key)
    def test_a_panel_has_an_answer_with_the_labels_of_its_legend(self, prometheus: PrometheusServer, panel: Panel) -> None:
        query = expand_promql(panel.query, interval="15s", scrape="15s")
        result = prometheus.ask("query", query=query)["result"]
        assert result, query
        wanted = set(re.findall(r"\{\{(\w+)\}\}", panel.legend))
        assert all(wanted <= set(series["metric"]) for series in result), result

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
    def test_both_sides_of_a_rule_have_series(self, prometheus: PrometheusServer, rule: Any) -> None:
        """A comparison of what is not there is no error, and never fires."""
        # As Grafana's alerting asks it; there is no answer where nothing is wrong.
        assert prometheus.ask("query", query=f"({rule.query}) * 0 + 1")["resultType"] == "vector"
        for name in named(rule.query):
            assert prometheus.ask("query", query=f"count({name})")["result"], name
        labels = set(re.findall(r"\$labels\.(\w+)", rule.summary))
        (series, *_) = prometheus.ask("query", query=sorted(named(rule.query))[0])["result"]
        assert labels <= set(series["metric"]), rule.name

    def test_rules_are_loaded_and_evaluated_without_an_error(self, prometheus: PrometheusServer) -> None:
        def evaluated() -> list[dict[str, Any]]:
            return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

        prometheus.wait(lambda: all(rule["health"] == "ok" for rule in evaluated()), "an evaluation of every rule")
        assert [rule["name"] for rule in evaluated()] == [rule.name for rule in RULES]
