"""Pictures of answers by the hour: a curve is a curve, not a row of dots, and columns are as wide as their hours."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from ops.dash import render
from ops.dash.answers import Answer
from ops.dash.span import PageSpan
from ops.views.model import Field, Kind, Panel, Source

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def drawn(kind: Kind, source: Source, hours: int, apart: timedelta) -> list[str]:
    """Paths of the curve or the columns of a range, which is answered with points so far apart."""
    count = int(hours * HOUR / apart)
    rows = tuple((START + n * apart, 1.0) for n in range(count))
    panel = Panel("a", "A", kind, source, "SELECT", "", (Field("time", "time"), Field("rows", "number")))
    shown = render.show(panel, Answer(("time", "rows"), rows), PageSpan(START, START + hours * HOUR))
    return re.findall(r'class="(?:line|column)[^"]*" d="([^"]+)"|d="([^"]+)" class="(?:line|column)', str(shown.picture))


@pytest.mark.parametrize("hours", [7, 24, 48, 24 * 7])
def test_points_of_the_rollup_are_one_curve(hours: int) -> None:
    assert len(drawn("timeseries", "hot", hours, HOUR)) == 1


def test_what_is_far_apart_is_not_joined() -> None:
    assert len(drawn("timeseries", "hot", 24, 3 * HOUR)) == 8
    assert len(drawn("timeseries", "alerts", 24, HOUR)) == 24
    assert len(drawn("timeseries", "hot", 6, HOUR)) == 6


def test_columns_are_as_wide_as_their_hours() -> None:
    (path, *_) = ("".join(found) for found in drawn("bars_over_time", "hot", 24, HOUR))
    left, right = (float(x) for x in re.findall(r"M([\d.]+) .*?H([\d.]+)", path)[0])
    assert right - left > 35  # of 1000 / 24
