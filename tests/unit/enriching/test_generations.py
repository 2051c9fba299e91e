"""What a bounded memory keeps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.enriching.generations import GenerationCache
from jobs.enriching.pacing import LookupPace
from tests.unit.enriching.endpoints import Clock


@given(st.integers(2, 20), st.lists(st.tuples(st.booleans(), st.integers(0, 30))))
def test_it_is_bounded_and_never_wrong(entries: int, acts: list[tuple[bool, int]]) -> None:
    cache: GenerationCache[int, int] = GenerationCache(entries)
    truth: dict[int, int] = {}
    for n, (put, key) in enumerate(acts):
        if put:
            cache.put(key, n)
            truth[key] = n
            assert cache.get(key) == n
        else:
            assert cache.get(key) in (None, truth.get(key))
        assert len(cache) <= entries


def test_what_is_asked_for_stays() -> None:
    cache: GenerationCache[int, str] = GenerationCache(10)
    for n in range(100):
        cache.put(n, "x")
        cache.put(-1, "mine") if n == 0 else cache.get(-1)
    assert cache.get(-1) == "mine"
    assert cache.get(0) is None
    cache.clear()
    assert len(cache) == 0


def test_a_pace_is_kept() -> None:
    clock = Clock()
    pace = LookupPace(10, clock)
    waits = [pace.wait() for _ in range(5)]
    assert [round(w, 6) for w in waits] == [0, 0, 0.1, 0.2, 0.3]
    clock.now += 100  # what was not used is not saved up
    assert [round(pace.wait(), 6) for _ in range(4)] == [0, 0, 0.1, 0.2]
    slow = LookupPace(0.1, clock)
    assert [round(slow.wait(), 6) for _ in range(3)] == [0, 0, 10]
