"""Addresses of 16 bytes: IPv4 as IPv4-mapped IPv6, zeros where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.networks import Network

LENGTH = 16
NO_ADDRESS = bytes(LENGTH)
MAPPED = bytes(10) + b"\xff\xff"
MAPPED_FIRST = int.from_bytes(MAPPED + bytes(4))
MAPPED_LAST = MAPPED_FIRST + 0xFFFFFFFF


def distinct(*columns: NDArray[np.uint8]) -> tuple[list[bytes], list[NDArray[np.int32]]]:
    """Each address once.

    Parameters
    ----------
    columns
        ``uint8[n, 16]`` each.

    Returns
    -------
    addresses
        In the order in which they come first.
    places
        For each column, ``int32[n]``: which of the addresses stands there.
    """
    rows = np.concatenate([np.ascontiguousarray(c, np.uint8).reshape(-1, LENGTH) for c in columns])
    kind = pa.binary(LENGTH)
    coded = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)]).dictionary_encode()
    places = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return coded.dictionary.to_pylist(), np.split(places, np.cumsum([len(c) for c in columns])[:-1])


def as_matrix(addresses: Sequence[bytes]) -> NDArray[np.uint8]:
    """Addresses as ``uint8[n, 16]``."""
    return np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, LENGTH)


def as_ip(address: bytes) -> IPv4Address | IPv6Address:
    """As the standard library has it; an IPv4-mapped one as IPv4."""
    return IPv4Address(address[12:]) if address.startswith(MAPPED) else IPv6Address(address)


def packed(text: str) -> bytes:
    """An address as people write it, as 16 bytes.

    Raises
    ------
    ValueError
        It is none.
    """
    found = ip_address(text)
    return MAPPED + found.packed if isinstance(found, IPv4Address) else found.packed


def bounds(network: Network) -> tuple[int, int]:
    """First and last address of a network, as numbers of 128 bits."""
    first = int(network.network_address)
    last = first + network.num_addresses - 1
    return (first + MAPPED_FIRST, last + MAPPED_FIRST) if isinstance(network, IPv4Network) else (first, last)
