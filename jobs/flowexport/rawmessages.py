"""Messages of ``flows.raw`` as what the decoder takes."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.flowexport.datagrams import DatagramBatch
from schemas.rawflows import RawMessage


def datagrams_of(every: Sequence[RawMessage]) -> DatagramBatch:
    """The datagrams of some messages, in order."""
    offsets = [0]
    for raw in every:
        base = offsets[-1]
        offsets += [base + at for at in raw.offsets[1:]]
    return DatagramBatch(
        b"".join(raw.data for raw in every),
        offsets,
        [one for raw in every for one in raw.senders],
        [one for raw in every for one in raw.ports],
        [one for raw in every for one in raw.received_us],
        [one for raw in every for one in raw.kept_of],
    )
