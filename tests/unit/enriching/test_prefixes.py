"""The longest prefix, against the standard library's networks."""

from __future__ import annotations

import ipaddress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.networks import network
from jobs.enriching.addresses import NO_ADDRESS, as_ip, as_matrix, distinct, packed
from jobs.enriching.prefixes import PrefixTable
from tests.unit.enriching.endpoints import matrix

# Few distinct bits, so that prefixes hold each other and addresses lie at their edges.
_WORDS = st.sampled_from([0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x0A000000, 0x0A0000FF])
_V4 = st.builds(lambda w, n: ipaddress.IPv4Network((w & (0xFFFFFFFF << (32 - n)) & 0xFFFFFFFF, n)), _WORDS, st.integers(0, 32))
_LONG = st.builds(lambda a, b, c, d: a << 96 | b << 64 | c << 32 | d, _WORDS, _WORDS, _WORDS, _WORDS)
_V6 = st.builds(lambda w, n: ipaddress.IPv6Network((w >> (128 - n) << (128 - n), n)), _LONG, st.integers(0, 128))
_ADDRESSES = st.lists(
    st.one_of(_WORDS.map(ipaddress.IPv4Address), _LONG.map(ipaddress.IPv6Address)).map(lambda a: packed(str(a))), min_size=1, max_size=30
)


@settings(max_examples=50)
@given(st.lists(st.one_of(_V4, _V6), max_size=20), _ADDRESSES)
def test_the_longest_prefix_is_found(networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network], addresses: list[bytes]) -> None:
    table = PrefixTable((n, i) for i, n in enumerate(networks))
    expected = []
    for address in map(as_ip, addresses):
        holding = [(n.prefixlen, i) for i, n in enumerate(networks) if n.version == address.version and address in n]
        expected.append(max(holding)[1] if holding else -1)  # of the same prefix twice, the later
    assert table.find(as_matrix(addresses)).tolist() == expected


def test_an_empty_table_finds_nothing() -> None:
    assert PrefixTable([]).find(matrix(["10.0.0.1", "::1", ""])).tolist() == [-1, -1, -1]
    assert PrefixTable([(network("::/0"), 0)]).find(matrix(["10.0.0.1", "2001:db8::1"])).tolist() == [-1, 0]
    assert PrefixTable([(network("0.0.0.0/0"), 3)]).find(np.zeros((0, 16), np.uint8)).tolist() == []


@given(_ADDRESSES, _ADDRESSES)
def test_distinct_addresses_say_where_each_stood(first: list[bytes], second: list[bytes]) -> None:
    addresses, places = distinct(as_matrix(first), as_matrix(second))
    assert sorted(addresses) == sorted({*first, *second})
    assert [[addresses[p] for p in at.tolist()] for at in places] == [first, second]


def test_addresses_of_columns_that_lie_apart() -> None:
    """Every second row of an array, and none at all."""
    rows = matrix(["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.3"])
    addresses, (at,) = distinct(rows[::2])
    assert addresses == [packed("10.0.0.1")]
    assert at.tolist() == [0, 0]
    assert distinct(rows[:0])[0] == []
    assert packed("::ffff:10.0.0.1") == packed("10.0.0.1")
    assert str(as_ip(NO_ADDRESS)) == "::"
