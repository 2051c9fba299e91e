"""Windows of generated and real traffic against a computation of their own, packet by packet, and against each other."""

from __future__ import annotations

import ipaddress
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.metering.batch import meter_captures
from jobs.windows import features
from jobs.windows.batch import windows_of
from jobs.windows.cascade import OTHERS, SIZES, Made, WindowCascade
from jobs.windows.hashing import tags
from jobs.windows.summary import ADDRESSES, KEY, PORTS, RECALLED, Summaries, closed, grouped, merge, widened
from schemas.windows import WINDOW_NAMES
from sensors.generate import generate, preset
from sensors.packets.pcapwriter import PcapWriter
from tests.unit.sensors.generate.independent import Packet, packets

US = 1_000_000


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Packet]]:
    """Sixty seconds with every attack; IPv4 and IPv6."""
    place = tmp_path_factory.mktemp("windows") / "traffic.pcap"
    batches = list(generate(preset("demo", seed=5, rate=700.0)))
    with PcapWriter(place) as writer:
        for batch in batches:
            writer.write(batch)
    return place, packets(batches)


@pytest.fixture(scope="module")
def windows(traffic: tuple[Path, list[Packet]]) -> dict[int, Summaries]:
    return gathered(list(windows_of([traffic[0]])))


def gathered(made: list[Made]) -> dict[int, Summaries]:
    """All windows by size; what is recalled of the hour before is set by hand, as it is in no sum."""
    found = {}
    for size in SIZES:
        parts = [one[size] for one in made if len(one[size])]
        found[size] = merge(parts)
        if not parts:
            continue
        rows = np.concatenate([part.rows for part in parts])
        order = np.lexsort([rows[name] for name in reversed(KEY)])
        for name in RECALLED:
            found[size].rows[name] = rows[name][order]
    return found


def address(row: Any) -> str:
    high, low = int(row["src_hi"]), int(row["src_lo"])
    return str(ipaddress.IPv6Address(high << 64 | low) if row["ipver"] == 6 else ipaddress.IPv4Address(low & 0xFFFFFFFF))


