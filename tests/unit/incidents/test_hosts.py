"""How many hosts: addresses while they are few, else a number, and never a number that is not known."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.incidents.hosts import SideHosts
from schemas.alerts import SAMPLE_SIZE, SKETCH_SIZE

A, B, C, D = (f"192.0.2.{n}" for n in range(1, 5))


def crowd(first: int, count: int) -> SideHosts:
    """An alert of so many hosts, of which it names some."""
    return SideHosts((), tuple(f"10.0.0.{n}" for n in range(first, first + SAMPLE_SIZE)), count, count, count >= SKETCH_SIZE)


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        (SideHosts(), "many hosts"),
        (SideHosts(unknown=True), "many hosts"),
        (SideHosts((A,)), A),
        (SideHosts((A, B)) | SideHosts((B, C)), f"{A}, {B} (shop), {C}"),
        (SideHosts((A, B)) | SideHosts((C, D)), "4 hosts"),
        (SideHosts((A,)) | SideHosts(unknown=True), f"{A} and others"),
        (SideHosts((A, B, C, D)) | SideHosts(unknown=True), "4 hosts or more"),
        (crowd(0, 300), "300 hosts"),
        (crowd(0, 2744), "about 2,744 hosts"),
        (crowd(0, 29) | SideHosts((A,)), "about 29 hosts"),
        (crowd(0, 29) | SideHosts(("10.0.0.7",)), "29 hosts"),
        (crowd(0, 300) | crowd(100, 200), "300 hosts or more"),
        (crowd(0, 2744) | crowd(100, 1100), "about 2,744 hosts or more"),
        (crowd(0, 21) | crowd(100, 21), "about 40 hosts"),
    ],
)
def test_words(hosts: SideHosts, words: str) -> None:
    assert hosts.words({B: "shop"}) == words


def test_who_is_on_both_sides_is_told_once() -> None:
    assert SideHosts((A, B)).without(SideHosts((B,))) == SideHosts((A,))
    assert SideHosts((A,)).without(SideHosts((A,))) == SideHosts((A,))
    assert (crowd(0, 29) | SideHosts((A,))).without(SideHosts((A,))).words({}) == "29 hosts"


ALERTS = st.lists(st.sets(st.integers(1, 60), min_size=1, max_size=40), min_size=1, max_size=6)


@given(ALERTS)
def test_what_is_said_holds_of_the_hosts_that_there_are(alerts: list[set[int]]) -> None:
    sides = []
    for hosts in alerts:
        named = tuple(f"10.0.0.{n}" for n in sorted(hosts)[:SAMPLE_SIZE])
        sides.append(SideHosts(named) if len(hosts) <= SAMPLE_SIZE else SideHosts((), named, len(hosts), len(hosts)))
    joined = SideHosts.joined(sides)
    assert set(joined.whole) == set(reduce(lambda a, b: b | a, reversed(sides), SideHosts()).whole)
    there = len(set().union(*alerts))
    words = joined.words({})
    if "hosts" not in words:
        assert len(words.split(", ")) == there
    elif words.endswith("or more"):
        assert int(words.split()[0]) <= there
    elif words.startswith("about"):
        assert int(words.split()[1]) <= there <= 1.1 * int(words.split()[1])
    else:
        assert int(words.split()[0]) == there
