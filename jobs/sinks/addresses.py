"""Addresses as the stores take them."""

from __future__ import annotations

import socket


def packed(address: str) -> bytes:
    """4 bytes of an IPv4, 16 of an IPv6 address.

    Raises
    ------
    ValueError
        It is neither; the text names it.
    """
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError) as e:
        raise ValueError(f"not an IP address: {address!r}") from e
