"""What is kept of a bucket between two batches comes back as it was, in whatever worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from infra.errors import CheckpointError
from jobs.flowexport.duplicates import FlowOwners
from jobs.sources.netflow import held
from tests.unit.flowexport import wire
from tests.unit.flowexport.test_duplicates import A, B, S, marks, seen


class PieceDict:
    """Pieces in memory, as Spark's map keeps them."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}

    def get(self, key: int, nonce: bytes) -> bytes | None:
        return self.pieces.get(key)

    def put(self, key: int, nonce: bytes, piece: bytes, plain: Callable[[], bytes]) -> None:
        self.pieces[key] = piece

    def remove(self, key: int, nonce: bytes) -> None:
        del self.pieces[key]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    held.clear_cache()
    yield
    held.clear_cache()


@pytest.mark.parametrize("forgotten", [True, False])
def test_templates_are_known_in_the_next_batch(forgotten: bool) -> None:
    collector = wire.Collector()
    known = held.load_exporters("q", 0, None)
    collector.sessions = known.sessions
    collector.feed(wire.v9(wire.templates9(wire.template(256, wire.PLAIN)), sequence=1))
    meta = held.save_exporters("q", 0, known)
    if forgotten:
        held.clear_cache()
    again = held.load_exporters("q", 0, meta)
    assert again.version == 1
    collector.sessions = again.sessions
    assert len(collector.feed(wire.v9(wire.data(256, wire.plain()), sequence=2))) == 1


def test_a_batch_that_is_done_again_begins_where_it_began() -> None:
    known = held.load_exporters("q", 0, None)
    meta = held.save_exporters("q", 0, known)
    other = held.load_exporters("q", 0, meta)
    held.save_exporters("q", 0, other)  # a batch that was never committed
    assert held.load_exporters("q", 0, meta).version == 1


@pytest.mark.parametrize("forgotten", [True, False])
def test_claims_come_back(forgotten: bool) -> None:
    store = PieceDict()
    known = held.load_owners("q", 1, None, store, keep_us=300 * S, most=1000)
    marks(known.owners, seen((A, 9, 0, 0), (B, 8, 0, 0)))
    marks(known.owners, seen((A, 1, 1, 10)))
    meta = held.save_owners("q", 1, known, store)
    if forgotten:
        held.clear_cache()
    again = held.load_owners("q", 1, meta, store, keep_us=300 * S, most=1000)
    assert again.version == 1
    assert marks(again.owners, seen((B, 1, 2, 11))) == [A]
    later = seen((A, 7, 1000, 1000))
    marks(again.owners, later)
    held.save_owners("q", 1, again, store)
    assert len(store.pieces) == len(again.owners.pieces), "old claims are dropped from the store, too"


def test_what_is_damaged_says_so_and_the_way_out() -> None:
    for load in (
        lambda meta: held.load_exporters("q", 3, meta),
        lambda meta: held.load_owners("q", 3, meta, PieceDict(), keep_us=1, most=1),
    ):
        with pytest.raises(CheckpointError, match=r"bucket 3.*--reset-checkpoint"):
            load(b"0123456789abcdef damaged")


def test_a_missing_piece_is_no_empty_one() -> None:
    store = PieceDict()
    known = held.load_owners("q", 1, None, store, keep_us=300 * S, most=1000)
    marks(known.owners, seen((A, 9, 0, 0), (B, 8, 0, 0)))
    meta = held.save_owners("q", 1, known, store)
    held.clear_cache()
    store.pieces.clear()
    with pytest.raises(CheckpointError, match="piece 0 is missing"):
        held.load_owners("q", 1, meta, store, keep_us=300 * S, most=1000)


def test_nothing_known_is_nothing() -> None:
    assert np.array_equal(FlowOwners(1, 1).owners["owner"], [])