def by_packet(place: Path, seen: list[Packet]) -> dict[tuple[str, int], dict[str, Any]]:
    """What each source did in each slot: every packet by the flow record that it lies in."""
    flows: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for batch in meter_captures([place]):
        for flow in batch.to_pylist():
            ends = frozenset([(flow["src_ip"], flow["src_port"]), (flow["dst_ip"], flow["dst_port"])])
            flows[ends, flow["protocol"]].append(flow)
    found: dict[tuple[str, int], dict[str, Any]] = defaultdict(
        lambda: {"out": 0, "in": 0, "started": 0, "syn": 0, "to": set(), "ports": set()}
    )
    for p in seen:
        ends = frozenset([(p.src, p.sport), (p.dst, p.dport)])
        when = p.ts // 1000
        (flow,) = (f for f in flows[ends, p.protocol] if f["start_time"].timestamp() * 1e6 - 1 < when < f["end_time"].timestamp() * 1e6 + 1)
        one = found[flow["src_ip"], when // (5 * US)]
        forward = (p.src, p.sport) == (flow["src_ip"], flow["src_port"])
        one["out" if forward else "in"] += 1
        one["syn"] += forward and p.protocol == 6 and p.flags & 0x12 == 0x02
        one["to"].add(flow["dst_ip"])
        one["ports"].add((flow["protocol"], flow["dst_port"]))
    for flow in (f for some in flows.values() for f in some if f["part"] == 0):
        found[flow["src_ip"], int(flow["start_time"].timestamp() * 1e6 + 0.5) // (5 * US)]["started"] += 1
    return found


def test_a_slot_holds_the_packets_that_fell_into_it(traffic: tuple[Path, list[Packet]], windows: dict[int, Summaries]) -> None:
    expected = by_packet(*traffic)
    five = windows[5]
    assert len(five) == len(expected)
    to, ports = five.distinct[ADDRESSES], five.distinct[PORTS]
    for i, row in enumerate(five.rows):
        one = expected[address(row), int(row["begin"])]
        assert (row["packets_out"], row["packets_in"], row["flows_started"], row["syn"]) == (
            one["out"],
            one["in"],
            one["started"],
            one["syn"],
        )
        for value, known in ((to[i], one["to"]), (ports[i], one["ports"])):
            assert value == pytest.approx(len(known), rel=0 if len(known) < 128 else 0.4)


@pytest.mark.parametrize("size", [30, 180])
def test_larger_windows_are_the_sums_of_their_slots(windows: dict[int, Summaries], size: int) -> None:
    again = merge([widened(windows[5], SIZES[size])])
    for name in again.rows.dtype.names or ():
        if not name.endswith("_min") and name not in RECALLED:  # of a partial window 0
            assert np.array_equal(again.rows[name], windows[size].rows[name]), name
    assert np.array_equal(again.items, windows[size].items)
    complete = windows[size].rows["parts"] == SIZES[size]
    assert bool(complete.any()) is (size == 30), "there are sixty seconds"
    assert np.array_equal(again.rows["packets_min"][complete], windows[size].rows["packets_min"][complete])
    assert not windows[size].rows["packets_min"][~complete].any()


def test_180_s_is_made_of_30_s_just_as_well(windows: dict[int, Summaries]) -> None:
    six = windows[30].rows.copy()
    six["begin"] -= six["begin"] % 36
    again = grouped(six, windows[30].items, windows[30].domains)
    for name in ("packets_out", "flows_started", "parts", "packets_sum", "packets_sq", "packets_max", "first", "last"):
        assert np.array_equal(again.rows[name], windows[180].rows[name]), name
    assert np.array_equal(again.items, windows[180].items)


def test_no_packet_is_lost_or_counted_twice(traffic: tuple[Path, list[Packet]], windows: dict[int, Summaries]) -> None:
    for found in windows.values():
        assert int(found.rows["packets_out"].sum() + found.rows["packets_in"].sum()) == len(traffic[1])


def test_any_cut_and_order_gives_the_same_windows(traffic: tuple[Path, list[Packet]], windows: dict[int, Summaries]) -> None:
    from jobs.metering.batch import emissions
    from jobs.windows.slots import summed

    parts = []
    rng = random.Random(3)
    for emission in emissions([traffic[0]], slice_s=5):
        slices, at = emission.slices, 0
        while at < len(slices):
            step = rng.choice((1, 7, 100, 5000))
            parts.append(summed(slices[at : at + step], emission.domains))
            at += step
    rng.shuffle(parts)
    cascade = WindowCascade()
    while parts:
        n = rng.randint(1, 40)
        assert cascade.take(merge(parts[:n]), {}) == [], "the clock has not moved"
        del parts[:n]
    found = gathered(cascade.take(Summaries.none(), {}, ["traffic"]))
    for size, expected in windows.items():
        assert np.array_equal(found[size].rows, expected.rows)
        assert np.array_equal(found[size].items, expected.items)


def made(*slots: int, domain: str = "a", packets_: int = 3) -> Summaries:
    """One source, a packet or more in some slots."""
    from jobs.windows.summary import ITEM_DTYPE, ROW_DTYPE

    rows = np.zeros(len(slots), ROW_DTYPE)
    rows["begin"], rows["packets_out"], rows["src_lo"] = slots, packets_, 7
    rows["first"], rows["last"] = np.array(slots) * 5 * US, np.array(slots) * 5 * US + US
    rows["tag"] = tags(rows, [domain])
    items = np.zeros(len(slots), ITEM_DTYPE)
    items["row"], items["packets"], items["started"] = np.arange(len(slots)), packets_, 1
    items["kind"], items["hash"], items["when"] = 2, 9, np.uint64(1) << (np.array(slots) % 36).astype(np.uint64)
    return grouped(rows, items, (domain,))


def taken(cascade: WindowCascade, some: Summaries, clocks: dict[str, int], ended: tuple[str, ...] = ()) -> dict[int, Summaries]:
    return gathered(cascade.take(some, clocks, ended))


def test_a_window_is_made_when_its_time_is_over_and_once() -> None:
    cascade = WindowCascade(partial=False)
    assert len(taken(cascade, made(0), {"a": 5 * US - 1})[5]) == 0
    assert len(taken(cascade, made(0, 1), {"a": 5 * US})[5]) == 1
    assert cascade.accounts == {}
    late = taken(cascade, made(0, 2), {"a": 4 * US})  # the clock goes back: it stays
    assert len(late[5]) == 0
    assert cascade.accounts["a"]["late"] == 3
    found = taken(cascade, made(3, 4, 5), {"a": 30 * US})
    assert found[5].rows["begin"].tolist() == [1, 2, 3, 4, 5]
    assert found[30].rows["parts"].tolist() == [6]
    assert found[30].rows["packets_out"].tolist() == [2 * 3 + 3 * 5], "the first slot was added to twice"
    assert len(found[180]) == 0


def test_partial_windows_are_an_option() -> None:
    for partial, made_of in ((True, [2]), (False, [])):
        found = taken(WindowCascade(partial), made(1, 4), {"a": 30 * US})
        assert found[30].rows["parts"].tolist() == made_of
        assert not found[30].rows["packets_min"].any()


def test_domains_have_clocks_of_their_own() -> None:
    cascade = WindowCascade()
    found = taken(cascade, merge([made(0), made(0, domain="b")]), {"b": 5 * US})
    assert [found[5].domains[i] for i in found[5].rows["domain"]] == ["b"]
    assert cascade.levels[5].rows == 1


def test_the_end_of_a_domain_closes_what_is_open_and_a_new_life_adds_nothing_to_it() -> None:
    cascade = WindowCascade()
    found = taken(cascade, made(7, 8), {"a": 42 * US}, ("a",))
    assert {size: some.rows["begin"].tolist() for size, some in found.items()} == {5: [7, 8], 30: [6], 180: [0]}
    assert cascade.clocks == {}
    again = taken(cascade, made(8, 9, 40), {"a": 215 * US}, ("a",))
    assert {size: some.rows["begin"].tolist() for size, some in again.items()} == {5: [9, 40], 30: [36], 180: [36]}
    assert cascade.accounts["a"]["late"] == 3 * 2, "slot 8, and slot 9 in the window of 30 s that was made"


def test_a_capture_of_earlier_times_is_no_late_one() -> None:
    cascade = WindowCascade()
    taken(cascade, made(1000), {"a": 5005 * US}, ("a",))
    found = taken(cascade, made(7), {"a": 40 * US}, ("a",))
    assert found[180].rows["begin"].tolist() == [0]
    assert cascade.accounts == {}


def test_a_clock_that_jumps_far_ahead_gives_the_windows_in_their_order() -> None:
    cascade = WindowCascade()
    found = cascade.take(made(0, 50, 100_000), {"a": 10**9 * US})
    assert [int(one[180].rows["begin"][0]) for one in found if len(one[180])] == [0, 36, 99_972]
    assert len(cascade.take(made(3), {"a": 10**9 * US + 1})) == 0
    assert cascade.accounts["a"]["late"] == 3


@pytest.mark.parametrize("n", [1, 127, 128, 5000])
def test_distinct_destinations_are_exact_when_few(n: int) -> None:
    from jobs.metering.slices import SLICE_DTYPE
    from jobs.windows.slots import summed

    slices = np.zeros(2 * n, SLICE_DTYPE)
    slices["dst_lo"], slices["nf"], slices["proto"] = np.arange(2 * n) % n, 1, 6
    window = summed(slices, ["a"])
    (found,) = window.distinct[ADDRESSES]
    assert found == (n if n < 128 else pytest.approx(n, rel=5 / np.sqrt(126)))
    (bits,) = features.entropy(window, ADDRESSES)
    assert bits == pytest.approx(np.log2(n), abs=1e-9 if n < 128 else 0.6 * np.log2(n))


def test_a_rhythm_is_told_from_chance() -> None:
    def score(*slots: int) -> float:
        (found,) = features.rhythm(merge([widened(closed(made(*slots)), 36)]))
        return float(found)

    assert score(1, 13, 25) > 0.66
    assert score(1, 14, 25) > 0.6
    assert score(1, 3, 30) < 0.45
    assert score(1, 13) == 0
    assert score(*range(36)) < 0.5


def test_every_feature_is_a_number(windows: dict[int, Summaries]) -> None:
    for found in windows.values():
        values = features.features(found)
        assert tuple(values) == WINDOW_NAMES
        assert all(np.isfinite(v).all() and (v >= 0).all() and len(v) == len(found) for v in values.values())
        assert (values["failed_ratio"] <= 1).all()


def test_temporary_addresses_of_a_network_are_one_source_where_asked() -> None:
    from jobs.metering.slices import SLICE_DTYPE
    from jobs.windows.slots import summed

    slices = np.zeros(6, SLICE_DTYPE)
    slices["ipver"], slices["src_hi"], slices["src_lo"], slices["nf"] = 6, [1, 1, 1, 2, 2, 9], [5, 6, 7, 5, 6, 1], 1
    slices["ipver"][5], slices["src_hi"][5] = 4, 0
    assert len(summed(slices, ["a"])) == 6
    few = summed(slices, ["a"], 64)
    found = sorted(few.rows[["src_hi", "src_lo", "bits", "packets_out"]].tolist())
    assert found == [(0, 1, 32, 1), (1, 0, 64, 3), (2, 0, 64, 2)]


def test_squares_of_the_bytes_of_a_fast_link_fit() -> None:
    rows = made(*range(36)).rows.copy()
    rows["bytes_out"] = np.where(np.arange(36) % 2, 0, 62_500_000_000)  # 100 Gbit/s every other slot
    window = widened(closed(Summaries(rows, made(*range(36)).items, ("a",))), 36)
    values = features.features(window)
    assert values["part_bytes_std"][0] == pytest.approx(31_250_000_000, rel=1e-6)


def test_a_sensor_that_restarts_twice_in_three_minutes_makes_no_window_twice() -> None:
    cascade = WindowCascade()
    found = [one for slot in (0, 0, 0, 1, 1) for one in cascade.take(made(slot), {"a": (slot + 1) * 5 * US}, ("a",))]
    assert [len(one[5]) for one in found if len(one[5])] == [1, 1]
    assert sum(len(one[180]) for one in found) == 1


def test_what_comes_back_with_an_earlier_time_knows_nothing_of_later() -> None:
    cascade = WindowCascade()
    cascade.take(made(10_000), {"a": 50_005 * US}, ("a",))
    (early,) = [one[180] for one in cascade.take(made(7), {"a": 40 * US}, ("a",)) if len(one[180])]
    assert len(cascade.traces) == 1
    assert early.rows["begin"].tolist() == [0]


def test_accounts_of_domains_that_ended_are_bounded_and_none_is_lost() -> None:
    cascade = WindowCascade()
    for number in range(300):
        domain = f"capture-{number}"
        taken(cascade, made(9, domain=domain), {domain: 10 * 5 * US})
        taken(cascade, made(1, domain=domain), {})  # late
        taken(cascade, Summaries.none(), {}, (domain,))
    assert 10 < len(cascade.accounts) < 100
    assert cascade.accounts["capture-299"]["late"] == 3
    assert sum(counts["late"] for counts in cascade.accounts.values()) == 3 * 300
    assert cascade.accounts[OTHERS]["late"] > 3 * 200
