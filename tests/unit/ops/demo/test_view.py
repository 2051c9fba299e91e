"""What a person sees while a demo runs."""

from __future__ import annotations

import io

from rich.console import Console

from ops.demo import view
from ops.harness.outcome import Now
from tests.unit.ops.demo import cases

NOW = Now(
    phase="sending",
    seconds=12.3,
    sent=16_800,
    share=0.25,
    totals={"metered": 16_100, "rejected": 12, "open": 120, "flows": 800},
    lag={"meter": 3, "hot": 0},
    alerts=[cases.alert(1, "SYN_SCAN", 700.0), cases.alert(2, "UDP_FLOOD", 900.0)],
    rows={"lake": 640, "hot": 790, "alerts": 2},
    delays={"capture -> broker": {"p50": 61.0, "p99": 120.0}},
    memory={"kafka": 400, "stream": 1800},
)


def test_the_line_holds_every_number():
    line = view.progress_line(NOW)
    for text in (
        "16,800 sent (25%)",
        "16,100 metered",
        "12 rejected",
        "120 open",
        "800 closed",
        "alerts 2",
        "lake 640",
        "hot 790",
        "lag meter 3",
    ):
        assert text in line


def test_the_page_shows_numbers_delays_and_the_newest_alerts_first():
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(view.render(NOW))
    text = console.export_text()
    for part in ("16,800", "16,100", "SYN_SCAN", "UDP_FLOOD", "<b>10.0.0.2</b>", "61", "120", "2,200"):
        assert part in text
    assert text.index("UDP_FLOOD") < text.index("SYN_SCAN")


def test_the_page_can_be_drawn_before_anything_is_known():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(view.render(Now()))
    assert "packets sent" in console.export_text()
