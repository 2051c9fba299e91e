"""Tables of a collector that stores flows itself are known where its settings say that it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.config import Settings
from jobs.asking import tables
from ops.cli.db import components


@pytest.mark.parametrize(("mode", "known"), [("kafka", False), ("direct", True), ("auto", True)])
def test_flow_raw_is_migrated_and_asked_where_it_is_written(mode: str, known: bool, settings: Callable[..., Settings]) -> None:
    own = settings(netflow_sensor={"mode": mode, "raw_retention_days": 9})
    migrated = {component.name: component for component in components(own)}
    assert ("flow_raw" in migrated) == ("flow_raw_quarantine" in migrated) == known
    assert ("hot.public.flow_raw" in {table.qualified for table in tables.tables(own)}) == known
    assert [table.life.retention_days for table in own.catalogue.tables(own)] == [9, 9, 9] * known
