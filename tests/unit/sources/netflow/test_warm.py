"""What a worker's parent does before the first datagram."""

from __future__ import annotations

import pytest

from infra import config
from jobs.runtime import daemon
from jobs.runtime.session import jvm_environment
from jobs.sources.netflow import warm


@pytest.mark.slow  # compiles, where nothing was compiled yet
def test_a_record_of_each_protocol_goes_the_whole_way(capfd: pytest.CaptureFixture[str]) -> None:
    assert warm.decode() == 3
    assert capfd.readouterr().out == "", "Spark reads the daemon's port from its standard output"


@pytest.mark.parametrize("enabled", [True, False])
def test_only_sources_that_run_are_warmed(monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    settings = config.build(exported_flows={"enabled": enabled})
    for name, value in jvm_environment(settings).items():
        monkeypatch.setenv(name, value)
    names = {source.name for source in daemon.sources()}
    assert ("netflow" in names) is enabled
    assert "packets" in names
