"""What ``flowlake bench windows`` computes besides running streams."""

from __future__ import annotations

import pytest

from ops.bench import windows


def test_the_cascade_is_timed_by_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_SLICES", 300)
    monkeypatch.setattr(windows, "_SLOTS", 37)
    found = windows.by_sources(50, say=lambda line: None)
    assert found["sources"] == 50
    assert found["records"] == 50 * (37 + 6 + 1), "the last slot's larger windows are still open"
    assert found["us_per_record"] > 0


def test_a_flood_is_bounded() -> None:
    found = windows.flood(batches=3, slots=2, bounds=windows.Bounds(1000, 3000), say=lambda line: None)
    assert found["forged_sources"] == 3 * 2 * 5600
    assert found["windows"] <= 2 * 1000
    assert found["folded"] > 0.9 * found["forged_sources"]


def test_delays_leave_the_beginning_out() -> None:
    delays = windows.Delays()
    delays.add([10_000.0] * 20 + [800.0] * 80)
    assert delays.summary()["p50"] == 800.0
