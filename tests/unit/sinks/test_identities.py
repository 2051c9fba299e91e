"""What the lake remembers of its own records: exactly what a set of all of them would, with few readings of the table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.sinks.identities import SLOT_US, Identities, spans


class Table:
    """A table in memory that counts how often it is read."""

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self.readings = 0

    def newest(self) -> int | None:
        return max(self.rows.values(), default=None)

    def within(self, spans: list[tuple[int, int]]) -> list[tuple[bytes, int]]:
        self.readings += 1
        return [(f, t) for f, t in self.rows.items() if any(a <= t <= b for a, b in spans)]


def arrays(flows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Flow n starts in minute n // 3."""
    return np.array([f"{n:036d}".encode() for n in flows], "S36"), np.array([n // 3 * SLOT_US + n for n in flows], np.int64)


def write(known: Identities, table: Table, flows: list[int]) -> list[int]:
    ids, starts = arrays(flows)
    fresh = known.new(ids, starts)
    table.rows.update(zip(ids[fresh].tolist(), starts[fresh].tolist(), strict=True))
    known.add(ids, starts)
    return [n for n, new in zip(flows, fresh, strict=True) if new]


@given(
    st.lists(st.one_of(st.just("restart"), st.just("lost"), st.lists(st.integers(-30, 200), min_size=1)), max_size=12), st.integers(0, 20)
)
def test_each_flow_is_new_once(steps: list[object], bound: int) -> None:
    table = Table()
    known = Identities(table, bound)
    seen: set[int] = set()
    for step in steps:
        if step == "restart":
            known = Identities(table, bound)
        elif step == "lost":
            known.forget()
        else:
            assert isinstance(step, list)
            expected = [n for i, n in enumerate(step) if n not in seen and n not in step[:i]]
            assert write(known, table, step) == expected
            seen.update(step)


def test_time_that_goes_on_reads_the_table_no_more() -> None:
    table = Table()
    known = Identities(table)
    for n in range(0, 3000, 10):
        assert len(write(known, table, list(range(n, n + 12)))) == (12 if n == 0 else 10)
    assert table.readings == 0


def test_a_failed_reading_leaves_nothing_half_read() -> None:
    table = Table()
    write(Identities(table), table, [1, 2, 100])
    known = Identities(table)
    whole = table.within

    def breaks(spans: list[tuple[int, int]]) -> list[tuple[bytes, int]]:
        raise OSError("away")

    table.within = breaks  # type: ignore[method-assign]
    with pytest.raises(OSError, match="away"):
        known.new(*arrays([1, 3]))
    table.within = whole  # type: ignore[method-assign]
    assert write(known, table, [1, 3]) == [3]


def test_memory_is_bounded() -> None:
    table = Table()
    known = Identities(table, bound=100)
    for n in range(2000):
        write(known, table, [n])
    assert len(known) <= 110
    assert write(known, table, [5]) == []


@given(st.sets(st.integers(0, 300), min_size=1), st.integers(1, 5))
def test_spans_cover_all_numbers(numbers: set[int], most: int) -> None:
    found = spans(numbers, most)
    assert len(found) <= most
    assert all(any(a <= n <= b for a, b in found) for n in numbers)
    assert all(b < c for (_, b), (c, _) in itertools.pairwise(found))
    assert len(spans({1, 2, 3, 7, 8}, 5)) == 2
