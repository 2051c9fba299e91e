"""A bucket of windows fed by the buckets of a meter, and kept between batches."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from infra.errors import CheckpointError
from jobs.metering.batch import emissions
from jobs.windows import kept, message
from jobs.windows.batch import windows_of
from jobs.windows.blob import BlobError
from jobs.windows.bounds import Bounds
from jobs.windows.cascade import SIZES, Made, WindowCascade
from jobs.windows.feed import Feed
from jobs.windows.message import BucketPart
from jobs.windows.records import records
from jobs.windows.storedsummary import summaries, texts
from jobs.windows.summary import Summaries, merge
from tests.unit.windows.test_memory import spoken
from tests.unit.windows.test_windows import gathered, made, traffic

US = 1_000_000
_FIXTURES = (traffic,)


def part(version: int, some: Summaries, clock: int, bucket: int = 0, buckets: int = 1, ended: bool = False, query: str = "q") -> BucketPart:
    part.offset = getattr(part, "offset", 0) + 1  # type: ignore[attr-defined]
    said = ({"a": clock * US}, ("a",) if ended else (), some, 0)
    return BucketPart(query, bucket, buckets, version, *said, part.offset)  # type: ignore[attr-defined]


def begins(found: list[Made], size: int = 5) -> list[int]:
    return [int(begin) for one in found for begin in one[size].rows["begin"]]


def test_a_message_is_read_as_it_was_written() -> None:
    one = part(3, made(1, 2), 7, bucket=2, buckets=4)
    again = BucketPart.decode(one.encode())
    assert replace(again, summaries=one.summaries) == one
    assert np.array_equal(again.summaries.rows, one.summaries.rows)
    assert np.array_equal(again.summaries.items, one.summaries.items)


@pytest.mark.parametrize("damage", [b"", b"FW", b"XX" + b"0" * 40, None, 40, 60])
def test_damaged_messages_are_refused(damage: bytes | int | None) -> None:
    good = part(1, made(1), 7).encode()
    bad = damage if isinstance(damage, bytes) else good[:damage] if damage else good.replace(b'"seconds":5', b'"seconds":7')
    with pytest.raises(BlobError):
        BucketPart.decode(bad)


def test_any_byte_that_is_damaged_is_told_and_crashes_nothing() -> None:
    good = part(1, made(1, 2, 3), 7).encode()
    rng = random.Random(1)
    told = 0
    for _ in range(400):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        try:
            BucketPart.decode(bytes(bad))
        except BlobError:
            told += 1
    assert told > 100


def test_a_slot_is_over_when_every_bucket_of_the_meter_is_beyond_it() -> None:
    feed = Feed(WindowCascade())
    assert begins(feed.take([part(1, made(0), 9, 0, 2)])) == []
    assert begins(feed.take([part(1, made(0), 4, 1, 2)])) == []
    (found,) = feed.take([part(2, Summaries.none(), 5, 1, 2)])
    assert found[5].rows["packets_out"].tolist() == [6]


def test_a_batch_that_is_done_again_counts_once() -> None:
    feed = Feed(WindowCascade())
    first = part(1, made(0), 3)
    assert begins(feed.take([first, replace(first, offset=50)])) == []
    found = feed.take([replace(first, offset=60), part(2, made(1), 20)])
    assert [one[5].rows["packets_out"].tolist() for one in found] == [[3, 3]]


def test_a_domain_ends_when_it_has_ended_in_every_bucket_and_may_begin_anew_in_the_same_batch() -> None:
    feed = Feed(WindowCascade())
    messages = [
        part(1, made(100), 501, 0, 2),
        part(1, made(101), 501, 1, 2),
        part(2, Summaries.none(), 506, 0, 2, ended=True),
        part(2, made(101), 506, 1, 2, ended=True),
        part(5, made(7), 36, 0, 2),  # another life, of another time
        part(5, made(7), 36, 1, 2),
        part(6, Summaries.none(), 41, 0, 2),
        part(6, Summaries.none(), 41, 1, 2),
    ]
    found = feed.take(messages)
    assert begins(found) == [100, 101, 7]
    assert begins(found, 180) == [72]
    assert feed.cascade.accounts == {}


def test_a_meter_that_begins_anew_gives_every_window_again() -> None:
    feed = Feed(WindowCascade())
    feed.take([part(8, made(0, 1), 6)])
    again = feed.take([part(1, made(0, 1), 12, query="another")])
    assert begins(again) == [0, 1]
    assert feed.cascade.accounts["a"]["given_up"] == 3


class CountingStore:
    """A store that counts."""

    def __init__(self) -> None:
        self.pieces: dict[int, tuple[bytes, bytes]] = {}
        self.written = self.reads = 0

    def get(self, key: int, nonce: bytes) -> bytes | None:
        self.reads += 1
        found = self.pieces.get(key)
        return found[1] if found and found[0] == nonce else None

    def put(self, key: int, nonce: bytes, piece: bytes, plain: Callable[[], bytes]) -> None:
        assert plain() == piece
        self.pieces[key] = (nonce, piece)
        self.written += len(piece)

    def remove(self, key: int, nonce: bytes) -> None:
        assert self.pieces.pop(key)[0] == nonce


HOW = {"partial": True, "bounds": Bounds()}


def through(store: CountingStore, meta: bytes | None, told: list[BucketPart]) -> tuple[list[Made], bytes]:
    held = kept.load("q", 0, meta, store, **HOW)  # type: ignore[arg-type]
    found = held.feed.take(told)
    return found, kept.save("q", 0, held, store)


@pytest.mark.parametrize("worker", ["the same", "always another", "now and then another", "of a batch that was lost"])
def test_windows_of_a_stream_are_those_of_one_call(worker: str, traffic: tuple) -> None:  # type: ignore[type-arg]
    expected = gathered(list(windows_of([traffic[0]])))
    store, meta, found = CountingStore(), None, []
    rng = random.Random(2)
    kept.clear_cache()
    given = emissions([traffic[0]], slice_s=5)
    told = [
        BucketPart.decode(one.encode()) for version, emission in enumerate(given) for one in BucketPart.of(emission, "q", 0, 1, version)
    ]
    at = 0
    while at < len(told):
        n = rng.randint(1, 2)
        some = [replace(one, offset=at + i) for i, one in enumerate(told[at : at + n])]
        if worker == "always another" or (worker == "now and then another" and rng.random() < 0.3):
            kept.clear_cache()
        if worker == "of a batch that was lost" and rng.random() < 0.5:
            before = dict(store.pieces)
            through(store, meta, some)
            store.pieces = before
        more, meta = through(store, meta, some)
        found += more
        at += n
    again = gathered(found)
    for size in SIZES:
        assert np.array_equal(again[size].rows, expected[size].rows)
        assert np.array_equal(again[size].items, expected[size].items)
    assert (store.reads > 0) is (worker != "the same")


def test_what_is_written_is_in_proportion_to_what_a_batch_changed() -> None:
    store, meta = CountingStore(), None
    kept.clear_cache()
    many = [spoken(0, *range(i * 10, i * 10 + 10), source=i) for i in range(300)]
    _, meta = through(store, meta, [part(1, merge(many), 1)])
    large, store.written = store.written, 0
    for version in range(2, 6):
        _, meta = through(store, meta, [part(version, spoken(0, 5), 1)])
    assert store.written < large / 20


def test_state_of_another_version_and_missing_pieces_are_refused_with_the_way_out() -> None:
    store = CountingStore()
    kept.clear_cache()
    _, meta = through(store, None, [part(1, made(0), 3)])
    kept.clear_cache()
    for bad, words in ((meta.replace(b'"version":1', b'"version":9'), "version 9"), (b"{}", "version"), (b"no json", "open windows")):
        with pytest.raises(CheckpointError, match=f"{words}.*--reset-checkpoint"):
            through(store, bad, [])
    store.pieces.clear()
    with pytest.raises(CheckpointError, match="missing"):
        through(store, meta, [])
    assert json.loads(meta)["query"] == "q"


def test_records_of_5_s_hold_what_larger_windows_are_made_of(traffic: tuple) -> None:  # type: ignore[type-arg]
    expected = list(windows_of([traffic[0]]))
    tables = [records(one[5], 5) for one in expected if len(one[5])]
    domains = [name for table in tables for name in table["domain"].to_pylist()]
    written = [text for table in tables for text in table["summary"].to_pylist()]
    order = random.Random(3).sample(range(len(written)), len(written))
    again = summaries([domains[i] for i in order], [written[i] for i in order])
    assert texts(again) == texts(gathered(expected)[5])
    with pytest.raises(BlobError, match="no summary"):
        summaries(["a"], ["AAAA"])


def test_a_large_batch_is_told_in_several_messages_and_its_clock_in_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.metering.bucket import Emission
    from jobs.metering.slices import SLICE_DTYPE

    monkeypatch.setattr(message, "_MOST_WEIGHT", 50)
    slices = np.zeros(100, SLICE_DTYPE)
    slices["src_lo"], slices["ipver"], slices["nf"], slices["slot"] = np.arange(100), 4, 1, 3
    rows = np.zeros(0)
    emission = Emission(rows, rows, ["a"], [], slices=slices, clocks={"a": 20 * US})
    told = [replace(one, offset=i) for i, one in enumerate(BucketPart.of(emission, "q", 0, 1, 1))]
    assert [one.number for one in told] == list(range(len(told)))
    assert len(told) > 10
    assert [one.clocks for one in told] == [{}] * (len(told) - 1) + [{"a": 20 * US}]
    feed = Feed(WindowCascade())
    assert feed.take(told[:-1]) == []
    assert begins(feed.take([replace(one, offset=50 + one.number) for one in told])) == [3] * 100


def test_what_was_read_of_a_former_meter_is_counted_when_it_is_given_up() -> None:
    feed = Feed(WindowCascade())
    feed.take([part(1, made(0), 1), part(1, made(9), 6, query="another")])
    assert feed.cascade.accounts["a"]["given_up"] == 3


def test_a_memory_that_is_bounded_is_the_same_in_another_worker() -> None:
    bounds = Bounds(sources=10, known=60)
    rng = np.random.default_rng(7)
    given = [
        part(n, merge([spoken(n, *rng.integers(0, 40, 3).tolist(), source=int(rng.integers(0, 30))) for _ in range(20)]), 5 * (n + 1))
        for n in range(120)
    ]

    def windows(*, fresh: bool) -> list[np.ndarray]:
        store, meta, found = CountingStore(), None, []
        kept.clear_cache()
        for at in range(0, len(given), 5):
            if fresh:
                kept.clear_cache()
            held = kept.load("q", 0, meta, store, partial=True, bounds=bounds)
            for one in held.feed.take(given[at : at + 5]):
                found += [some.rows for some in one.values()]
            meta = kept.save("q", 0, held, store)
        return found

    for one, other in zip(windows(fresh=False), windows(fresh=True), strict=True):
        assert np.array_equal(one, other)
