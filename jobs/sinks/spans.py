"""The lowest and the highest of many addresses: whether all of them lie in a network, with two of them kept.

Networks are runs of numbers, so a network that holds both ends holds what is between. Ends merge by minimum and maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.sinks.addresses import packed

#: The sides of an alert.
SIDES = ("source", "target")
_MAPPED = bytes(10) + b"\xff\xff"


def ends(addresses: Iterable[str]) -> list[str]:
    """The lowest and the highest, IPv4 before IPv6; nothing where there is none, or one is no address.

    An IPv4 address that is written as IPv6 is that IPv4 address.
    """
    try:
        keyed = [(_key(address), address) for address in addresses]
    except ValueError:
        return []
    return [min(keyed)[1], max(keyed)[1]] if keyed else []


def _key(address: str) -> tuple[int, bytes]:
    found = packed(address)
    if found.startswith(_MAPPED) and len(found) == 16:
        found = found[12:]
    return len(found), found


def known(sample: Sequence[str], distinct: int, said: Sequence[str]) -> list[str]:
    """Ends of a set of which a sample is kept: of the sample, where it is all there is; else what was said, which may be nothing."""
    return ends(sample) if distinct == len(sample) else list(said)


def joined(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """Ends of two sets together; nothing is known where nothing is of one."""
    return ends([*a, *b]) if a and b else []
