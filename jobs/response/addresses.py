"""What can be blocked: an address or a network, in one spelling each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from infra.errors import ConfigError, one_line

Network = IPv4Network | IPv6Network

#: IPv4 addresses in an IPv6 socket (RFC 4291, section 2.5.5.2).
_MAPPED = IPv6Network("::ffff:0:0/96")
_HOW = "an address (203.0.113.7, 2001:db8::7) or a network with its prefix (203.0.113.0/24)"
_PREFIX = re.compile(r"/[0-9]{1,3}")
#: IPv6 is given away in networks of so many bits; an attacker there has all of one.
SITE_BITS = 64


def target(given: str) -> Network:
    """The network that a text names; an address is one of a single address. Addresses mapped into IPv6 are IPv4 addresses.

    Raises
    ------
    ConfigError
        It names none, has a zone, or host bits beside its prefix.

    Examples
    --------
    >>> target("::ffff:203.0.113.7")
    IPv4Network('203.0.113.7/32')
    """
    text = given.strip()
    if "%" in text:
        raise ConfigError(
            f"{one_line(given, 60)!r} has a zone: such an address means something on one machine's link alone", f"write {_HOW}"
        )
    slash = text.find("/")
    if slash >= 0 and not _PREFIX.fullmatch(text[slash:]):
        raise ConfigError(f"{one_line(given, 60)!r} is no address: a prefix is a number of bits", f"write {_HOW}")
    try:
        found = ip_network(text, strict=False)
    except ValueError as e:
        raise ConfigError(f"{one_line(given, 60)!r} is no address", f"write {_HOW}") from e
    if slash >= 0 and ip_network(text[:slash]).network_address != found.network_address:
        alone = show(target(text[:slash]))
        raise ConfigError(
            f"{one_line(given, 60)!r} has bits set beside its prefix", f"the network is {show(found)}, the address alone is {alone}"
        )
    return mapped_away(found)


def mapped_away(network: Network) -> Network:
    """The IPv4 network that an IPv6 network of mapped addresses stands for; any other stays."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))
    return network


def show(network: Network) -> str:
    """As a person and PostgreSQL's ``inet`` write it: an address without its prefix.

    >>> show(target("203.0.113.7/32"))
    '203.0.113.7'
    """
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def size(network: Network) -> int:
    """How many it is: IPv4 addresses, or IPv6 networks of :data:`SITE_BITS` bits (a part of one counts as one)."""
    bits = network.max_prefixlen if isinstance(network, IPv4Network) else SITE_BITS
    return int(1 << max(0, bits - network.prefixlen))


def overlap(one: Network, other: Network) -> bool:
    """Whether they share an address."""
    return one.version == other.version and one.overlaps(other)


def disjoint(blocks: Mapping[Network, float]) -> dict[Network, float]:
    """The same in networks that share no address, as a set of the kernel must have them.

    Parameters
    ----------
    blocks
        Network -> seconds that it is still blocked. Of two networks one holds the other, or they share nothing.

    Returns
    -------
    dict
        Network -> seconds. Each address has the longest of the times of the networks that hold it.
    """
    found: dict[Network, float] = {}
    lengths: dict[int, set[int]] = {4: set(), 6: set()}  # prefixes that occur: where a network around another is looked for

    def put(networks: Iterable[Network], seconds: float) -> None:
        for one in networks:
            found[one] = seconds
            lengths[one.version].add(one.prefixlen)

    # The wide ones first: what lies in one and lasts longer is cut out of it.
    for network, seconds in sorted(blocks.items(), key=lambda item: (item[0].prefixlen, int(item[0].network_address))):
        above = (network.supernet(new_prefix=bits) for bits in lengths[network.version] if bits <= network.prefixlen)
        around = next((other for other in above if other in found), None)
        if around is None:
            put([network], seconds)
        elif found[around] < seconds:
            put(_without(around, network), found.pop(around))
            put([network], seconds)
    return found


def _without(around: Network, network: Network) -> list[Network]:
    if around == network:
        return []
    return list(around.address_exclude(network))  # type: ignore[arg-type]  # both of one version
