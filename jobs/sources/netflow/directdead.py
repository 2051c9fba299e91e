"""Datagrams that a collector without Kafka could not decode: rows of ``flow_raw_dead_letters``, as there is no topic for them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

import pyarrow as pa

from jobs.flowexport.datagrams import address_text
from jobs.flowexport.faults import Rejected
from schemas.rawflows import RawDatagram

#: Kept a second: whoever floods a port with nonsense is counted, and does not fill the database.
MOST_A_SECOND = 100
_SCHEMA = pa.schema([
    ("received_at", pa.timestamp("us", tz="UTC")),
    ("id", pa.int64()),
    ("collector", pa.string()),
    ("sender", pa.string()),
    ("sender_port", pa.int32()),
    ("reason", pa.string()),
    ("at_byte", pa.int32()),
    ("kept_of", pa.int32()),
    ("datagram", pa.binary()),
])  # fmt: skip


class DirectDeadLetters:
    """Gathers them.

    Parameters
    ----------
    collector
        Who received them.
    clock
        Seconds, by which :data:`MOST_A_SECOND` are counted.

    Attributes
    ----------
    left_out
        Datagrams beyond :data:`MOST_A_SECOND`, which are kept nowhere.
    """

    def __init__(self, collector: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._collector, self._clock = collector, clock
        self._waiting: list[tuple[Rejected, RawDatagram]] = []
        self._second, self._taken = 0, 0
        self.left_out = 0

    def take(self, rejected: Sequence[Rejected], datagrams: Sequence[RawDatagram]) -> None:
        """Gather what was refused of some datagrams: each datagram once, with its first fault."""
        if (second := int(self._clock())) != self._second:
            self._second, self._taken = second, 0
        first = {one.datagram: one for one in reversed(rejected)}
        faults = [first[number] for number in sorted(first)]
        room = MOST_A_SECOND - self._taken
        self._waiting += [(one, datagrams[one.datagram]) for one in faults[:room]]
        self._taken += len(faults[:room])
        self.left_out += len(faults[room:])

    def rows(self) -> pa.Table | None:
        """Rows of those gathered since the last time; None: there are none."""
        if not self._waiting:
            return None
        made = [
            {
                "received_at": d.received_us,
                "id": _id(d),
                "collector": self._collector,
                "sender": address_text(d.sender),
                "sender_port": d.port,
                "reason": str(fault.reason),
                "at_byte": fault.at,
                "kept_of": d.kept_of,
                "datagram": d.payload,
            }
            for fault, d in self._waiting
        ]
        self._waiting = []
        return pa.Table.from_pylist(made, schema=_SCHEMA)


def _id(d: RawDatagram) -> int:
    """63 bits of what came, from whom, and when."""
    about = d.sender + d.port.to_bytes(2, "big") + d.received_us.to_bytes(8, "big")
    return int.from_bytes(hashlib.blake2b(about + d.payload, digest_size=8).digest(), "big") >> 1
