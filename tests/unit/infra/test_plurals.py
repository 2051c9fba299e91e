"""One of a thing is not many."""

from __future__ import annotations

from infra.plurals import counted, so_many


def test_numbers_of_things() -> None:
    assert [counted(n, "alert") for n in (0, 1, 2, 2743)] == ["0 alerts", "1 alert", "2 alerts", "2,743 alerts"]
    assert counted(3, "whitelist entry", "whitelist entries") == "3 whitelist entries"
    assert [so_many(20, n, "alert") for n in (20, 32, 1000)] == ["20 alerts", "20 of 32 alerts", "20 of 1,000 alerts"]
    assert so_many(1, 1, "entry", "entries") == "1 entry"
