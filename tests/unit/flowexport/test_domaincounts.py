"""Domains that count together, as Open vSwitch's do, and domains that count for themselves: what is lost is told of both."""

from __future__ import annotations

import random

import pytest

from jobs.flowexport import state
from tests.unit.flowexport.wire import PLAIN, Collector, data, ipfix, plain, template, templates10


def lost(bench: Collector) -> dict[int, int]:
    return {key.domain: account["lost"] for key, account in bench.sessions.accounts()}


def told(domain: int, sequence: int, records: int) -> bytes:
    return ipfix(data(300, *[plain()] * records), sequence=sequence, domain=domain)


def taught(domain: int, sequence: int) -> bytes:
    return ipfix(templates10(template(300, PLAIN)), sequence=sequence, domain=domain)


def test_one_count_over_two_domains_loses_nothing() -> None:
    bench = Collector()
    bench.feed(taught(77, 1), taught(0, 1), told(0, 1, 1), told(77, 2, 5), told(77, 7, 2), told(0, 9, 3), told(77, 12, 1))
    assert lost(bench) == {77: 0, 0: 0}


def test_what_one_message_seemed_to_lose_is_taken_back() -> None:
    bench = Collector()
    bench.feed(taught(1, 100), taught(2, 7), told(1, 100, 5), told(2, 105, 2))
    assert lost(bench) == {1: 0, 2: 98}, "once is chance"
    bench.feed(told(1, 107, 3))
    assert lost(bench) == {1: 0, 2: 0}


@pytest.mark.parametrize("seed", range(30))
def test_losses_of_one_count_are_found(seed: int) -> None:
    r = random.Random(seed)
    bench = Collector()
    bench.feed(taught(1, 1000), taught(2, 1000), told(1, 1000, 5), told(2, 1005, 2), told(1, 1007, 1), told(2, 1008, 4))
    at, gone = 1012, 0
    sent = []
    for _ in range(100):
        n = r.randint(1, 9)
        if r.random() < 0.2:
            gone += n
        else:
            sent.append((at, r.choice([1, 2]), n))
        at += n
    sent.append((at, 1, 1))
    if seed % 2:  # and some come late
        sent = [sent[i] for i in sorted(range(len(sent)), key=lambda i: min(i, len(sent) - 2) + 2 * r.random() * (i < len(sent) - 1))]
    bench.feed(*[told(domain, first, n) for first, domain, n in sent])
    assert sum(lost(bench).values()) == gone
    assert sum(account["restarts"] for _, account in bench.sessions.accounts()) == 0


@pytest.mark.parametrize("seed", range(30))
def test_domains_that_count_for_themselves_lose_what_they_lose(seed: int) -> None:
    r = random.Random(seed)
    bench = Collector()
    places, gone = {1: r.randint(0, 50), 2: r.randint(0, 50)}, {1: 0, 2: 0}
    for _ in range(2):
        bench.feed(*[taught(domain, at) for domain, at in places.items()])
    for _ in range(150):
        domain, n = r.choice([1, 2]), r.randint(1, 9)
        if r.random() < 0.2:
            gone[domain] += n
        else:
            bench.feed(told(domain, places[domain], n))
        places[domain] += n
    for domain, at in places.items():
        bench.feed(told(domain, at, 1))
    assert lost(bench) == gone


def test_what_was_learnt_outlives_the_program() -> None:
    bench = Collector()
    bench.feed(taught(77, 1), taught(0, 1), told(0, 1, 1), told(77, 2, 5))
    bench.sessions = state.decode(state.encode(bench.sessions))
    bench.feed(told(0, 7, 3), told(77, 10, 1), told(0, 15, 1))
    assert sum(lost(bench).values()) == 4


def test_data_that_wait_in_another_domain_are_not_lost() -> None:
    bench = Collector()
    bench.feed(taught(1, 1), taught(2, 1), told(1, 1, 5), told(2, 6, 2), told(1, 8, 3), told(2, 11, 1))
    later = ipfix(data(400, plain(), plain()), sequence=12, domain=1)
    bench.feed(later, told(2, 14, 1))
    assert sum(lost(bench).values()) == 0
    bench.feed(ipfix(templates10(template(400, PLAIN)), sequence=15, domain=1), told(2, 15, 1))
    assert sum(lost(bench).values()) == 0
    assert sum(account["undecided"] for _, account in bench.sessions.accounts()) == 0
