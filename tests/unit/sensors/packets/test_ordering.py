"""Order and clock: the window, damaged times, captures put together, and that cuts into batches do not matter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import CaptureError
from schemas.wire import CLOCK_END
from sensors.packets import ordering
from sensors.packets.frames import FrameBatch
from sensors.packets.ordering import Disorder, Reorderer
from sensors.packets.replay import Chunk, ordered
from sensors.packets.settings import SensorSettings
from sensors.packets.sorting import sort_by_time

S = 1_000_000_000
T0 = 1_700_000_000 * S


def batch(times: list[int], first: int = 0) -> FrameBatch:
    """Frames that carry their number in capture order."""
    return FrameBatch.from_frames([(first + i).to_bytes(4, "big") for i in range(len(times))], times)


def run(times: list[int], window_ms: int = 1000, size: int = 10_000) -> list[tuple[list[tuple[int, int]], int]]:
    order = Reorderer(window_ms)
    out = []
    for at in range(0, len(times), size):
        out += list(order.feed(batch(times[at : at + size], at)))
    out += list(order.finish())
    return [([(int(f.ts[i]), int.from_bytes(f.frame(i), "big")) for i in range(len(f))], clock) for f, clock in out]


def runs(times: list[int], size: int = 10_000) -> list[list[tuple[int, int]]]:
    """Packets by run."""
    found: list[list[tuple[int, int]]] = [[]]
    for packets, clock in run(times, size=size):
        found[-1] += packets
        if clock == CLOCK_END:
            found.append([])
    assert found.pop() == []
    return found


def test_disorder_within_the_window_is_put_right_and_equal_times_keep_their_order() -> None:
    times = [T0, T0 + 5 * S // 10, T0 + 2 * S // 10, T0 + 2 * S // 10, T0 + 9 * S // 10, T0 + 3 * S]
    out = run(times, size=2)
    assert [p for packets, _ in out for p in packets] == sorted(((t, i) for i, t in enumerate(times)))
    assert out[-1][1] == CLOCK_END


def test_the_clock_is_a_promise() -> None:
    rng = np.random.default_rng(5)
    times = (T0 + np.arange(5000) * 10_000_000 + rng.integers(-400_000_000, 400_000_000, 5000)).tolist()
    watermark = 0
    for packets, clock in run(times, size=137):
        assert all(t >= watermark for t, _ in packets)
        assert clock >= watermark
        watermark = clock


def test_a_packet_far_ahead_does_not_move_the_clock() -> None:
    times = [T0 + i * S for i in range(10)] + [T0 + 10**6 * S] + [T0 + (10 + i) * S for i in range(10)]
    out = run(times, size=1)
    clocks = [clock for _, clock in out[:-1]]
    assert max(clocks) == T0 + 18 * S
    assert len(runs(times)) == 1
    assert out[-1][0][-1] == (T0 + 10**6 * S, 10)  # still delivered, last


def test_many_packets_that_agree_move_the_clock() -> None:
    gap = 5 * 3600 * S
    times = [T0, T0 + S] + [T0 + gap + i * S for i in range(100)]
    clocks = [clock for _, clock in run(times, size=1)[:-1]]
    assert max(clocks) == T0 + gap + 98 * S
    assert len(runs(times)) == 1


def test_a_late_packet_is_passed_on() -> None:
    times = [T0 + i * S for i in range(30)] + [T0 + 5 * S] + [T0 + (30 + i) * S for i in range(5)]
    assert len(runs(times)) == 1
    assert sorted(p for packets in runs(times) for p in packets) == sorted((t, i) for i, t in enumerate(times))


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_a_jump_back_starts_another_run(size: int) -> None:
    first = [T0 + i * S for i in range(200)]
    second = [T0 + i * S for i in range(100)]
    found = runs(first + second, size)
    assert [len(r) for r in found] == [200, 100]
    assert found[1] == [(t, 200 + i) for i, t in enumerate(second)]


def test_few_packets_behind_at_the_end_are_a_run_too() -> None:
    times = [T0 + i * S for i in range(200)] + [T0, T0 + S]
    assert [len(r) for r in runs(times)] == [200, 2]


def test_few_packets_behind_in_the_middle_are_late() -> None:
    times = [T0 + i * S for i in range(200)] + [T0, T0 + S] + [T0 + (200 + i) * S for i in range(3)]
    assert [len(r) for r in runs(times)] == [205]


def test_a_damaged_first_time_does_not_spoil_the_rest() -> None:
    times = [T0 + 10**7 * S] + [T0 + i * S for i in range(300)]
    assert [len(r) for r in runs(times)] == [1, 300]
    times = [0] + [T0 + i * S for i in range(300)]
    clocks = [clock for _, clock in run(times, size=10)[:-1]]
    assert max(clocks) == T0 + 298 * S


def test_what_is_held_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "_MOST_PACKETS", 100)
    order = Reorderer(60_000)
    given_out = 0
    for k in range(50):
        given_out += sum(len(f) for f, _ in order.feed(batch([T0 + k * 1000 + i for i in range(20)])))
        assert k * 20 + 20 - given_out <= 100
    assert given_out + sum(len(f) for f, _ in order.finish()) == 1000


def test_advance_releases_what_an_idle_link_holds() -> None:
    order = Reorderer(20)
    assert list(order.feed(batch([T0]))) == []
    assert list(order.advance(T0 + 10_000_000)) == []
    ((frames, clock),) = order.advance(T0 + 50_000_000)
    assert len(frames) == 1
    assert clock == T0 + 30_000_000
    assert order.clock == clock


times_strategy = st.lists(
    st.one_of(
        st.integers(T0, T0 + 100 * S),
        st.sampled_from([0, T0 - 3600 * S, T0 + 10**6 * S, 1 << 62]),
    ),
    max_size=300,
)


def metered(times: list[int], size: int, window_ms: int = 1000) -> list[tuple[list[int], list[int]]]:
    """By run: the packets that the meter takes, in time order, and those that it counts as late, by the watermarks before them."""
    found: list[tuple[list[int], list[int]]] = [([], [])]
    watermark = 0
    for packets, clock in run(times, window_ms, size):
        for t, i in packets:
            found[-1][t < watermark].append(i)
        watermark = clock
        if clock == CLOCK_END:
            watermark = 0
            found.append(([], []))
    return [(sorted(good, key=lambda i: (times[i], i)), sorted(late)) for good, late in found[:-1]]


@settings(max_examples=300, deadline=None)
@given(times=times_strategy, size=st.integers(1, 50), repeat=st.integers(1, 3), window_ms=st.sampled_from([0, 1000, 20_000]))
def test_every_packet_once_and_cuts_do_not_matter(times: list[int], size: int, repeat: int, window_ms: int) -> None:
    times = times * repeat
    found = metered(times, size, window_ms)
    assert sorted(i for r in found for i in r[0] + r[1]) == list(range(len(times)))
    # Runs, and what is late in them, depend on the packets alone.
    assert found == metered(times, 10_000, window_ms)


def test_a_packet_is_late_by_those_before_it() -> None:
    """Twenty seconds back, less than another run begins with: all of the second half, in any cut, and the user is told."""
    times = [T0 + i * S // 10 for i in range(300)] + [T0 + 5 * S + i * S // 10 for i in range(200)]
    for size in (1, 7, 300, 301, 10_000):
        ((good, late),) = metered(times, size)
        assert (len(good), late) == (300, list(range(300, 500)))
    disorder = Disorder()
    list(ordered([batch(times)], SensorSettings(), disorder))
    assert (disorder.late, disorder.worst_ns) == (200, times[299] - times[300])
    assert "200 packets are up to 24.900 s out of order" in disorder.told(1000)
    assert "--sort" in disorder.told(1000)


def test_sorted_first_nothing_is_late() -> None:
    times = [T0 + i * S for i in range(300)] + [T0 + i * S for i in range(200)] + [T0 - 10**6 * S] * 70
    disorder = Disorder()
    found = list(ordered(sort_by_time([batch(times[:100]), batch(times[100:], 100)]), SensorSettings(), disorder))
    assert disorder == Disorder()
    assert [c.end for c in found] == [False] * (len(found) - 1) + [True]
    order = [int.from_bytes(c.frames.frame(i), "big") for c in found for i in range(len(c.frames))]
    assert order == sorted(range(len(times)), key=lambda i: (times[i], i))


def test_sorting_spills_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times as much as it sorts in memory at once."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rng = np.random.default_rng(3)
    spilled = 0

    def frames() -> Iterator[FrameBatch]:
        for _ in range(10):
            n = 65_536
            data = rng.integers(0, 256, n * 192, np.uint8)
            yield FrameBatch(rng.integers(0, 10**12, n), np.full(n, 999, np.uint32), np.ones(n, np.uint16), data, np.arange(n + 1) * 192)

    last, count = -1, 0
    for part in sort_by_time(frames(), piece_bytes=16 << 20):
        spilled = max(spilled, sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()))
        assert last <= int(part.ts[0])
        assert (np.diff(part.ts) >= 0).all()
        last, count = int(part.ts[-1]), count + len(part)
    assert count == 655_360
    assert spilled > 32 * 1024 * 1024
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_capture_is_told_as_such_when_it_is_sorted() -> None:
    def frames() -> Iterator[FrameBatch]:
        yield batch([T0])
        raise CaptureError("capture file x: Input/output error")

    with pytest.raises(CaptureError, match="Input/output error"):
        list(sort_by_time(frames()))


def test_chunks_are_cut_and_promise_no_more_than_they_keep() -> None:
    times = [T0 + i * S // 100 for i in range(1000)]
    found: list[Chunk] = list(ordered([batch(times)], SensorSettings(batch_packets=64)))
    assert sum(len(x.frames) for x in found) == 1000
    assert max(len(x.frames) for x in found) == 64
    assert [x.end for x in found] == [False] * (len(found) - 1) + [True]
    watermark = 0
    for chunk in found:
        assert len(chunk.frames) == 0 or int(chunk.frames.ts.min()) >= watermark
        watermark = chunk.clock


def test_no_packets_give_one_closing_chunk() -> None:
    (only,) = ordered([], SensorSettings())
    assert (len(only.frames), only.clock, only.run_index, only.end) == (0, CLOCK_END, 0, True)
