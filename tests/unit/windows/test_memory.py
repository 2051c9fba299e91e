"""What is remembered of the hour before."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.windows.bounds import Bounds
from jobs.windows.cascade import WindowCascade
from jobs.windows.hashing import tags
from jobs.windows.memory import Memory
from jobs.windows.rings import WINDOWS
from jobs.windows.summary import ADDRESSES, ITEM_DTYPE, PAIRS, ROW_DTYPE, SLOTS, Summaries, grouped, merge

US = 1_000_000
MANY = 10**6


def spoken(slot: int, *hashes: int, source: int = 7, proto: int = 6, kinds: tuple[int, ...] = (ADDRESSES, PAIRS)) -> Summaries:
    """One source that begins one flow to each of some pairs in a slot."""
    rows = np.zeros(1, ROW_DTYPE)
    rows["begin"], rows["packets_out"], rows["src_lo"], rows["ipver"], rows["bits"] = slot, 4, source, 4, 32
    rows["tag"] = tags(rows, ["a"])
    items = np.zeros(len(hashes) * len(kinds), ITEM_DTYPE)
    items["hash"], items["kind"] = np.tile(hashes, len(kinds)), np.repeat(kinds, len(hashes))
    items["proto"], items["packets"], items["bytes_out"], items["bytes_in"], items["started"] = proto, 4, 300, 100, 1
    items["syn"] = proto == 6
    items["when"] = np.uint64(1) << np.uint64(slot % SLOTS)
    return grouped(rows, items, ("a",))


def last(slots: dict[int, list[Summaries]] | list[Summaries], until: int) -> np.void:
    """The last window of 180 s of a source."""
    cascade = WindowCascade()
    parts = slots if isinstance(slots, list) else [one for some in slots.values() for one in some]
    found = cascade.take(merge(parts), {"a": until * 5 * US})
    return [one[180] for one in found if len(one[180])][-1].rows[-1]


def test_a_beat_a_minute_is_found_after_an_hour_and_before() -> None:
    rng = np.random.default_rng(1)
    slots = np.cumsum(rng.uniform(54, 66, 60) / 5).astype(int)
    early, whole = (last([spoken(int(s), 99) for s in slots[:n]], 3 * SLOTS * 60) for n in (6, 60))
    assert early["beats"] >= 4
    assert whole["beats"] == pytest.approx(60, abs=4)
    assert whole["beat_period"] * 5 == pytest.approx(60, rel=0.05)
    assert 0.7 < whole["beat_score"] < 1
    assert (whole["beat_packets"], whole["beat_bytes_out"], whole["beat_bytes_in"]) == (4, 300, 100)
    assert whole["beat_age"] * 5 == 3600
    assert 0 < early["beat_age"] * 5 < 600
    by_chance = last([spoken(int(s), 99) for s in np.unique(rng.integers(0, 720, 60))], 3 * SLOTS * 60)
    assert (by_chance["beats"], by_chance["beat_score"], by_chance["steady"]) == (0, 0, 0)


def test_the_youngest_steady_pair_counts_and_clocks_of_udp_do_not() -> None:
    clock = [spoken(s, 5, proto=17) for s in range(0, 360, 12)]
    mail = [spoken(s, 6) for s in range(3, 360, 24)]
    beacon = [spoken(s, 7) for s in range(200, 360, 13)]
    assert last(clock, 360)["steady"] == 0
    both = last([*clock, *mail], 360)
    assert (both["steady"], both["beats"], both["beat_period"]) == (1, 15, 24)
    every = last([*clock, *mail, *beacon], 360)
    assert (every["steady"], every["beats"], every["beat_period"], every["beat_age"]) == (2, 13, 13, 160)
    assert (every["source_age"], every["beat_missed"]) == (360, 200 / 13)
    alone = last(beacon, 360)
    assert (alone["source_age"], alone["beat_missed"]) == (160, 0), "nothing says that it did not beat before"
    late = last([spoken(3, 1), *(spoken(s, 7) for s in range(2000, 2160, 13))], 2160)
    assert (late["source_age"], late["beat_missed"]) == (160, 0), "more than an hour ago is forgotten"


def test_what_is_refused_or_no_connection_is_no_beat() -> None:
    slots = range(0, 360, 12)
    for name, value in (("bytes_in", 0), ("bytes_out", 10), ("syn", 0)):
        refused = [spoken(s, 5) for s in slots]
        for one in refused:
            one.items[name] = value
        assert last(refused, 360)["steady"] == 0, name


def test_a_destination_is_new_until_an_hour_has_passed() -> None:
    def shares(*slots: int) -> list[float]:
        cascade = WindowCascade()
        found = cascade.take(merge([spoken(s, 1, 2) for s in slots]), {"a": 10**6 * US})
        return [float(one[180].rows["unseen"][0]) for one in found if len(one[180])]

    hour = WINDOWS * SLOTS
    assert shares(0, SLOTS, 5 * SLOTS) == [1, 0, 0]
    assert shares(0, hour) == [1, 0], "twenty windows later it is remembered"
    assert shares(0, hour + SLOTS) == [1, 1]


def test_sources_and_domains_remember_for_themselves() -> None:
    memory = Memory()
    memory.add(memory.traces(spoken(0, 1, 2), MANY))
    for other, new in ((spoken(SLOTS, 1, 3), 0.5), (spoken(SLOTS, 1, 2, source=8), 1.0)):
        memory.unseen(other)
        assert other.rows["unseen"].tolist() == [new]
    there = spoken(SLOTS, 1, 2)
    elsewhere = Summaries(there.rows.copy(), there.items, ("b",))
    elsewhere.rows["tag"] = tags(elsewhere.rows, ["b"])
    memory.unseen(elsewhere)
    assert elsewhere.rows["unseen"].tolist() == [1.0]


def test_a_flood_does_not_wash_away_what_is_known() -> None:
    memory = Memory()
    memory.add(memory.traces(spoken(0, *range(10)), MANY))
    kept = memory.traces(merge([spoken(SLOTS, *range(10)), spoken(SLOTS, *range(100, 200), source=9)]), 50)
    assert len(kept) == 50
    memory.add(kept)
    known = spoken(2 * SLOTS, *range(10))
    memory.unseen(known)
    assert known.rows["unseen"].tolist() == [0.0]
    memory.forget(int(kept["domain"][0]))
    memory.unseen(known)
    assert known.rows["unseen"].tolist() == [1.0]


def test_the_memory_depends_on_the_last_hour_alone() -> None:
    """A state of days and one of an hour say the same."""
    rng = np.random.default_rng(4)
    days = [spoken(int(s), *rng.integers(0, 30, 3).tolist()) for s in np.unique(rng.integers(0, 100 * SLOTS, 900))]
    days += [spoken(s, 99) for s in range(0, 100 * SLOTS, 9)]
    hour = [one for one in days if one.rows["begin"][0] >= (99 - WINDOWS) * SLOTS]
    a, b = (last(some, 100 * SLOTS) for some in (days, hour))
    assert a == b
    assert a["beats"] > 4


def test_any_cut_remembers_the_same() -> None:
    rng = np.random.default_rng(5)
    parts = [spoken(int(s), *rng.integers(0, 9, 2).tolist()) for s in np.unique(rng.integers(0, 30 * SLOTS, 400))]
    whole = WindowCascade(bounds=Bounds()).take(merge(parts), {"a": 30 * 180 * US})
    cascade, pieces = WindowCascade(), []
    for at in range(0, len(parts), 7):
        later = parts[at + 7].rows["begin"][0] if at + 7 < len(parts) else 30 * SLOTS
        pieces += cascade.take(merge(parts[at : at + 7]), {"a": int(later) * 5 * US})
    for size in (5, 30, 180):
        a, b = (np.sort(np.concatenate([one[size].rows for one in some]), order="begin") for some in (whole, pieces))
        assert np.array_equal(a, b)


def test_a_life_of_earlier_times_forgets_the_one_before_it_and_not_itself() -> None:
    cascade = WindowCascade()
    cascade.take(spoken(10_000, 1), {"a": 50_005 * US}, ("a",))
    found = [one for slot in (7, 50, 80) for one in cascade.take(spoken(slot, 1), {"a": (slot // SLOTS + 1) * 180 * US})]
    assert [float(one[180].rows["unseen"][0]) for one in found if len(one[180])] == [1, 0, 0]


def test_of_a_pair_that_the_bound_left_out_no_beat_is_told() -> None:
    """A beat a minute beside so many that more would be remembered than may be: what is told of it is right, or nothing is."""
    cascade = WindowCascade(bounds=Bounds(known=60 * WINDOWS))
    rng = np.random.default_rng(9)
    told = []
    for window in range(25):
        some = [spoken(slot, 99) for slot in range(window * SLOTS, (window + 1) * SLOTS, 12)]
        some += [spoken(int(slot), *rng.integers(100, 160, 2).tolist(), source=8) for slot in range(window * SLOTS, (window + 1) * SLOTS)]
        made = cascade.take(merge(some), {"a": (window + 1) * 180 * US})
        told += [(window, row) for one in made for row in one[180].rows if row["src_lo"] == 7]
    assert len(told) == 25
    right = [3 * min(window + 1, WINDOWS) for window, _ in told]
    beats = [int(row["beats"]) for _, row in told]
    assert all(found in (0, true) for found, true in zip(beats, right, strict=True))
    assert any(beats)
