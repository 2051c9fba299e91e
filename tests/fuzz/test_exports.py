"""Damaged datagrams of flow export: no crash, no loop, every record and datagram counted, bounded memory, values that can be."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import exports
from tests.fuzz.budget import rounds

SEED = 20_261_128


@pytest.fixture(scope="module")
def datagrams() -> list[bytes]:
    return exports.seeds()


def test_the_sound_ones(datagrams: list[bytes]) -> None:
    assert exports.faults(datagrams) == []


def test_every_cut_of_every_datagram(datagrams: list[bytes]) -> None:
    for i, whole in enumerate(datagrams[:14]):
        cuts = [whole[:n] for n in range(0, len(whole), 1 + len(whole) // 150)]
        assert exports.faults([*cuts, whole]) == [], f"datagram {i}"


def test_what_was_found_before(datagrams: list[bytes]) -> None:
    """Records of one layout, of exporters of which one says when it started and the other does not."""
    some = [d for d in datagrams if d[:2] in (b"\0\x09", b"\0\x0a")]
    assert exports.faults([d for pair in zip(some, reversed(some), strict=True) for d in pair]) == []


def test_damaged_datagrams(datagrams: list[bytes]) -> None:
    for i in rounds(0.4, least=20):
        some = exports.sequence(random.Random(f"{SEED} {i}"), datagrams)
        found = exports.faults(some)
        assert found == [], f"round {i}: {[d.hex() for d in some]}"
