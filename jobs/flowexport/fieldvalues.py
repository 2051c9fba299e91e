"""Records one field after the other: what options need, and where variable lengths are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.flowexport.elements import VARIABLE
from jobs.flowexport.faults import FaultReason, MessageFault
from jobs.flowexport.layouts import FieldSpec, Layout

#: A length of one byte with this value: two more bytes have it (RFC 7011, 7).
_LONGER = 255


def variable_length(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Length of a field of variable length whose prefix is at ``at``, and where it begins.

    Raises
    ------
    MessageFault
        It goes beyond ``end``.
    """
    if at >= end:
        raise MessageFault(FaultReason.BAD_RECORD, at)
    length, first = data[at], at + 1
    if length == _LONGER:
        length, first = int.from_bytes(data[at + 1 : at + 3], "big"), at + 3
    if first + length > end:
        raise MessageFault(FaultReason.BAD_RECORD, at)
    return length, first


def values(fields: Sequence[FieldSpec], least: int, data: bytes, at: int, end: int) -> Iterator[list[bytes]]:
    """Values of the fields of each record in ``data[at:end]``; what is shorter than any record (``least``) is padding.

    Raises
    ------
    MessageFault
        A field goes beyond the end.
    """
    while end - at >= least > 0:
        record = []
        for f in fields:
            length, at = variable_length(data, at, end) if f.length == VARIABLE else (f.length, at)
            if at + length > end:
                raise MessageFault(FaultReason.BAD_RECORD, at)
            record.append(data[at : at + length])
            at += length
        yield record


def take_apart(layout: Layout, data: bytes, at: int, end: int) -> tuple[list[bytes], list[list[bytes]], list[int]]:
    """Records of variable length.

    Returns
    -------
    pieces, values, starts
        The bytes of all fixed fields, in pieces; of each record the values of its variable fields, and where it begins.

    Raises
    ------
    MessageFault
        A field goes beyond the end.
    """
    pieces: list[bytes] = []
    records: list[list[bytes]] = []
    starts: list[int] = []
    while end - at >= layout.least:
        record = []
        starts.append(at)
        for v in layout.variable:
            if v.before:
                pieces.append(data[at : at + v.before])
                at += v.before
            length, at = variable_length(data, at, end)
            record.append(data[at : at + length])
            at += length
        if at + layout.tail > end:
            raise MessageFault(FaultReason.BAD_RECORD, at)
        if layout.tail:
            pieces.append(data[at : at + layout.tail])
            at += layout.tail
        records.append(record)
    return pieces, records, starts
