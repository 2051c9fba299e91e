"""What can be blocked, in one spelling; and networks made disjoint for the kernel's sets."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import ConfigError
from jobs.response.addresses import Network, disjoint, overlap, show, size, target


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7/32 ", "203.0.113.7"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_one_spelling(given: str, shown: str) -> None:
    assert show(target(given)) == shown


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is no address"),
        ("attacker.example", "is no address"),
        ("203.0.113", "is no address"),
        ("203.0.113.256", "is no address"),
        ("203.0.113.07", "is no address"),
        ("203.0.113.7 ; flush ruleset", "is no address"),
        ("203.0.113.7/33", "is no address"),
        ("203.0.113.0/255.255.255.0", "a prefix is a number of bits"),
        ("203.0.113.0/-1", "a prefix is a number of bits"),
        ("203.0.113.7/", "a prefix is a number of bits"),
        ("203.0.113.7-203.0.113.9", "is no address"),
        ("203.0.113.7/24", "has bits set beside its prefix"),
        ("2001:db8::7/64", "has bits set beside its prefix"),
        ("fe80::1%eth0", "has a zone"),
        ("fe80::1%eth0/64", "has a zone"),
        ("٢٠٣.0.113.7", "is no address"),
        ("203.0.113.7\x1b[2J", "is no address"),
        ("3405803783", "is no address"),
    ],
)
def test_what_is_no_address_is_told(given: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        target(given)
    assert "\x1b" not in str(told.value)
    assert told.value.hint


def test_host_bits_are_told_with_both_ways_out() -> None:
    with pytest.raises(ConfigError) as told:
        target("203.0.113.7/24")
    assert told.value.hint == "the network is 203.0.113.0/24, the address alone is 203.0.113.7"


@pytest.mark.parametrize(
    ("network", "count"), [("1.2.3.4", 1), ("1.2.0.0/16", 65536), ("2001:db8::1", 1), ("2001:db8::/64", 1), ("2001:db8::/48", 65536)]
)
def test_size_is_addresses_or_networks_of_a_site(network: str, count: int) -> None:
    assert size(target(network)) == count


def _network(parts: tuple[int, int]) -> Network:
    number, bits = parts
    return ip_network((number << 28 >> (32 - bits) << (32 - bits) if bits else 0, bits))


@given(st.dictionaries(st.tuples(st.integers(0, 15), st.integers(0, 4)).map(_network), st.floats(1, 100), max_size=12))
def test_disjoint_networks_give_each_address_its_longest_time(blocks: dict[Network, float]) -> None:
    found = disjoint(blocks)
    networks = list(found)
    assert not any(overlap(one, other) for i, one in enumerate(networks) for other in networks[:i])
    for part in range(16):
        address = IPv4Address(part << 28)
        wanted = max((seconds for network, seconds in blocks.items() if address in network), default=None)
        assert next((seconds for network, seconds in found.items() if address in network), None) == wanted


def test_families_do_not_meet() -> None:
    blocks: dict[Any, float] = {target("0.0.0.0/1"): 5, target("::/1"): 9}
    assert disjoint(blocks) == blocks
