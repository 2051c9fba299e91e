"""What does not change from batch to batch about an address: whether it is ours, where it is, whose, which cloud."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from infra.networks import network
from jobs.enriching.addresses import NO_ADDRESS, as_ip, as_matrix
from jobs.enriching.cloudranges import CloudPlace, CloudRanges
from jobs.enriching.generations import GenerationCache
from jobs.enriching.geo import GeoPlace, places
from jobs.enriching.inventory import Inventory
from jobs.enriching.prefixes import PrefixTable
from jobs.enriching.settings import EnrichmentSettings

#: What has no name that anybody could tell: this network, loopback, link-local, multicast and reserved addresses.
NAMELESS = (
    *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    *("::/127", "fe80::/10", "ff00::/8"),
)


class AddressFacts(NamedTuple):
    """Of one address."""

    internal: bool
    named: bool  # it may have a name in DNS
    instance: str | None  # name of our own machine in a cloud
    place: GeoPlace
    cloud: CloudPlace


NO_FACTS = AddressFacts(False, False, None, GeoPlace(), CloudPlace())


class FactBook:
    """Facts of addresses, remembered until a file says otherwise.

    Parameters
    ----------
    settings
        Of the enrichment.
    inventory
        Our own machines in clouds.
    clock
        Seconds.

    Raises
    ------
    ConfigError
        A file is missing or damaged.
    """

    def __init__(self, settings: EnrichmentSettings, inventory: Inventory, clock: Callable[[], float] = time.monotonic) -> None:
        self._internal = PrefixTable((network(text), 0) for text in settings.internal)
        self._nameless = PrefixTable((network(text), 0) for text in NAMELESS)
        self._places = places(settings.geoip)
        self._ranges = CloudRanges(settings.cloud)
        self._inventory = inventory
        self._machines = inventory.machines
        self._known: GenerationCache[bytes, AddressFacts] = GenerationCache(settings.cache.max_memory_entries)
        self._clock, self._every = clock, settings.reload_seconds
        self._looked = clock()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, addresses: list[bytes]) -> list[AddressFacts]:
        """Of each of the addresses, of 16 bytes, none of them twice."""
        self._look()
        found = {a: known for a in addresses if (known := self._known.get(a))}
        if missing := [a for a in addresses if a not in found]:
            learnt = self._learn(missing)
            for address, facts in zip(missing, learnt, strict=True):
                self._known.put(address, facts)
            found.update(zip(missing, learnt, strict=True))
        return [found[a] for a in addresses]

    def _look(self) -> None:
        if self._inventory.machines is not self._machines:
            self._machines = self._inventory.machines
            self._known.clear()
        now = self._clock()
        if now - self._looked < self._every:
            return
        self._looked = now
        if self._places.look() + self._ranges.look():
            self._known.clear()

    def _learn(self, addresses: list[bytes]) -> list[AddressFacts]:
        matrix = as_matrix(addresses)
        internal = (self._internal.find(matrix) >= 0).tolist()
        nameless = (self._nameless.find(matrix) >= 0).tolist()
        clouds = self._ranges.find(matrix)
        return [
            self._facts(a, inside, not unnamed, cloud) if a != NO_ADDRESS else NO_FACTS
            for a, inside, unnamed, cloud in zip(addresses, internal, nameless, clouds, strict=True)
        ]

    def _facts(self, address: bytes, internal: bool, named: bool, cloud: CloudPlace) -> AddressFacts:
        place = self._places.place(as_ip(address))
        if machine := self._machines.get(address):
            return AddressFacts(internal, named, machine.name, place, CloudPlace(machine.cloud, machine.region, machine.service))
        return AddressFacts(internal, named, None, place, cloud)
