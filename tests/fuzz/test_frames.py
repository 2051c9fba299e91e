"""Damaged frames: no crash, every packet metered or rejected for one reason, every value finite, all of it as the oracle has it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.fuzz import check, mutate, shrink
from tests.fuzz.budget import rounds
from tests.fuzz.corpus import Seed
from tests.oracle.meter import Frame

SEED = 20_240_501


def _report(frame: Frame) -> str:
    """A difference in one frame, made small."""
    small = shrink.frame(frame, lambda f: bool(check.frame_faults([f])))
    ((_, text),) = check.frame_faults([small])
    return f"{text}\nFrame(0, bytes.fromhex({small.data.hex()!r}), {small.link_type}, {small.wire})"


def test_the_sound_ones(corpus: Sequence[Seed]) -> None:
    frames = [Frame(mutate.T0, data, link_type) for link_type, data in corpus]
    for i, _ in check.frame_faults(frames):
        pytest.fail(_report(frames[i]))


def test_every_cut_of_every_wrapping(corpus: Sequence[Seed]) -> None:
    """A capture may end behind any byte of the headers."""
    some = {(link_type, data[:80]): (link_type, data) for link_type, data in corpus}
    for i, (link_type, data) in enumerate(list(some.values())[::29]):
        frames = [Frame(mutate.T0, data[:n], link_type, len(data)) for n in range(min(len(data), 200))]
        for k, _ in check.frame_faults(frames):
            pytest.fail(f"seed {i}: {_report(frames[k])}")


def test_damaged_frames_are_read_as_the_oracle_reads_them(corpus: Sequence[Seed]) -> None:
    for i in rounds(0.4):
        r = random.Random(f"{SEED} frames {i}")
        frames = [mutate.frame(r, corpus) for _ in range(500)]
        for k, _ in check.frame_faults(frames):
            pytest.fail(f"round {i}: {_report(frames[k])}")


def test_damaged_sequences_are_metered_as_the_oracle_meters_them(corpus: Sequence[Seed]) -> None:
    for i in rounds(0.3):
        frames = mutate.sequence(random.Random(f"{SEED} sequences {i}"), corpus)
        if check.record_faults(frames):
            small = shrink.frames(frames, lambda fs: bool(check.record_faults(fs)))
            pytest.fail("\n".join([f"round {i}", *check.record_faults(small), *map(repr, small)]))
