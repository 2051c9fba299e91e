"""Messages of ``flows.raw`` as what the decoder takes."""

from __future__ import annotations

from jobs.flowexport.datagrams import DatagramBatch
from schemas import rawflows


def datagrams_of(message: bytes) -> DatagramBatch:
    """The datagrams of one message, in order.

    Raises
    ------
    schemas.rawflows.RawFlowsError
        It is none, or damaged.
    """
    raw = rawflows.decode(message)
    return DatagramBatch(raw.data, raw.offsets, raw.senders, raw.ports, raw.received_us, raw.kept_of)
