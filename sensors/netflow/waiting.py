"""Datagrams that wait to be sent, bounded in bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from schemas.rawflows import RawDatagram

#: Bytes of a datagram in memory beside its payload, roughly.
DATAGRAM_BYTES = 320


class DatagramQueue:
    """Between the threads that receive and the one that sends; never makes the former wait.

    Parameters
    ----------
    bound
        Bytes. Whoever puts something looks at :attr:`depth` before: what is put is taken.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._waiting: deque[tuple[Sequence[RawDatagram], int]] = deque()
        self._bytes = 0
        self._datagrams = 0
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Datagrams that wait."""
        return self._datagrams

    @property
    def depth(self) -> float:
        """Share of the bound that is used."""
        return self._bytes / self._bound

    def share(self, payload_bytes: int) -> float:
        """Share of the bound that a datagram takes."""
        return (payload_bytes + DATAGRAM_BYTES) / self._bound

    def put(self, datagrams: Sequence[RawDatagram]) -> None:
        """Append."""
        size = sum(len(d.payload) for d in datagrams) + DATAGRAM_BYTES * len(datagrams)
        with self._changed:
            self._waiting.append((datagrams, size))
            self._bytes += size
            self._datagrams += len(datagrams)
            self._changed.notify()

    def get(self, most_bytes: int, timeout_s: float) -> list[RawDatagram]:
        """The oldest, until there are ``most_bytes``; none when none came within ``timeout_s``."""
        taken: list[RawDatagram] = []
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            while self._waiting and most_bytes > 0:
                datagrams, size = self._waiting.popleft()
                taken += datagrams
                self._bytes -= size
                most_bytes -= size
            self._datagrams -= len(taken)
        return taken
