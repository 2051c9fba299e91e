"""What a source may declare of the life of its hot table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from infra.sections import HotSettings
from jobs.hotstore import partitions, retention
from jobs.hotstore.shape import FIRST, Shape, Span, TableKind, midnight
from schemas.network_flows import HOURLY_ATTACKS, NETWORK_FLOWS
from schemas.packets import FLOWS
from schemas.records import Aggregate, Life


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"group_by": ("src",)}, "rollup 'hourly_attack_stats': no column 'src'"),
        ({"name": "network_flows"}, "another than the table's"),
        ({"name": "Hourly"}, "its name must match"),
        ({"bucket": "The Hour"}, "'The Hour' must match"),
        ({"aggregates": (Aggregate("hour", "count(*)"),)}, "column 'hour' is there twice"),
        ({"hours": 0}, "there must be two buckets"),
        ({"start_offset_hours": 2}, "there must be two buckets of 1 h"),
        ({"end_offset_hours": -1}, "there must be two buckets"),
    ],
)
def test_a_rollup_that_cannot_be_is_refused_when_it_is_declared(wrong: dict[str, object], said: str) -> None:
    rollup = replace(HOURLY_ATTACKS, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="record type flows: ") as refused:
        replace(FLOWS, hot=replace(NETWORK_FLOWS, rollups=(rollup,)))
    assert said in str(refused.value)


def test_rows_are_laid_out_by_a_time() -> None:
    with pytest.raises(ValueError, match="'flow_id', the first of its key, must be timestamptz"):
        replace(FLOWS, hot=replace(NETWORK_FLOWS, key=("flow_id", "timestamp"), rollups=()))


def test_what_a_table_declares_of_its_life_goes_before_the_settings() -> None:
    now = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
    settings = HotSettings(retention_days=10)
    assert retention.cutoff(settings, NETWORK_FLOWS, now) == datetime(2026, 11, 17, tzinfo=UTC)
    assert retention.cutoff(settings, replace(NETWORK_FLOWS, life=Life(retention_days=3)), now) == datetime(2026, 11, 24, tzinfo=UTC)
    assert retention.cutoff(HotSettings(retention_days=10**9), NETWORK_FLOWS, now).year == 1


def test_days_ahead_and_days_that_are_too_old() -> None:
    today = date(2026, 2, 28)
    spans = (
        Span("t_legacy", FIRST, midnight(date(2026, 2, 10))),
        Span("t_p20260228", midnight(today), midnight(date(2026, 3, 1))),
    )
    shape = Shape(TableKind.PARTITIONED, spans, "t_default")
    assert partitions.ahead(shape, today, 2) == [date(2026, 3, 1), date(2026, 3, 2)]
    assert [span.name for span in retention.old(shape, midnight(date(2026, 2, 10)))] == ["t_legacy"]
    assert retention.old(shape, midnight(date(2026, 2, 9))) == []
    assert retention.places(NETWORK_FLOWS, shape, midnight(date(2026, 2, 9))) == ["t_legacy", "t_default"]
    assert retention.places(NETWORK_FLOWS, Shape(TableKind.HEAP), midnight(today)) == ["network_flows"]
