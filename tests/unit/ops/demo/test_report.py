"""The report's promised keys, and its page: one file that needs nothing from anywhere."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from infra import config
from ops.demo import html, report, series, svg
from ops.harness import place, quality, stores
from ops.harness.accounts import Check
from ops.harness.traffic import Traffic
from schemas.labels import KINDS
from tests.unit.ops.demo import cases


def test_the_promised_keys_come_first_with_their_values(tmp_path: Path):
    values = report.write(cases.outcome(), tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == values
    assert list(values)[:10] == [
        "packets_sent",
        "packets_metered",
        "packets_rejected",
        "flows_closed",
        "lake_rows",
        "hot_rows",
        "alert_rows",
        "latency_ms",
        "quality",
        "seconds",
    ]
    assert [values[k] for k in list(values)[:7]] == [52, 50, 2, 5, 5, 5, 2]
    assert values["latency_ms"] == {"p50": 1200.0, "p99": 1200.0}
    assert values["rejected_by_reason"] == {"late": 2}
    assert values["alerts_by_kind"] == {"SYN_SCAN": 1, "UDP_FLOOD": 1}
    assert values["closes"] is True


def test_quality_counts_flows_against_their_truth():
    found = quality.judge(cases.closed(), cases.truth())
    assert found.ratios() == {"precision": 1.0, "recall": pytest.approx(2 / 3, abs=1e-6), "false_positive_rate": 0.0}
    assert found.confusion["SYN_FLOOD"] == {"UDP_FLOOD": 1}
    assert [(k.label, k.flows, k.flagged, k.right) for k in found.kinds if k.label == "SYN_FLOOD"] == [("SYN_FLOOD", 1, 1, 0)]


def test_without_truth_quality_is_null_and_not_zero():
    values = cases.outcome(detection=quality.judge(cases.closed(), None)).as_dict()
    assert values["quality"] == {"precision": None, "recall": None, "false_positive_rate": None}


class _Parser(HTMLParser):
    """Collects references, and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag in ("script", "link", "iframe", "img", "object", "embed"):
            self.references.append(tag)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(tag)
        else:
            self.open.pop()


