"""The benchmark of alerts runs, and what it says is what it wrote."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.config import Settings
from ops.bench import alerts

pytestmark = pytest.mark.integration


def test_alerts_are_written_grouped_and_bounded(settings: Callable[..., Settings]) -> None:
    said: list[str] = []
    result = alerts.run(settings(), seconds=2, storm=3000, say=said.append)
    assert (result["alerts"], result["incidents"]) == (200, 50)
    assert result["alerts_per_s"] > 0
    assert result["storm"]["rows"]["alerts"] == 1001
    assert result["storm"]["rows"]["incidents"] == 1
    assert result["storm"]["rows"]["counted"] == 2000
    assert said[-1] == "3,000 forged sources"
