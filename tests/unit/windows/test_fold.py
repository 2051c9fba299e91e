"""More sources than there is room for."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest

from jobs.windows.bounds import Bounds
from jobs.windows.cascade import WindowCascade
from jobs.windows.fold import folded
from jobs.windows.hashing import tags
from jobs.windows.memory import Memory
from jobs.windows.records import records
from jobs.windows.summary import ITEM_DTYPE, ROW_DTYPE, Summaries, grouped, merge

US = 1_000_000


def sources(addresses: list[int], packets: int = 1, slot: int = 0, version: int = 4) -> Summaries:
    rows = np.zeros(len(addresses), ROW_DTYPE)
    rows["ipver"], rows["bits"], rows["begin"], rows["packets_out"] = version, 32 if version == 4 else 128, slot, packets
    rows["src_lo"] = [a & (2**64 - 1) for a in addresses]
    rows["src_hi"] = [a >> 64 for a in addresses]
    rows["tag"] = tags(rows, ["a"])
    items = np.zeros(len(addresses), ITEM_DTYPE)
    items["row"], items["hash"], items["packets"] = np.arange(len(addresses)), 77, packets
    return grouped(rows, items, ("a",))


def test_below_the_bound_nothing_changes() -> None:
    some = sources(list(range(100)))
    same, gone = folded(some, 100, np.zeros(100, bool))
    assert same is some
    assert len(gone) == 0


@pytest.mark.parametrize(("version", "base"), [(4, int(ipaddress.ip_address("10.0.0.0"))), (6, int(ipaddress.ip_address("2001:db8::")))])
def test_a_flood_is_summed_up_by_prefix_and_no_packet_is_lost(version: int, base: int) -> None:
    rng = np.random.default_rng(1)
    step = 1 if version == 4 else 2**70
    flood = sources([base + int(i) * step for i in rng.choice(100_000, 20_000, replace=False)], version=version)
    busy = sources([base + 200_000 * step + i for i in range(5)], packets=50, version=version)
    both = merge([flood, busy])
    few, gone = folded(both, 1000, np.zeros(len(both), bool))
    assert len(few) <= 1000
    assert few.rows["packets_out"].sum() == both.rows["packets_out"].sum()
    assert len(gone) == len(both) - 500
    found = records(few, 5)
    whole_bits = 32 if version == 4 else 128
    networks = list(zip(found["src_ip"].to_pylist(), found["src_prefix"].to_pylist(), strict=True))
    assert sum(bits < whole_bits for _, bits in networks) == len(few) - 500
    for source, bits in networks:
        ipaddress.ip_network(f"{source}/{bits}")  # raises where bits behind the prefix are set
    whole = few.rows[few.rows["bits"] == whole_bits]
    assert (whole["packets_out"] == 50).sum() == 5, "who says most is kept"


def test_a_source_that_is_known_is_kept_before_a_louder_one() -> None:
    memory = Memory()
    quiet = sources([5])
    memory.add(memory.traces(quiet, 1000))
    both = merge([quiet, sources(list(range(1000, 1100)), packets=9)])
    few, _ = folded(both, 10, memory.knows(both))
    assert 5 in few.rows["src_lo"][few.rows["bits"] == 32]


def test_a_million_forged_sources_take_no_more_than_the_bound() -> None:
    bounds = Bounds(sources=2000, known=5000)
    cascade = WindowCascade(bounds=bounds)
    rng = np.random.default_rng(2)
    packets = 0
    for slot in range(40):
        for _ in range(5):
            flood = sources(np.unique(rng.integers(0, 2**32, 5000)).tolist(), slot=slot)
            packets += len(flood)
            cascade.take(flood, {})
            assert sum(level.rows for level in cascade.levels.values()) < 12 * bounds.sources + 3 * 5000
        for made in cascade.take(Summaries.none(), {"a": (slot + 1) * 5 * US}):
            assert all(np.unique(some.rows["begin"], return_counts=True)[1].max(initial=0) <= bounds.sources for some in made.values())
    assert cascade.accounts["a"]["folded"] > 0.8 * packets
    assert len(cascade.memory) <= bounds.known
    (whole,) = [made[180] for made in cascade.take(Summaries.none(), {}, ["a"]) if len(made[180])]
    assert len(whole) <= bounds.sources


def test_networks_of_two_buckets_are_two_windows_and_hosts_are_none_the_wiser() -> None:
    flood = sources(list(range(0x0A000000, 0x0A000000 + 200)))
    few, _ = folded(flood, 20, np.zeros(200, bool))
    one, other = (records(few, 5, bucket) for bucket in (0, 1))
    networks = [i for i, bits in enumerate(one["src_prefix"].to_pylist()) if bits < 32]
    assert networks
    same = [a == b for a, b in zip(one["window_id"].to_pylist(), other["window_id"].to_pylist(), strict=True)]
    assert [i for i, alike in enumerate(same) if not alike] == networks
    assert [other["part"][i].as_py() for i in networks] == [1] * len(networks)
