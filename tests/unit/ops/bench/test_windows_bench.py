"""What ``flowlake bench windows`` computes besides running streams."""

from __future__ import annotations

import pytest

from infra import config
from infra.errors import ConfigError
from jobs.windows.bounds import Bounds
from ops.bench import windows


def test_the_cascade_is_timed_by_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_SLOTS", 37)
    found = windows.by_sources(50, say=lambda line: None)
    assert found["sources"] == 50
    assert found["records"] == 50 * (37 + 6 + 1), "the last slot's larger windows are still open"
    assert found["us_per_record"] > 0


def test_a_flood_is_bounded() -> None:
    found = windows.flood(batches=3, slots=2, bounds=Bounds(1000, 3000), say=lambda line: None)
    assert found["forged_sources"] == 3 * 2 * 5600
    assert found["windows"] <= 2 * 1000
    assert found["folded"] > 0.9 * found["forged_sources"]


def test_delays_leave_the_beginning_out() -> None:
    delays = windows.Delays()
    delays.add([10_000.0] * 20 + [800.0] * 80)
    assert delays.summary()["p50"] == 800.0


def test_what_is_measured_is_kept_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "by_sources", lambda sources, say: {"sources": sources})
    monkeypatch.setattr(windows, "flood", lambda say: {"windows": 1})
    kept: list[list[str]] = []
    found = windows.run(config.build(), seconds=1.0, repeats=1, only=("sources", "flood"), kept=lambda result: kept.append([*result]))
    assert kept == [["sources"], ["sources", "flood"]]
    assert [one["sources"] for one in found["sources"]] == list(windows.SOURCES)


def test_a_part_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="--only rate") as failure:
        windows.run(config.build(), seconds=1.0, repeats=1, only=("rate",))
    assert "ratio, delay, sources, flood" in str(failure.value.hint)
