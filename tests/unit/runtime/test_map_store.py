"""A bucket's state in one Spark MapState, its last segments beside it as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.runtime.mapstore import MapStore


class MapState:
    """What Spark gives, counting what is read."""

    def __init__(self) -> None:
        self.values: dict[tuple[int], tuple[bytes]] = {}
        self.reads = 0

    def getValue(self, key: tuple[int]) -> tuple[bytes] | None:
        self.reads += 1
        return self.values.get(key)

    def updateValue(self, key: tuple[int], value: tuple[bytes]) -> None:
        self.values[key] = value

    def removeKey(self, key: tuple[int]) -> None:
        del self.values[key]


def nonce(n: int) -> bytes:
    return n.to_bytes(8, "big")


@pytest.fixture
def state() -> MapState:
    return MapState()


def test_meta_and_segments_share_a_map(state: MapState, tmp_path: Path) -> None:
    store = MapStore(state, tmp_path)
    assert store.meta() is None
    store.set_meta(b"meta")
    store.put(1, nonce(1), b"one", lambda: b"one")
    assert store.meta() == b"meta"
    assert set(state.values) == {(-1,), (1,)}
    store.remove(1, nonce(1))
    assert set(state.values) == {(-1,)}
    assert store.get(1, nonce(1)) is None


def test_a_segment_is_found_by_another_worker_without_asking_spark(state: MapState, tmp_path: Path) -> None:
    MapStore(state, tmp_path).put(7, nonce(7), b"seven", lambda: b"seven")
    other = MapStore(state, tmp_path)
    assert other.get(7, nonce(7)) == b"seven"
    assert state.reads == 0


def test_files_hold_what_is_quick_to_read(state: MapState, tmp_path: Path) -> None:
    MapStore(state, tmp_path).put(7, nonce(7), b"packed", lambda: b"plain")
    assert MapStore(state, tmp_path).get(7, nonce(7)) == b"plain"
    assert state.values[(7,)] == (b"packed",)


def test_the_file_of_a_batch_that_was_never_committed_is_not_taken(state: MapState, tmp_path: Path) -> None:
    killed = MapStore(MapState(), tmp_path)
    killed.put(7, nonce(1), b"lost", lambda: b"lost")
    state.values[(7,)] = (b"committed",)
    assert MapStore(state, tmp_path).get(7, nonce(2)) == b"committed"


def test_few_files_are_kept(state: MapState, tmp_path: Path) -> None:
    store = MapStore(state, tmp_path, 16)
    for n in range(1, 60):
        store.put(n, nonce(n), b"x", lambda: b"x")
    assert len(list(tmp_path.iterdir())) == 16
    assert len(state.values) == 59
    assert store.get(1, nonce(1)) == b"x"
    assert state.reads == 1


def test_without_a_folder_it_is_slower_not_wrong(state: MapState, tmp_path: Path) -> None:
    store = MapStore(state, tmp_path / "absent")
    store.put(1, nonce(1), b"one", lambda: b"one")
    assert store.get(1, nonce(1)) == b"one"
    store.remove(1, nonce(1))
    assert store.get(1, nonce(1)) is None
