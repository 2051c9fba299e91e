"""Random sampling of packets: one of each N."""

from __future__ import annotations

import numpy as np
import pytest

from sensors.packets.thinning import PacketSampler


def taken(every: int, pieces: list[int], seed: int = 0) -> list[int]:
    sampler, found, at = PacketSampler(every, seed), [], 0
    for n in pieces:
        found += (sampler.take(n) + at).tolist()
        at += n
    assert (sampler.seen, sampler.taken) == (sum(pieces), len(found))
    return found


def test_one_of_each_group_however_packets_are_cut() -> None:
    whole = taken(10, [1000])
    assert [k // 10 for k in whole] == list(range(100))
    assert taken(10, [1] * 1000) == taken(10, [0, 3, 997]) == whole


def test_every_place_of_a_group_is_as_likely_as_another() -> None:
    places = np.bincount(np.array(taken(8, [80_000])) % 8, minlength=8)
    assert places.sum() == 10_000
    assert np.abs(places - 1250).max() < 5 * np.sqrt(1250 * 7 / 8)


def test_another_seed_takes_others_and_without_sampling_all_are_taken() -> None:
    assert taken(10, [1000], seed=1) != taken(10, [1000], seed=2)
    assert taken(1, [3, 4]) == list(range(7))


def test_the_last_group_may_have_none() -> None:
    assert {len(taken(100, [30], seed)) for seed in range(50)} == {0, 1}


def test_no_sampling_of_nothing() -> None:
    with pytest.raises(ValueError, match="1 of 0 packets"):
        PacketSampler(0)
