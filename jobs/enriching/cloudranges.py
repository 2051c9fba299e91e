"""Which addresses are of which cloud: the files that AWS, Azure and Google Cloud publish.

Formats: https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-syntax.html,
https://learn.microsoft.com/azure/virtual-network/service-tags-overview,
https://support.google.com/a/answer/10026322 (``cloud.json``, ``goog.json``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.errors import FlowlakeError
from infra.names import printable
from infra.networks import Network, network
from jobs.enriching.prefixes import PrefixTable
from jobs.enriching.reloading import WatchedFile
from jobs.enriching.settings import CloudSettings


class CloudPlace(NamedTuple):
    """Part of a cloud; ``None``: not said."""

    cloud: str | None = None  # aws, azure, gcp
    region: str | None = None  # as the provider names it
    service: str | None = None


NO_CLOUD = CloudPlace()
CloudRange = tuple[Network, CloudPlace]


def _aws(said: dict[str, Any]) -> Iterator[CloudRange]:
    """Each prefix stands under the service AMAZON, and again under the service that has it."""
    for key, prefix in (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix")):
        for entry in said[key]:
            service = None if entry.get("service") == "AMAZON" else entry.get("service")
            yield network(entry[prefix]), _place("aws", entry.get("region"), service)


def _azure(said: dict[str, Any]) -> Iterator[CloudRange]:
    """Each prefix stands under tags of the cloud, of its region, of its service, and of both."""
    for tag in said["values"]:
        properties = tag["properties"]
        place = _place("azure", properties.get("region"), properties.get("systemService"))
        yield from ((network(prefix), place) for prefix in properties["addressPrefixes"])


def _gcp(said: dict[str, Any]) -> Iterator[CloudRange]:
    for entry in said["prefixes"]:
        place = _place("gcp", entry.get("scope"), entry.get("service"))
        yield network(entry.get("ipv4Prefix") or entry["ipv6Prefix"]), place


def _place(cloud: str, region: Any, service: Any) -> CloudPlace:
    return CloudPlace(cloud, *(printable(v) if isinstance(v, str) and v else None for v in (region, service)))


_READERS: dict[str, Callable[[dict[str, Any]], Iterator[CloudRange]]] = {"aws": _aws, "azure": _azure, "gcp": _gcp}


def read_ranges(path: Path, provider: str) -> dict[Network, CloudPlace]:
    """Prefixes of a published file; what its entries for one prefix say is put together.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not what the provider publishes.
    """
    found: dict[Network, CloudPlace] = {}
    try:
        for prefix, place in _READERS[provider](json.loads(path.read_bytes())):
            before = found.get(prefix, NO_CLOUD)
            found[prefix] = CloudPlace(*(a or b for a, b in zip(before, place, strict=True)))
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"not the JSON that {provider} publishes: {type(e).__name__} {e}") from e
    except FlowlakeError as e:
        raise ValueError(f"not the JSON that {provider} publishes: {e}") from e
    return found


class CloudRanges:
    """The clouds of addresses, by the longest prefix.

    Parameters
    ----------
    settings
        Which files there are.

    Raises
    ------
    ConfigError
        A file is missing or damaged.
    """

    def __init__(self, settings: CloudSettings) -> None:
        self._files = []
        for provider in _READERS:
            path = getattr(settings, provider).ranges_path
            if path:
                name = f"enrichment.cloud.{provider}.ranges_path"
                self._files.append(WatchedFile(path, name, partial(read_ranges, provider=provider)))
        self._build()

    def _build(self) -> None:
        ranges = [entry for file in self._files for entry in file.content.items()]
        self._places = [place for _, place in ranges]
        self._table = PrefixTable((prefix, n) for n, (prefix, _) in enumerate(ranges))

    def find(self, addresses: NDArray[np.uint8]) -> list[CloudPlace]:
        """Of each of the addresses, ``uint8[n, 16]``."""
        return [self._places[n] if n >= 0 else NO_CLOUD for n in self._table.find(addresses).tolist()]

    def look(self) -> bool:
        """Read changed files again; whether there are new answers."""
        changed = sum(file.look() for file in self._files) > 0
        if changed:
            self._build()
        return changed
