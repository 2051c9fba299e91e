"""Panels of metrics, asked of a real Prometheus, and what they say while none answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from infra import config
from infra.config import Settings
from infra.errors import StoreError
from ops.dash import prometheus, span
from ops.dash.site import Site
from ops.views.model import Panel
from tests.integration.views.prometheus import PrometheusServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus that has scraped two running queries, of which one is behind."""
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus on PATH: apt-get install prometheus")
    registry = CollectorRegistry()
    running = Gauge("flowlake_query_active", "1 while the query runs", ["query"], registry=registry)
    behind = Gauge("flowlake_kafka_lag_messages", "Messages not read", ["query", "topic"], registry=registry)
    for query, messages in (("<b>meter</b>", 7), ("lake", 0)):
        running.labels(query=query).set(1)
        behind.labels(query=query, topic="predictions").set(messages)
    page, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    folder, configuration = tmp_path_factory.mktemp("prometheus"), config.ROOT / "infra" / "prometheus" / "prometheus.yml"
    server = PrometheusServer(folder, configuration, [f"127.0.0.1:{page.server_port}"])
    server.wait(lambda: len(server.ask("query", query="flowlake_query_active")["result"]) == 2, "a scrape")
    yield server
    server.stop()
    page.shutdown()
    thread.join()


def test_figures_are_those_of_prometheus(scraped: PrometheusServer, settings: Callable[..., Settings]) -> None:
    site = Site(settings(dash={"prometheus": scraped.url}))
    until = (datetime.now(UTC) + timedelta(minutes=2)).isoformat()  # a point a minute, the newest one among them
    found = site.data(site.view("pipeline"), span.read("now-15m", until), {})
    panels = {panel["key"]: panel for panel in found["panels"]}
    assert [panels[key]["rows"][0][-1] for key in ("running", "behind")] == [2.0, 7.0]
    lag = panels["lag"]
    assert lag["columns"] == ["time", "metric", "value"]
    assert {(metric, value) for _, metric, value in lag["rows"]} == {("<b>meter</b> predictions", 7.0), ("lake predictions", 0.0)}
    board = site.board(site.view("pipeline"), span.read("now-15m", until), {})
    html = {panel.key: panel.html for panel in board.panels}
    assert "&lt;b&gt;meter&lt;/b&gt; predictions" in html["lag"]
    assert "<b>meter" not in html["lag"]
    site.close()


def test_a_question_that_is_none_and_a_server_that_is_away_are_said(scraped: PrometheusServer) -> None:
    panel = Panel("odd", "Odd", "stat", "metrics", "sum(", "")
    with pytest.raises(StoreError, match="parse error"):
        prometheus.ask(scraped.url, panel, span.read("", ""), timedelta(minutes=1), 5)
    with pytest.raises(StoreError, match="does not answer"):
        prometheus.ask("http://127.0.0.1:1", panel, span.read("", ""), timedelta(minutes=1), 5)


def test_without_one_the_panels_say_what_to_name(settings: Callable[..., Settings]) -> None:
    site = Site(settings())
    view = site.view("pipeline")
    asked = {panel.key for panel in view.panels if panel.source == "metrics"}
    found = [panel for panel in site.data(view, span.read("", ""), {})["panels"] if panel["key"] in asked]
    assert len(found) > 10
    assert {panel["error"] for panel in found} == {"needs a Prometheus that scrapes flowlake"}
    assert all("FLOWLAKE_DASH__PROMETHEUS" in panel["hint"] for panel in found)
    site.close()
