"""The columns about the two ends of a flow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.enriching.addresses import NO_ADDRESS, distinct
from jobs.enriching.facts import AddressFacts, FactBook
from jobs.enriching.hostnames import HostNames
from jobs.enriching.inventory import Inventory
from jobs.enriching.resolving import DnsResolver
from jobs.enriching.settings import EnrichmentSettings
from jobs.enriching.sharedcache import shared_names

#: Columns of one end, without ``src_`` or ``dst_``.
END_COLUMNS: dict[str, pa.DataType] = {
    "hostname": pa.string(),
    "country": pa.string(),
    "city": pa.string(),
    "latitude": pa.float64(),
    "longitude": pa.float64(),
    "asn": pa.int64(),
    "as_org": pa.string(),
    "cloud": pa.string(),
    "cloud_region": pa.string(),
    "cloud_service": pa.string(),
}


class Enricher:
    """Tells what is known about addresses. Made in the process that uses it (:func:`enricher`), used by one thread at a time.

    Parameters
    ----------
    settings
        What is looked up, and where.
    clock
        Seconds.

    Raises
    ------
    ConfigError
        A file is missing or damaged, or a package is not installed.
    """

    def __init__(self, settings: EnrichmentSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._inventory = Inventory(settings.cloud)
        self._facts = FactBook(settings, self._inventory, clock)
        self._everywhere = settings.dns.scope == "all"
        self._names: HostNames | None = None
        if settings.dns.enabled:
            shared = shared_names(settings.cache)
            self._names = HostNames(settings.dns, DnsResolver(settings.dns), shared, settings.cache.max_memory_entries, clock)

    def ends(self, src: NDArray[np.uint8], dst: NDArray[np.uint8]) -> dict[str, pa.Array]:
        """Columns about sources and destinations.

        Waits for no network, or ``dns.wait_ms`` at most: what is not known yet is null, and asked for in the background.

        Parameters
        ----------
        src, dst
            ``uint8[n, 16]``: IPv4 as IPv4-mapped IPv6, zeros: no address, of which nothing is known.

        Returns
        -------
        dict
            :data:`END_COLUMNS` of either end, and ``is_internal``, ``is_ingress``, ``is_egress``, which are never null.
        """
        addresses, (at_src, at_dst) = distinct(src, dst)
        facts = self._facts.find(addresses)
        columns = self._columns(addresses, facts)
        made = {f"{end}_{name}": values.take(at) for end, at in (("src", at_src), ("dst", at_dst)) for name, values in columns.items()}
        return {**made, **_directions(addresses, facts, at_src, at_dst)}

    def figures(self) -> dict[str, int]:
        """Counts for metrics: addresses remembered, and what became of lookups of names, since the process began."""
        names = self._names.figures() if self._names else {}
        return {"addresses": len(self._facts), "machines": len(self._inventory.machines), **{f"names_{k}": v for k, v in names.items()}}

    def close(self) -> None:
        """Ask nobody anything more."""
        self._inventory.close()
        if self._names:
            self._names.close()

    def _columns(self, addresses: Sequence[bytes], facts: Sequence[AddressFacts]) -> dict[str, pa.Array]:
        """Of each address, once."""
        places, clouds = [f.place for f in facts], [f.cloud for f in facts]
        values: dict[str, list[Any]] = {
            "hostname": self._hostnames(addresses, facts),
            "country": [p.country for p in places],
            "city": [p.city for p in places],
            "latitude": [p.latitude for p in places],
            "longitude": [p.longitude for p in places],
            "asn": [p.asn for p in places],
            "as_org": [p.as_org for p in places],
            "cloud": [c.cloud for c in clouds],
            "cloud_region": [c.region for c in clouds],
            "cloud_service": [c.service for c in clouds],
        }
        return {name: pa.array(values[name], kind) for name, kind in END_COLUMNS.items()}

    def _hostnames(self, addresses: Sequence[bytes], facts: Sequence[AddressFacts]) -> list[str | None]:
        names = [f.instance for f in facts]
        if self._names:
            wanted = [n for n, f in enumerate(facts) if f.named and (f.internal or self._everywhere)]
            for n, name in zip(wanted, self._names.find([addresses[n] for n in wanted]), strict=True):
                names[n] = name or names[n]
        return names


def _directions(
    addresses: Sequence[bytes], facts: Sequence[AddressFacts], at_src: NDArray[np.int32], at_dst: NDArray[np.int32]
) -> dict[str, pa.Array]:
    inside = np.fromiter((f.internal for f in facts), np.bool_, len(facts))
    outside = ~inside & np.fromiter((a != NO_ADDRESS for a in addresses), np.bool_, len(addresses))
    return {
        "is_internal": pa.array(inside[at_src] & inside[at_dst]),
        "is_ingress": pa.array(outside[at_src] & inside[at_dst]),
        "is_egress": pa.array(inside[at_src] & outside[at_dst]),
    }


#: With the process that made it: a fork has none of the threads.
_MADE: list[tuple[int, EnrichmentSettings, Enricher]] = []


def enricher(settings: EnrichmentSettings) -> Enricher:
    """The enricher of this process for these settings: made once, so that what it has found serves all its tasks.

    Raises
    ------
    ConfigError
        See :class:`Enricher`.
    """
    for process, known, made in _MADE:
        if process == os.getpid() and known == settings:
            return made
    made = Enricher(settings)
    _MADE.append((os.getpid(), settings, made))
    return made
