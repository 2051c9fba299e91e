"""Whole scenarios: same seed same bytes, truth equal to the frames, order, rates, plausible TCP, laziness."""

from __future__ import annotations

import hashlib
import itertools
import tracemalloc
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from infra.errors import ConfigError
from sensors.generate import PRESETS, TRUTH_SCHEMA, Scenario, TrafficGenerator, generate, preset, truth
from sensors.generate.kinds import ATTACK_KINDS, BENIGN_KINDS
from sensors.packets.frames import FrameBatch
from tests.unit.sensors.generate.independent import Packet, count_by_key, packets

SMALL = {
    "demo": preset("demo", duration_s=12.0, seed=3),
    "train": preset("train", duration_s=10.0, rate=1500.0, seed=4),
    "bench": preset("bench", duration_s=1.5, rate=20_000.0, seed=5),
    "flood": replace(preset("flood", duration_s=6.0, rate=500.0, seed=6), flood_packets=20_000),
    "slow": preset("slow", duration_s=1500.0, seed=7),
}


def _digest(scenario: Scenario) -> str:
    run, h = generate(scenario), hashlib.sha256()
    for b in run:
        for part in (b.ts, b.wire_len, b.link_type, b.data, b.offsets):
            h.update(np.ascontiguousarray(part).data)
    for column in truth(run).columns:
        h.update(repr(column.to_pylist()).encode())
    return h.hexdigest()


@pytest.fixture(scope="module", params=sorted(SMALL))
def made(request: pytest.FixtureRequest) -> tuple[TrafficGenerator, list[FrameBatch], list[Packet]]:
    run = generate(SMALL[request.param])
    batches = list(run)
    return run, batches, packets(batches)


@pytest.fixture(scope="module")
def demo() -> tuple[TrafficGenerator, list[Packet]]:
    run = generate(PRESETS["demo"])
    batches = list(run)
    return run, packets(batches)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_same_seed_same_bytes(name: str) -> None:
    assert _digest(SMALL[name]) == _digest(SMALL[name])
    assert _digest(SMALL[name]) != _digest(replace(SMALL[name], seed=99))


def test_frames_come_in_time_order_within_the_scenario(made: tuple[TrafficGenerator, list[FrameBatch], list[Packet]]) -> None:
    run, batches, _ = made
    ts = np.concatenate([b.ts for b in batches])
    assert (np.diff(ts) >= 0).all()
    assert ts[0] >= run.scenario.start_ns
    assert ts[-1] < run.scenario.end_ns


