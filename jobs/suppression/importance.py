"""How much the hosts of an attack matter, from the asset list. Pure: it goes to the tasks, which see every address.

There, not where alerts are written: an alert about many hosts keeps a sample of them only, and which hosts are in a sample depends on what
came before. The highest importance of all of them is a maximum, the same wherever batches are cut.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network

import numpy as np
import numpy.typing as npt

from schemas.assets import UNKNOWN

_MAPPED = bytes(10) + b"\xff\xff"


class AssetList:
    """Importance by address; the longest prefix counts.

    Parameters
    ----------
    assets
        Networks and their importance, 1 (low) .. 4 (critical).
    """

    def __init__(self, assets: Iterable[tuple[IPv4Network | IPv6Network, int]] = ()) -> None:
        # (bytes of an address, bits that are not of the prefix) -> prefix -> importance
        self._by_length: dict[tuple[int, int], dict[int, int]] = {}
        for network, importance in assets:
            rest = network.max_prefixlen - network.prefixlen
            self._by_length.setdefault((network.max_prefixlen // 8, rest), {})[int(network.network_address) >> rest] = importance
        self._lengths = {size: sorted(rest for of, rest in self._by_length if of == size) for size in (4, 16)}

    def __len__(self) -> int:
        return sum(map(len, self._by_length.values()))

    def importance(self, address: str) -> int:
        """Of one address; :data:`schemas.assets.UNKNOWN` where no asset holds it, or it is no address."""
        try:
            packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        except (OSError, ValueError):
            return UNKNOWN
        if packed.startswith(_MAPPED) and len(packed) == 16:
            packed = packed[12:]
        number = int.from_bytes(packed)
        for rest in self._lengths[len(packed)]:
            found = self._by_length[len(packed), rest].get(number >> rest)
            if found is not None:
                return found
        return UNKNOWN

    def importances(self, addresses: npt.NDArray[np.object_]) -> npt.NDArray[np.int8]:
        """Of many addresses, each distinct one looked up once."""
        if not self._by_length:
            return np.full(len(addresses), UNKNOWN, np.int8)
        known: Mapping[str, int] = {address: self.importance(address) for address in set(addresses.tolist())}
        return np.fromiter((known[address] for address in addresses), np.int8, len(addresses))


#: No asset is known.
NO_ASSETS = AssetList()
