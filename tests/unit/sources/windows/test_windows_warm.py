"""What the parent of the workers of windows does before the first message."""

from __future__ import annotations

import pytest

from infra import config
from jobs.runtime import daemon
from jobs.runtime.workers import WARM, made_ready
from jobs.sources.windows import warm


@pytest.mark.slow  # compiles, where nothing was compiled yet
def test_windows_of_each_size_are_made(capfd: pytest.CaptureFixture[str]) -> None:
    assert warm.cascade() == 2 * (36 + 6 + 1), "two sources for three minutes"
    assert capfd.readouterr().out == "", "Spark reads the port from there"


def test_workers_of_a_pool_are_ready_for_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WARM, made_ready(config.build(), ("windows",)))
    assert [source.name for source in daemon.sources()] == ["windows"]