OUTCOMES = {
    "generated": cases.outcome(),
    "replay": cases.outcome(source=Traffic("replay", "a<b>.pcap", speed=0.0), delay_values=[], delays={}, alerts=[]),
    "empty": cases.outcome(closed=cases.closed().slice(0, 0), alerts=[], delay_values=[], delays={}, detection=quality.Detection()),
    "open": cases.outcome(checks=[Check("lake", False, "lake: 1 missing, e.g. <id>")]),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_page_is_well_formed_and_needs_nothing_else(name: str):
    text = html.page(OUTCOMES[name])
    parser = _Parser()
    parser.feed(text)
    assert parser.faults == []
    assert parser.open == []
    assert parser.references == []
    assert not re.search(r"https?://|url\(|@import", text)
    for drawing in re.findall(r"<svg.*?</svg>", text, re.S):
        ET.fromstring(drawing)
    assert "prefers-color-scheme:dark" in text


def test_the_page_escapes_what_comes_from_traffic():
    text = html.page(OUTCOMES["generated"])
    assert "<b>10.0.0.2" not in text
    assert "&lt;b&gt;10.0.0.2" in text


@pytest.mark.parametrize("field", ["model_version", "checks", "delays", "phases", "memory_parts_mb", "detection", "totals", "source"])
def test_nothing_that_is_a_name_is_taken_for_markup(field: str):
    """Whatever reaches the page, by the way of each part of an outcome."""
    bad = "<script>x</script>&'\""
    confusion = {bad: {bad: 1}}
    values = {
        "model_version": bad,
        "checks": [Check(bad, False, bad)],
        "delays": {bad: cases.outcome().delays["capture -> alert row"]},
        "phases": {bad: 1.0},
        "memory_parts_mb": {bad: 1},
        "detection": dataclasses.replace(cases.outcome().detection, kinds=[quality.KindQuality(bad, 1, 1, 1)], confusion=confusion),
        "totals": {**cases.outcome().totals, f"rejected_{bad}": 3, f"flows_{bad}": 3},
        "source": Traffic("replay", f"x{bad.replace('/', '')}.pcap"),
    }
    text = html.page(cases.outcome(**{field: values[field]}))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_the_page_lists_the_incidents_and_every_class_of_label_has_a_colour():
    text = html.page(OUTCOMES["generated"])
    assert "<td>SYN scan: 10.0.0.1 -&gt; &lt;b&gt;many&lt;/b&gt; hosts</td>" in text
    assert "<h2>Incidents</h2>\n<p>none</p>" in html.page(cases.outcome(incidents=[]))
    for kind in KINDS:
        assert text.count(f"--{kind}: #") == 2
        assert f".c-{kind} {{" in text


def test_one_of_a_kind_is_one() -> None:
    one = dataclasses.replace(cases.alert(2, "SYN_SCAN", 800.0), flow_count=1)
    text = html.page(cases.outcome(alerts=[one], grouping=dataclasses.replace(cases.outcome().grouping, campaigns=1)))
    assert "<p>1 alert of 1 campaign:" in text
    assert "severity 5, 1 flow<" in text
    assert "2 alerts of 2 campaigns:" in html.page(OUTCOMES["generated"])


def test_an_estimate_of_sources_is_told_as_one() -> None:
    values = ["SYN_FLOOD", "flood", "", "10.0.0.2", 5, 0.9, 9000, 1.0, 1.0]
    told = {}
    for count in (600, 1024, 2744):
        row = (f"alert-{count}", *values, {"distinct_sources": count}, "")
        told[count] = html.page(cases.outcome(alerts=[stores.alert_of(row)]))
    assert "600 sources to 10.0.0.2" in told[600]
    assert "about" not in re.findall(r"<td>([^<]*600 sources[^<]*)", told[600])[0]
    assert "<td>about 1,024 sources to 10.0.0.2" in told[1024]
    assert "<td>about 2,744 sources to 10.0.0.2" in told[2744]


def test_the_page_says_when_accounts_do_not_close():
    assert "every packet and every flow is accounted for" in html.page(OUTCOMES["generated"])
    text = html.page(OUTCOMES["open"])
    assert "1 missing, e.g. &lt;id&gt;" in text
    assert "every packet and every flow" not in text


def test_series_give_every_packet_and_flow_to_some_bin():
    found = series.over_time(cases.closed(), bins=7)
    assert found is not None
    assert sum(v.sum() for v in found.packets.values()) * found.step == pytest.approx(50)
    assert sum(v.sum() for v in found.flows.values()) * found.step == pytest.approx(5)
    assert list(found.packets) == ["benign", "scan", "flood"]
    assert series.over_time(cases.closed().slice(0, 0)) is None


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 59.9), (3, 1e6), (0, 1e-4), (0, 7)])
def test_ticks_are_round_and_inside(low: float, high: float):
    found = svg.ticks(low, high)
    assert 2 <= len(found) <= 8
    assert all(low <= t <= high * (1 + 1e-9) for t in found)


def test_numbers_are_spelled_shortly():
    assert [svg.number(v) for v in (0, 0.5, 999, 1234, 12_500, 3_400_000)] == ["0", "0.5", "999", "1,234", "12.5k", "3.4M"]


def test_a_capture_whose_name_is_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = cases.outcome(source=Traffic("replay", os.fsdecode(b"/x/[red]caf\xe9.pcap")))
    outcome.sent["truncated"] = True
    assert report.write(outcome, tmp_path / "report.json")["source"]["name"] == r"/x/[red]caf\xe9.pcap"
    html.write(outcome, tmp_path / "report.html")
    assert r"[red]caf\xe9.pcap" in (tmp_path / "report.html").read_text()
    report.summary(Console(width=200), outcome, config.build(), place.place(config.build()), [], False)
    assert r"/x/[red]caf\xe9.pcap is cut or damaged" in capsys.readouterr().out
