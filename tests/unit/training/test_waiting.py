"""Signs of life: as long as the work lasts, and no longer."""

from __future__ import annotations

import threading

import pytest

from jobs.training.waiting import EVERY_S, signs_of_life


def test_what_takes_long_is_told_of_until_it_ends() -> None:
    said, twice = list[str](), threading.Event()

    def progress(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            twice.set()

    with signs_of_life("fitting", progress, every_s=0.01):
        assert twice.wait(60)
    told = len(said)
    assert said[0] == "fitting: 0 s so far"
    assert not [thread for thread in threading.enumerate() if thread.name == "signs-of-life"]
    assert len(said) == told


def test_what_fails_or_is_quick_says_nothing_more() -> None:
    said: list[str] = []
    assert EVERY_S > 1
    with pytest.raises(ValueError, match="no"), signs_of_life("fitting", said.append):
        raise ValueError("no")
    assert said == []
    assert not [thread for thread in threading.enumerate() if thread.name == "signs-of-life"]
