"""Hosts of drawn flows: a network's own clients and servers, the world outside, attackers, and sources that floods forge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class HostGroup:
    """Hosts that are numbered from ``first`` on; the ``n``-th has the ``step * n``-th address of its network."""

    first: int
    size: int
    network: str
    step: int = 1

    def addresses(self) -> list[str]:
        """Their addresses, as text."""
        base = int(ip_network(self.network).network_address)
        return [str(ip_address(base + self.step * (n + 1))) for n in range(self.size)]


CLIENT = HostGroup(0, 3000, "10.16.0.0/12", 7)
CLIENT6 = HostGroup(3000, 300, "2001:db8:10::/48", 0x10001)
SERVER = HostGroup(3300, 120, "10.1.0.0/16", 5)
OUTSIDE = HostGroup(3420, 20_000, "93.0.0.0/8", 631)
OUTSIDE6 = HostGroup(23_420, 2000, "2001:db8:ffff::/48", 0x1000F)
ATTACKER = HostGroup(25_420, 2000, "185.0.0.0/8", 5003)
FORGED = HostGroup(27_420, 200_000, "100.0.0.0/6", 311)
GROUPS = (CLIENT, CLIENT6, SERVER, OUTSIDE, OUTSIDE6, ATTACKER, FORGED)
#: Names of the sensors.
SENSORS = np.array(["edge-1", "edge-2", "core-1", "dc-1"])


class Hosts:
    """All of them by number."""

    @cached_property
    def _texts(self) -> pa.Array:
        return pa.array([text for group in GROUPS for text in group.addresses()])

    def text(self, numbers: NDArray[np.int64]) -> pa.Array:
        """Addresses as text, string[n]."""
        return self._texts.take(pa.array(numbers))

    def some(self, group: HostGroup, count: int) -> list[str]:
        """The first few of a group, which are its busiest."""
        return list(islice(group.addresses(), count))

    def sensor(self, numbers: NDArray[np.int64]) -> NDArray[np.str_]:
        """The sensor that sees a host."""
        return SENSORS[numbers % len(SENSORS)]

    def ordinary(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sources and targets of ordinary flows: mostly clients to servers and outside, some from outside to servers; one in ten IPv6."""
        way = rng.random(count)
        v6, inwards, inside = way < 0.1, way > 0.9, (way > 0.1) & (way < 0.35)
        source = _busy(CLIENT, count, rng)
        source = np.where(v6, _busy(CLIENT6, count, rng), source)
        source = np.where(inwards, _busy(OUTSIDE, count, rng), source)
        target = np.where(v6, _busy(OUTSIDE6, count, rng), _busy(OUTSIDE, count, rng))
        return source, np.where(inside | inwards, _busy(SERVER, count, rng), target)


def _busy(group: HostGroup, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Members of a group, by Zipf's law: the n-th of them makes 1/n of the flows of the first."""
    # The inverse of the law's distribution function, whose sums are close to logarithms.
    rank = np.exp(rng.random(count) * np.log(group.size + 1)).astype(np.int64) - 1
    return group.first + np.minimum(rank, group.size - 1)
