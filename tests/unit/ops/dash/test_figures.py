"""Curves and columns: where points lie, and that nothing but numbers and escaped words gets into the picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.dash import figures
from ops.dash.figures import Axes, NamedSeries

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SVG = "{http://www.w3.org/2000/svg}"


def draw(series: list[NamedSeries], *, columns: bool = False, stacked: bool = False, span: timedelta = 10 * MINUTE) -> ET.Element:
    axes = Axes(START, START + span, MINUTE, figures.top_of(series, stacked))
    picture = figures.picture(series, axes, "a <label> & 'more'", lambda v: f"<{v:g}>", columns=columns, stacked=stacked)
    return ET.fromstring(str(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def points(*values: float | None) -> tuple[tuple[datetime, float | None], ...]:
    return tuple((START + i * MINUTE, value) for i, value in enumerate(values))


def paths(root: ET.Element, kind: str) -> list[str]:
    return [p.attrib["d"] for p in root.iter(f"{SVG}path") if kind in p.attrib["class"].split()]


def test_a_curve_goes_through_its_points() -> None:
    (path,) = paths(draw([NamedSeries("a", points(0, 4, 2))]), "line")
    assert path == "M0.0 100.00L100.0 0.00L200.0 50.00"


def test_a_gap_is_not_bridged() -> None:
    drawn = paths(draw([NamedSeries("a", points(1, 1, None, 1)), NamedSeries("b", points(1))]), "line")
    assert len(drawn) == 3  # of a two pieces, the second a dot
    far = NamedSeries("a", ((START, 1.0), (START + 5 * MINUTE, 1.0)))
    assert len(paths(draw([far]), "line")) == 2


def test_columns_stand_on_each_other_or_side_by_side() -> None:
    series = [NamedSeries("a", points(1)), NamedSeries("b", points(3))]
    assert paths(draw(series, columns=True, stacked=True), "column") == [
        "M0.00 100.00V75.00H99.00V100.00Z",
        "M0.00 75.00V0.00H99.00V75.00Z",
    ]
    beside = paths(draw(series, columns=True), "column")
    assert [re.match(r"M([0-9.]+) ", path)[1] for path in beside] == ["0.00", "50.00"]  # type: ignore[index]


def test_words_are_escaped() -> None:
    root = draw([NamedSeries("a", points(1))])
    assert root.attrib["aria-label"] == "a <label> & 'more'"
    assert {"<0.25>", "<0.5>", "<0.75>", "<1>"} <= {t.text for t in root.iter(f"{SVG}text")}
    assert not [e for e in root.iter() if "style" in e.attrib]


@given(st.floats(min_value=1e-9, max_value=1e15))
def test_the_axis_holds_the_value_and_wastes_little(value: float) -> None:
    top = figures.nice_top(value)
    assert value <= top * 1.00001
    assert top <= value * 2.51 or top == 4


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 5e-324, 1e-310])
def test_an_axis_without_values_is_an_axis(value: float) -> None:
    assert figures.nice_top(value) == 4


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=12), st.booleans(), st.booleans(),
    st.integers(1, 400_000),
)  # fmt: skip
def test_whatever_comes_is_a_picture(values: list[float | None], columns: bool, stacked: bool, seconds: int) -> None:
    root = draw(
        [NamedSeries("a", points(*values)), NamedSeries("b", points(*values[::-1]))],
        columns=columns,
        stacked=stacked,
        span=timedelta(seconds=seconds),
    )
    numbers = [float(n) for path in root.iter(f"{SVG}path") for n in re.findall(r"-?[0-9][0-9.e+-]*", path.attrib["d"])]
    assert not [n for n in numbers if n != n]
    assert len([t for t in root.iter(f"{SVG}text") if t.text]) >= 1


def test_bars_are_shares() -> None:
    assert 'width="25.0%"' in figures.bar(0.25)
    assert 'width="100.0%"' in figures.bar(7)
    assert 'width="0.5%"' in figures.bar(0)
