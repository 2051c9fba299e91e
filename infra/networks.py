"""Addresses and networks as people write them."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Network, IPv6Network

from infra.errors import ConfigError, one_line

Network = IPv4Network | IPv6Network
_MAPPED = IPv6Network("::ffff:0:0/96")
_HINT = "write 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/48"


def network(text: str, what: str = "address") -> Network:
    """An address or a network; one address is a network of one, and an IPv4 address that is written as IPv6 is that IPv4 address.

    Parameters
    ----------
    text
        Such as ``192.0.2.7``, ``192.0.2.0/24``, ``2001:db8::/48``, ``::ffff:192.0.2.7``.
    what
        What it is called in an error.

    Raises
    ------
    ConfigError
        It is neither, or a network with bits of a host set: the text names the network that was meant.
    """
    given = text.strip()
    shown = f"{what} {one_line(text, 60)!r}"
    try:
        # An IPv6 address of one link ("fe80::1%eth0") means nothing elsewhere; a bare number is no address that a person writes.
        if "%" in given or not set(given) & set(".:"):
            raise ValueError
        found = ipaddress.ip_network(given, strict=False)
    except ValueError as e:
        raise ConfigError(f"{shown} is no address and no network", _HINT) from e
    host = ipaddress.ip_address(given.partition("/")[0])
    if host != found.network_address:
        raise ConfigError(f"{shown}: bits of a host are set", f"the network is {found}; the one host is {host}")
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        return IPv4Network((int(found.network_address) & 0xFFFFFFFF, found.prefixlen - 96))
    return found
