"""Which frames belong to flows: ends and protocol in both directions, time, domain, fragments in any order."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from jobs.sources.packets import membership
from jobs.sources.packets.membership import FlowSpan, Membership
from sensors.packets.frames import FrameBatch

SITE = frozenset({"site"})
#: Written out: Scapy would look for the target's on the network.
MAC = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
HOSTS = ["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"]


def span(start: int = 0, end: int = 10, sport: int = 1000, dport: int = 80, proto: int = 6, domains: frozenset[str] = SITE) -> FlowSpan:
    return FlowSpan("10.0.0.1", sport, "10.0.0.2", dport, proto, start, end, domains)


def batch(*frames: tuple[int, Packet | bytes]) -> FrameBatch:
    """Frames at times in us."""
    return FrameBatch.from_frames([bytes(frame) for _, frame in frames], [us * 1000 for us, _ in frames])


def segment(sport: int = 1000, dport: int = 80, turned: bool = False) -> Packet:
    ends = ("10.0.0.2", "10.0.0.1") if turned else ("10.0.0.1", "10.0.0.2")
    ports = (dport, sport) if turned else (sport, dport)
    return MAC / IP(src=ends[0], dst=ends[1]) / TCP(sport=ports[0], dport=ports[1])


def chosen(flows: Sequence[FlowSpan], *batches: FrameBatch, domain: str = "site", timeout_s: float = 30.0) -> list[tuple[int, int]]:
    """Times (us) and flows of the frames that belong."""
    members = Membership(flows, timeout_s)
    found = [members.of(domain, frames) for frames in batches]
    return sorted((int(frames.ts[i]) // 1000, int(numbers[i])) for frames, numbers in found for i in range(len(frames)))


def test_both_directions_and_nothing_that_differs_in_one_part() -> None:
    udp = MAC / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1000, dport=80)
    six = MAC / IPv6(src="::a00:1", dst="::a00:2") / TCP(sport=1000, dport=80)
    crossed = MAC / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=80, dport=1000)
    frames = batch((1, segment()), (2, segment(turned=True)), (3, segment(1001)), (4, segment(dport=81)), (5, udp), (6, six), (7, crossed))
    assert chosen([span()], frames) == [(1, 0), (2, 0)]


def test_times_are_whole_microseconds_with_both_ends() -> None:
    frames = FrameBatch.from_frames([bytes(segment())] * 5, [99_999, 100_000, 150_000, 200_999, 201_000])
    assert chosen([span(100, 200)], frames) == [(100, 0), (150, 0), (200, 0)]


def test_ports_that_are_used_again_are_told_apart_by_time() -> None:
    flows = [span(300, 400), span(0, 100), span(100, 200)]
    frames = batch(*((us, segment()) for us in (0, 99, 100, 150, 250, 300, 401)))
    assert chosen(flows, frames) == [(0, 1), (99, 1), (100, 2), (150, 2), (300, 0)]


def test_domains_are_told_apart() -> None:
    flows = [span(domains=frozenset({"a"})), span(sport=1001, domains=frozenset({"a", "b"}))]
    frames = batch((1, segment()), (2, segment(1001)))
    assert chosen(flows, frames, domain="a") == [(1, 0), (2, 1)]
    assert chosen(flows, frames, domain="b") == [(2, 1)]
    assert chosen(flows, frames, domain="c") == []


def test_protocols_without_ports_and_frames_that_are_none() -> None:
    ping = MAC / IP(src="10.0.0.2", dst="10.0.0.1") / ICMP()
    frames = batch((1, ping), (2, b"\xff" * 60), (3, b"\0"), (4, bytes(ping)[:20]), (5, segment()))
    assert chosen([span(sport=0, dport=0, proto=1)], frames) == [(1, 0)]
    assert chosen([], frames) == []
    assert chosen([span()], FrameBatch.empty()) == []


def cut(ident: int, sport: int = 1000) -> list[Packet]:
    whole = MAC / IP(src="10.0.0.1", dst="10.0.0.2", id=ident) / UDP(sport=sport, dport=53) / Raw(b"x" * 900)
    parts: list[Packet] = fragment(whole, fragsize=400)
    return parts


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("apart", [False, True])
def test_fragments_go_with_their_first_one_in_any_order_and_batch(order: tuple[int, ...], apart: bool) -> None:
    ours, others = cut(7), cut(8, sport=1001)
    frames = [(10 + i, part[k]) for i, k in enumerate(order) for part in (ours,)] + [(20 + i, others[k]) for i, k in enumerate(order)]
    batches = [batch(one) for one in frames] if apart else [batch(*frames)]
    first = 10 + order.index(0)
    assert chosen([span(first, first, dport=53, proto=17)], *batches) == [(10, 0), (11, 0), (12, 0)]


def test_fragments_that_are_too_far_from_their_first_one_are_not_its() -> None:
    parts = cut(7)
    frames = [batch((0, parts[1])), batch((2_000_000, parts[0])), batch((2_500_000, parts[2])), batch((4_000_000, parts[1]))]
    assert chosen([span(0, 3_000_000, dport=53, proto=17)], *frames, timeout_s=1.0) == [(2_000_000, 0), (2_500_000, 0)]


def test_an_identification_that_is_used_again_by_another_flow_is_let_go() -> None:
    frames = [batch((1, cut(7)[0])), batch((2, cut(7, sport=1001)[0])), batch((3, cut(7, sport=1001)[1]))]
    assert chosen([span(0, 9, dport=53, proto=17)], *frames) == [(1, 0)]


def test_waiting_fragments_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "_MAX_FRAGMENTS", 4)
    waiting = [batch((n, cut(n)[1])) for n in range(1, 10)]
    firsts = [batch((100 + n, cut(n)[0])) for n in range(1, 10)]
    found = chosen([span(0, 200, dport=53, proto=17)], *waiting, *firsts)
    assert found == [(n, 0) for n in range(6, 10)] + [(100 + n, 0) for n in range(1, 10)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_as_a_plain_comparison_says(seed: int) -> None:
    rng = random.Random(seed)

    def ends() -> tuple[str, int, str, int, int]:
        version = rng.choice([0, 2])
        source, target = rng.sample(HOSTS[version : version + 2], 2) if rng.random() < 0.9 else [HOSTS[version]] * 2
        return source, rng.randint(1, 2), target, rng.randint(1, 2), rng.choice([6, 17])

    flows = []
    for _ in range(6):
        start = rng.randint(0, 50)
        flows.append(FlowSpan(*ends(), start, start + rng.randint(0, 20), SITE))
    packets = [(us, ends()) for us in sorted(rng.randint(0, 80) for _ in range(40))]
    frames = []
    for us, (source, sport, target, dport, proto) in packets:
        net = IP(src=source, dst=target) if "." in source else IPv6(src=source, dst=target)
        frames.append((us, MAC / net / (TCP if proto == 6 else UDP)(sport=sport, dport=dport)))
    expected = []
    for us, (source, sport, target, dport, proto) in packets:
        pair = sorted([(source, sport), (target, dport)])
        if any(
            flow.start <= us <= flow.end
            and flow.protocol == proto
            and sorted([(flow.src_ip, flow.src_port), (flow.dst_ip, flow.dst_port)]) == pair
            for flow in flows
        ):
            expected.append(us)
    assert [us for us, _ in chosen(flows, batch(*frames))] == expected


def test_many_flows_are_looked_up_and_not_compared_one_by_one() -> None:
    flows = [FlowSpan(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1, "10.255.0.1", 80, 6, 0, 10, SITE) for n in range(5000)]
    frames = batch(*((1, MAC / IP(src=flow.src_ip, dst="10.255.0.1") / TCP(sport=1, dport=80)) for flow in flows[::50]))
    found, numbers = Membership(flows, 30.0).of("site", frames)
    assert len(found) == 100
    assert np.sort(numbers).tolist() == list(range(0, 5000, 50))