def test_truth_counts_what_the_frames_hold(made: tuple[TrafficGenerator, list[FrameBatch], list[Packet]]) -> None:
    """Recounted by an independent parser: per direction, per key, to the packet; times are first and last packet's."""
    run, _, items = made
    table = truth(run)
    assert table.schema == TRUTH_SCHEMA
    expected: Counter[tuple[str, int, str, int, int]] = Counter()
    first: dict[tuple[str, int, str, int, int], int] = {}
    last: dict[tuple[str, int, str, int, int], int] = {}
    for row in table.to_pylist():
        key = (row["src_ip"], row["src_port"], row["dst_ip"], row["dst_port"], row["protocol"])
        expected[key] += row["fwd_packets"]
        expected[(*key[2:4], *key[:2], key[4])] += row["bwd_packets"]
        assert row["packets"] == row["fwd_packets"] + row["bwd_packets"] > 0
        start, end = (int(row[c].timestamp() * 1e6) for c in ("start_time", "end_time"))
        first[key], last[key] = min(first.get(key, start), start), max(last.get(key, end), end)
    counted = count_by_key(items)
    assert +expected == counted
    seen_first: dict[tuple[str, int, str, int, int], int] = {}
    seen_last: dict[tuple[str, int, str, int, int], int] = {}
    for p in items:
        here, there = (p.src, p.sport, p.dst, p.dport, p.protocol), (p.dst, p.dport, p.src, p.sport, p.protocol)
        key = here if here in first else there
        seen_first.setdefault(key, p.ts // 1000)
        seen_last[key] = p.ts // 1000
    off = [k for k in seen_first if abs(first[k] - seen_first[k]) > 1 or abs(last[k] - seen_last[k]) > 1]
    ambiguous = {k for k in off if (*k[2:4], *k[:2], k[4]) in first}  # one key used from both ends (ICMP): two rows
    assert set(off) == ambiguous


def test_the_initiator_is_the_source_of_the_first_packet(made: tuple[TrafficGenerator, list[FrameBatch], list[Packet]]) -> None:
    run, _, items = made
    keys = {(r["src_ip"], r["src_port"], r["dst_ip"], r["dst_port"], r["protocol"]) for r in truth(run).to_pylist()}
    seen: set[tuple[str, int, str, int, int]] = set()
    for p in items:
        here, there = (p.src, p.sport, p.dst, p.dport, p.protocol), (p.dst, p.dport, p.src, p.sport, p.protocol)
        if here not in seen and there not in seen:
            assert here in keys
            seen.add(here)


def test_one_label_for_each_key_at_a_time(made: tuple[TrafficGenerator, list[FrameBatch], list[Packet]]) -> None:
    """Two conversations of one key may follow each other; where their labels differ they must not overlap."""
    run, _, _ = made
    by_key: dict[tuple[object, ...], list[tuple[object, object, str]]] = defaultdict(list)
    for r in truth(run).to_pylist():
        ends = sorted([(r["src_ip"], r["src_port"]), (r["dst_ip"], r["dst_port"])])
        by_key[(*ends, r["protocol"])].append((r["start_time"], r["end_time"], r["label"]))
    for spans in by_key.values():
        spans.sort()
        for (_, end, label), (start, _, other) in itertools.pairwise(spans):
            assert label == other or start > end


def test_demo_has_every_kind_and_the_first_attack_early(demo: tuple[TrafficGenerator, list[Packet]]) -> None:
    run, _ = demo
    table = truth(run)
    labels = Counter(table["label"].to_pylist())
    assert set(labels) == {"BENIGN", *ATTACK_KINDS}
    assert 60_000 <= run.packets <= 110_000
    attacks = table.filter(pc.not_equal(table["label"], "BENIGN"))
    begin = run.scenario.start_ns
    assert pc.min(attacks["start_time"]).as_py().timestamp() * 1e9 - begin < 5e9
    assert len({int(t.timestamp()) // 5 for t in attacks["start_time"].to_pylist()}) >= 10  # spread over the minute
    ports = set(table["dst_port"].to_pylist())
    assert {22, 53, 80, 443, 123, 21, 25, 5353, 1900} <= ports
    assert set(table["protocol"].to_pylist()) >= {1, 6, 17, 58}


@pytest.mark.parametrize("kind", [*ATTACK_KINDS, *BENIGN_KINDS])
def test_every_kind_alone(kind: str) -> None:
    label = kind if kind in ATTACK_KINDS else "BENIGN"
    share = 0.5 if kind in ATTACK_KINDS else 0.0
    table = truth(Scenario(seed=13, duration_s=12.0, rate=250.0, attack_share=share, kinds=(kind,), clients=12, outside=20))
    found = Counter(table["label"].to_pylist())
    assert found[label] > 0
    assert set(found) <= {label, "BENIGN"}


def test_benign_traffic_has_failures_too(demo: tuple[TrafficGenerator, list[Packet]]) -> None:
    """Refused, unanswered and reset benign connections exist, so that these alone do not give an attack away."""
    run, items = demo
    benign = {
        (r["src_ip"], r["src_port"], r["dst_ip"], r["dst_port"])
        for r in truth(run).to_pylist()
        if r["label"] == "BENIGN" and r["protocol"] == 6
    }
    flags: dict[tuple[str, int, str, int], list[int]] = defaultdict(list)
    for p in items:
        key = (p.src, p.sport, p.dst, p.dport)
        key = key if key in benign else (p.dst, p.dport, p.src, p.sport)
        if key in benign:
            flags[key].append(p.flags)
    kinds = Counter(
        "unanswered" if set(f) == {2} else "refused" if f[:2] == [2, 20] else "reset" if any(x & 4 for x in f) else "other"
        for f in flags.values()
    )
    assert min(kinds["unanswered"], kinds["refused"], kinds["reset"]) >= 3
    assert kinds["other"] > 5 * (kinds["unanswered"] + kinds["refused"])


def test_tcp_is_plausible(demo: tuple[TrafficGenerator, list[Packet]]) -> None:
    """SYN first; SYN-ACK acknowledges it; data is acknowledged only when sent; retransmissions and both ends of a close exist."""
    _, items = demo
    flows: dict[tuple[tuple[str, int], tuple[str, int]], list[Packet]] = defaultdict(list)
    for p in items:
        if p.protocol == 6:
            a, b = sorted([(p.src, p.sport), (p.dst, p.dport)])
            flows[a, b].append(p)
    complete = retransmitted = resets = 0
    for flow in flows.values():
        assert flow[0].flags == 2
        top: dict[str, int] = {}
        base: dict[str, int] = {}
        for p in flow:
            if p.flags & 2:
                base[p.src], top[p.src] = p.seq, 1
            if p.flags & 4:
                resets += 1
                continue
            at = (p.seq - base[p.src]) & 0xFFFFFFFF
            end = at + p.payload + (1 if p.flags & 3 else 0)
            if p.payload and end <= top[p.src]:
                retransmitted += 1
            top[p.src] = max(top[p.src], end)
            if p.flags & 16:
                acked = (p.ack - base[p.dst]) & 0xFFFFFFFF
                assert acked <= max(top[p.dst], 1) or acked - top[p.dst] < 100_000  # beyond: a segment lost before the capture point
        if len({p.src for p in flow if p.flags & 1}) == 2:
            complete += 1
            syn_ack = next(p for p in flow if p.flags == 18)
            assert (syn_ack.ack - flow[0].seq) & 0xFFFFFFFF == 1
            assert 0 < syn_ack.ts - flow[0].ts < 5_000_000_000
    assert complete > 1000
    assert retransmitted > 10
    assert resets > 100


def test_segments_fit_the_mtu(demo: tuple[TrafficGenerator, list[Packet]]) -> None:
    _, items = demo
    assert max(p.payload for p in items) <= 1472
    assert max(p.payload for p in items if p.protocol == 6) in range(1300, 1461)


def test_attacks_and_benign_share_addresses_and_ttls(demo: tuple[TrafficGenerator, list[Packet]]) -> None:
    run, items = demo
    by_label: dict[bool, set[str]] = {True: set(), False: set()}
    for r in truth(run).to_pylist():
        by_label[r["label"] == "BENIGN"].add(r["src_ip"])
    assert len(by_label[True] & by_label[False]) >= 5
    ttl = {r: set() for r in (True, False)}  # type: ignore[var-annotated]
    for p in items:
        for benign in (True, False):
            if p.src in by_label[benign]:
                ttl[benign].add(p.ttl)
    assert len(ttl[True] & ttl[False]) >= 10


@pytest.mark.parametrize(
    ("scenario", "tolerance"),
    [
        (Scenario(seed=1, duration_s=40.0, rate=1000.0), 0.2),
        (Scenario(seed=2, duration_s=20.0, rate=4000.0, attack_share=0.0), 0.2),
        (preset("bench", duration_s=5.0, rate=50_000.0, seed=3), 0.2),
    ],
)
def test_rate(scenario: Scenario, tolerance: float) -> None:
    run = generate(scenario)
    for _ in run:
        pass
    assert run.packets == pytest.approx(scenario.rate * scenario.duration_s, rel=tolerance)


def test_attack_share() -> None:
    table = truth(Scenario(seed=5, duration_s=40.0, rate=1500.0, attack_share=0.3))
    attack = table.filter(pc.not_equal(table["label"], "BENIGN"))
    assert pc.sum(attack["packets"]).as_py() / pc.sum(table["packets"]).as_py() == pytest.approx(0.3, abs=0.1)
    only = truth(Scenario(seed=5, duration_s=10.0, rate=800.0, attack_share=1.0))
    assert "BENIGN" not in only["label"].to_pylist()


def test_bench_has_short_flows() -> None:
    table = truth(preset("bench", duration_s=4.0, rate=40_000.0, seed=2))
    assert 5 <= pc.sum(table["packets"]).as_py() / table.num_rows <= 8


def test_flood_of_one_packet_flows_beside_ordinary_traffic(made: tuple[TrafficGenerator, list[FrameBatch], list[Packet]]) -> None:
    run = generate(SMALL["flood"])
    for _ in run:
        pass
    table = truth(run)
    flood = table.filter(pc.equal(table["label"], "SYN_FLOOD"))
    assert flood.num_rows == pytest.approx(20_000, rel=0.35)
    assert pc.mean(flood["packets"]).as_py() < 1.4
    assert pc.sum(table.filter(pc.equal(table["label"], "BENIGN"))["packets"]).as_py() > 1000


@pytest.mark.slow  # each allocation is traced
def test_only_what_is_asked_for_is_made() -> None:
    """The first batch of ten million packets comes without making the rest."""
    next(iter(generate(preset("bench", duration_s=0.2))))  # compiled
    tracemalloc.start()
    run = generate(preset("bench", duration_s=100.0))
    first = next(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < len(first) < 20_000
    assert peak < 150e6
    assert pc.sum(truth(run)["packets"]).as_py() == len(first)


def test_memory_stays_bounded_while_running() -> None:
    """What waits to be emitted does not grow with the time that has passed."""
    run = generate(preset("bench", duration_s=14.0, rate=20_000.0, seed=8))
    waiting = []
    for _ in run:
        waiting.append(sum(len(p) for parts in run._pending.values() for p in parts))
    half = len(waiting) // 2
    assert max(waiting[half:]) < 1.5 * max(waiting[:half])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"kinds": ("nonsense",)}, "nonsense"),
        ({"rate": 0.0}, "rate"),
        ({"attack_share": 1.5}, "1.5"),
        ({"duration_s": float("nan")}, "nan"),
    ],
)
def test_bad_scenarios_are_named(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as error:
        preset("demo", **changes)
    assert error.value.hint


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="dmeo") as error:
        preset("dmeo")
    assert "demo" in error.value.hint
