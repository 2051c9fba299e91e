"""Summaries that are merged, piece by piece and in any order, are what one summary of all would have been."""

from __future__ import annotations

import random

import numpy as np
import pytest

from jobs.windows.blob import BlobError, pack, unpack
from jobs.windows.cascade import WindowCascade
from jobs.windows.hashing import tags
from jobs.windows.level import Level
from jobs.windows.places import Places
from jobs.windows.summary import ITEM_DTYPE, ROW_DTYPE, K, Summaries, grouped, merge, ordered, widened
from tests.unit.windows.test_windows import made

WORDS = ("first", "last", "parts", "packets_out", "bytes_in", "packets_min", "packets_max", "packets_sq")


def some(rng: np.random.Generator, n: int, most: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Rows of few sources and slots with items of few hashes, in no order."""
    rows = np.zeros(n, ROW_DTYPE)
    rows["domain"], rows["src_lo"], rows["begin"] = rng.integers(0, 2, n), rng.integers(0, 3, n), rng.integers(0, 3, n)
    for name in WORDS:
        rows[name] = rng.integers(0, 100, n)
    domains = ("a", str(rng.integers(0, 3)))
    rows["tag"] = tags(rows, domains)
    items = np.zeros(n * most, ITEM_DTYPE)
    items["row"], items["kind"] = np.repeat(np.arange(n), most), rng.integers(0, 3, n * most)
    items["hash"] = rng.integers(0, 3 * K, n * most).astype(np.uint64) << np.uint64(55)
    for name in ("packets", "bytes_out", "started", "syn"):
        items[name] = rng.integers(0, 100, n * most)
    items["when"] = np.uint64(1) << rng.integers(0, 36, n * most).astype(np.uint64)
    return rows, items, domains


@pytest.mark.parametrize("seed", range(6))
def test_any_tree_of_merges_is_one_grouping_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ("a", *map(str, range(3)))
    raw = [some(rng, int(rng.integers(1, 40)), int(rng.integers(1, 200))) for _ in range(7)]
    at, whole_rows, whole_items = 0, [], []
    for rows, items, domains in raw:
        numbers = np.array([names.index(name) for name in domains])
        whole_rows.append(rows.copy())
        whole_rows[-1]["domain"] = numbers[rows["domain"]]
        whole_items.append(items.copy())
        whole_items[-1]["row"] += at
        at += len(rows)
    expected = grouped(np.concatenate(whole_rows), np.concatenate(whole_items), names)
    parts = [grouped(*one) for one in raw]
    assert np.bincount(expected.items["row"] * 3 + expected.items["kind"]).max() == K, "some samples are full"
    for found in (merge(parts), merge([merge(parts[3:]), merge(parts[:3])]), merge(random.Random(seed).sample(parts, len(parts)))):
        assert ordered(found.rows, found.items)
        assert [found.domains[i] for i in found.rows["domain"]] == [names[i] for i in expected.rows["domain"]]
        assert np.array_equal(found.items, expected.items)
        for name in ("tag", "begin", *WORDS):
            assert np.array_equal(found.rows[name], expected.rows[name]), name


def test_windows_that_are_wider_are_grouped_again_only_where_slots_meet() -> None:
    apart, meeting = made(1, 7, 13), made(1, 2, 7)
    for records, begins in ((apart, [0, 6, 12]), (meeting, [0, 6])):
        records.rows["unseen"] = 0.5
        found = widened(records, 6)
        assert found.rows["begin"].tolist() == begins
        assert not found.rows["unseen"].any(), "it is of records of 5 s"
    assert apart.rows["begin"].tolist() == [1, 7, 13]


@pytest.mark.parametrize("what", ["rows", "items"])
def test_what_is_out_of_order_is_no_summary(what: str) -> None:
    rows, items, domains = some(np.random.default_rng(1), 20, 9)
    good = grouped(rows, items, domains)
    assert np.array_equal(unpack(pack(good))[1].items, good.items)
    bad = Summaries(good.rows[::-1] if what == "rows" else good.rows, good.items[::-1] if what == "items" else good.items, domains)
    with pytest.raises(BlobError, match="out of order"):
        unpack(pack(bad))


def test_pieces_of_like_size_become_one_as_they_come_and_a_large_one_is_left_alone() -> None:
    rng = np.random.default_rng(2)
    pieces = [grouped(*some(rng, 30, 5)) for _ in range(64)]
    level = Level(36)
    for piece in pieces:
        level.add(piece)
    together = level.together()
    assert len(level.pieces) <= 6
    assert np.array_equal(together.items, merge(pieces).items)
    level.put_instead(merge([made(slot, domain=f"d{slot}") for slot in range(300)]))
    (large,) = level.pieces
    for slot in range(9):
        level.add(made(slot))
    assert large in level.pieces
    assert len(level.pieces) < 5


def test_parts_of_a_slot_are_not_written_twice() -> None:
    cascade = WindowCascade()
    for _ in range(9):
        cascade.take(made(0), {})
    assert len(cascade.levels[5].pieces) == 9


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000])
def test_hashes_are_found_where_they_lie(n: int) -> None:
    rng = np.random.default_rng(n)
    hashes = np.unique(np.concatenate([rng.integers(0, 2**64, n, np.uint64), np.array([0, 2**64 - 1], np.uint64)[: n // 2]]))
    places = Places(hashes)
    wanted = np.concatenate([hashes, hashes + np.uint64(1), rng.integers(0, 2**64, 50, np.uint64)])
    at = {int(tag): i for i, tag in enumerate(hashes)}
    assert places.find(wanted).tolist() == [at.get(int(tag), -1) for tag in wanted]
    close = Places(np.arange(500, dtype=np.uint64))
    assert close.find(np.array([0, 499, 500], np.uint64)).tolist() == [0, 499, -1]
