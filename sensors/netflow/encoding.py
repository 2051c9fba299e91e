"""Datagrams to messages of ``flows.raw``: split by stream (see :mod:`schemas.rawflows`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.rawflows import CONTENT_RAW_FLOWS, FLOWS_RAW, MOST_DATAGRAMS, ROW_BYTES, RawDatagram, encode

#: A message is kept below this, so that a broker with its default limit (1 MiB) takes it.
MAX_MESSAGE_BYTES = 1_000_000
#: Bytes before compression, which makes them more by a 255th at worst; the longest datagram and all that is said of it fit besides.
_FULL_BYTES = 900_000


class RawFlowEncoder:
    """Datagrams as messages of ``flows.raw`` (:class:`sensors.publish.publisher.Encoder`)."""

    topic = FLOWS_RAW
    content_type = CONTENT_RAW_FLOWS
    empty = encode(())
    max_bytes = MAX_MESSAGE_BYTES
    headers: Sequence[tuple[str, bytes]] = ()

    def split(self, batch: Sequence[RawDatagram], partitions: int) -> Iterator[tuple[int, bytes, int]]:
        """Messages ``(partition, value, datagrams)`` in the order of the partitions; datagrams of a partition keep their order."""
        shares: dict[int, list[RawDatagram]] = {}
        for datagram in batch:
            shares.setdefault(datagram.stream % partitions, []).append(datagram)
        for partition in sorted(shares):
            for piece in _pieces(shares[partition]):
                yield partition, encode(piece), len(piece)


def _pieces(datagrams: Sequence[RawDatagram]) -> Iterator[Sequence[RawDatagram]]:
    """Cut so that each piece fits a message."""
    start, size = 0, 0
    for i, datagram in enumerate(datagrams):
        if size >= _FULL_BYTES or i - start == MOST_DATAGRAMS:
            yield datagrams[start:i]
            start, size = i, 0
        size += len(datagram.payload) + ROW_BYTES
    yield datagrams[start:]
