"""Addresses and networks as people write them."""

from __future__ import annotations

import pytest

from infra.errors import ConfigError
from infra.networks import network


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        (" 192.0.2.0/24 ", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("2001:DB8::7", "2001:db8::7/128"),
        ("2001:db8:0:0::/48", "2001:db8::/48"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:c000:200/120", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_one_way_to_say_it(text: str, means: str) -> None:
    assert str(network(text)) == means


@pytest.mark.parametrize(
    "text", ["", "10", "10.0.0", "010.0.0.1", "10.0.0.1/33", "10.0.0.1/-1", "fe80::1%eth0", "host", "1.2.3.4\0", "::g", "10.0.0.0/8/8"]
)
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address and no network"):
        network(text)


def test_a_network_with_bits_of_a_host_names_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match="bits of a host are set") as refused:
        network("2001:db8::5/64", "ADDRESS")
    assert refused.value.hint == "the network is 2001:db8::/64; the one host is 2001:db8::5"
