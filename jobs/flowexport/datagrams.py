"""A batch of datagrams as they came, one behind the other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

#: In front of an IPv4 address (RFC 4291, 2.5.5.2): every address is 16 bytes.
MAPPED = bytes(10) + b"\xff\xff"
NO_ADDRESS = bytes(16)


def address16(address: str) -> bytes:
    """An address as 16 bytes; IPv4 as IPv4-mapped IPv6.

    Raises
    ------
    ValueError
        It is none.
    """
    packed = ipaddress.ip_address(address).packed
    return packed if len(packed) == 16 else MAPPED + packed


def address_text(address: bytes) -> str:
    """Inverse of :func:`address16`."""
    return str(ipaddress.ip_address(address[12:] if address.startswith(MAPPED) else address))


@dataclass(slots=True)
class DatagramBatch:
    """``n`` datagrams.

    Attributes
    ----------
    data
        Payloads, end to end.
    offsets
        ``n + 1``: datagram ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
    senders
        ``n`` addresses of 16 bytes (:func:`address16`).
    ports
        ``n`` source ports.
    received_us
        ``n`` times of receipt, us since the epoch, UTC.
    kept_of
        Of so many datagrams a collector under pressure kept this one, ``n`` numbers; empty: every one.
    """

    data: bytes
    offsets: list[int]
    senders: list[bytes]
    ports: list[int]
    received_us: list[int]
    kept_of: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, some: Iterable[tuple[bytes, bytes, int, int]]) -> DatagramBatch:
        """From payload, sender (16 bytes), source port and time of receipt (us) of each."""
        payloads, senders, ports, times = [], [], [], []
        offsets = [0]
        for payload, sender, port, received_us in some:
            payloads.append(payload)
            offsets.append(offsets[-1] + len(payload))
            senders.append(sender)
            ports.append(port)
            times.append(received_us)
        return cls(b"".join(payloads), offsets, senders, ports, times)


@dataclass(slots=True)
class Arrival:
    """One datagram of a batch: ``data[at:end]``, its number in the batch, and where and when it came from."""

    data: bytes
    at: int
    end: int
    number: int
    sender: bytes
    port: int
    received_us: int
    kept_of: int
