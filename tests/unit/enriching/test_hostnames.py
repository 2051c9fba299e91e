"""Names of addresses, from a real DNS server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from jobs.enriching.addresses import packed
from jobs.enriching.hostnames import HostNames
from jobs.enriching.resolving import DnsResolver, LookupFailed
from jobs.enriching.settings import DnsSettings
from jobs.enriching.sharedcache import NotShared
from tests.unit.enriching.dnsserver import BROKEN, GARBAGE, SILENT, DnsServer, dns_server
from tests.unit.enriching.endpoints import Clock, until

NAMES = {
    "10.0.0.1": "Web-1.Example.org.",
    "10.0.0.2": ["b.example.org.", "a.example.org."],
    "10.0.0.3": SILENT,
    "10.0.0.4": BROKEN,
    "10.0.0.5": "",  # the name exists, without a PTR
    "10.0.0.6": r"a\010b\027[2J.example.org.",
    "10.0.0.7": GARBAGE,
    "2001:db8::7": "seven.example.org.",
}


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with dns_server(NAMES) as running:
        yield running


def made(server: DnsServer, clock: Clock | None = None, entries: int = 1000, **more: object) -> HostNames:
    settings = DnsSettings(enabled=True, resolver=server.address, timeout_ms=300, lookups_per_second=10_000, **more)
    return HostNames(settings, DnsResolver(settings), NotShared(), entries, clock or Clock())


def settled(names: HostNames, *addresses: str) -> list[str | None]:
    """What is known once nothing waits."""
    wanted = [packed(a) for a in addresses]
    names.find(wanted)
    assert until(lambda: not names.figures()["waiting"])
    return names.find(wanted)


def test_a_resolver_tells_the_name_or_that_there_is_none(server: DnsServer) -> None:
    resolver = DnsResolver(DnsSettings(resolver=server.address, timeout_ms=300))
    assert resolver.name(ip_address("10.0.0.1")) == "web-1.example.org"
    assert resolver.name(ip_address("10.0.0.2")) == "a.example.org"
    assert resolver.name(ip_address("10.0.0.5")) is None
    assert resolver.name(ip_address("10.0.0.99")) is None
    assert resolver.name(ip_address("2001:db8::7")) == "seven.example.org"
    assert resolver.name(ip_address("10.0.0.6")) == r"a\010b\027[2j.example.org"
    for address in ("10.0.0.3", "10.0.0.4", "10.0.0.7"):
        with pytest.raises(LookupFailed):
            resolver.name(ip_address(address))


def test_a_name_comes_with_a_later_batch(server: DnsServer) -> None:
    names = made(server)
    server.gate.clear()
    assert names.find([packed("10.0.0.1"), packed("10.0.0.99")]) == [None, None]
    assert names.find([packed("10.0.0.1"), packed("10.0.0.99")]) == [None, None]
    assert names.figures()["waiting"] == 2
    server.gate.set()
    assert settled(names, "10.0.0.1", "10.0.0.99", "2001:db8::7") == ["web-1.example.org", None, "seven.example.org"]
    assert sorted(server.asked) == ["10.0.0.1", "10.0.0.99", "2001:db8::7"]  # each once
    assert names.figures() == {"asked": 3, "found": 2, "absent": 1, "failed": 0, "shared": 0, "skipped": 0, "waiting": 0}


def test_answers_hold_for_their_time(server: DnsServer) -> None:
    clock = Clock()
    names = made(server, clock, cache_ttl_seconds=100, negative_cache_ttl_seconds=10)
    settled(names, "10.0.0.1", "10.0.0.99")
    clock.now += 11
    settled(names, "10.0.0.1", "10.0.0.99")
    assert sorted(server.asked) == ["10.0.0.1", "10.0.0.99", "10.0.0.99"]
    clock.now += 100
    server.names.clear()
    assert names.find([packed("10.0.0.1")]) == ["web-1.example.org"]  # until there is another answer
    assert settled(names, "10.0.0.1") == [None]


def test_a_server_that_fails_takes_no_name_away(server: DnsServer) -> None:
    clock = Clock()
    names = made(server, clock, cache_ttl_seconds=100, negative_cache_ttl_seconds=10)
    assert settled(names, "10.0.0.1", "10.0.0.3", "10.0.0.4") == ["web-1.example.org", None, None]
    assert names.counts.failed == 2
    server.names = dict.fromkeys(server.names, BROKEN)
    clock.now += 101
    assert settled(names, "10.0.0.1") == ["web-1.example.org"]
    assert names.counts.failed == 3


def test_what_waits_is_bounded_and_what_is_left_out_is_counted(server: DnsServer) -> None:
    others = set(threading.enumerate())
    names = made(server, max_waiting=5, max_concurrent_lookups=2)
    server.gate.clear()
    wanted = [packed(f"10.0.1.{n}") for n in range(20)]
    names.find(wanted)
    assert names.figures()["waiting"] == 5
    assert names.counts.skipped == 15
    assert len(set(threading.enumerate()) - others) == 2
    server.gate.set()
    for _ in range(4):
        assert until(lambda: not names.figures()["waiting"])
        names.find(wanted)
    assert until(lambda: len(set(server.asked)) == 20)


def test_a_batch_may_wait_for_its_names(server: DnsServer) -> None:
    names = made(server, wait_ms=20_000)
    assert names.find([packed("10.0.0.1"), packed("10.0.0.99")]) == ["web-1.example.org", None]
    bounded = made(server, wait_ms=1)
    server.gate.clear()
    assert bounded.find([packed("10.0.0.1")]) == [None]


def test_many_names_are_found_by_few_threads(server: DnsServer) -> None:
    server.names = {}
    names = made(server, max_concurrent_lookups=4)
    settled(names, *(f"10.1.{n // 250}.{n % 250}" for n in range(500)))
    assert len(server.asked) == len(set(server.asked)) == 500
    assert names.counts.absent == 500


def test_after_the_end_nobody_is_asked(server: DnsServer) -> None:
    names = made(server)
    names.close()
    assert names.find([packed("10.0.0.1")]) == [None]
    assert names.figures()["waiting"] == 0
    assert server.asked == []


def test_a_fault_of_a_library_ends_no_thread() -> None:
    class Faulty:
        def name(self, address: object) -> str | None:
            if str(address) == "10.0.0.1":
                raise RuntimeError("a fault")
            return "fine.example.org"

    names = HostNames(DnsSettings(max_concurrent_lookups=1, lookups_per_second=1000), Faulty(), NotShared(), 100)
    assert settled(names, "10.0.0.1", "10.0.0.2") == [None, "fine.example.org"]
    assert names.counts.failed == 1
