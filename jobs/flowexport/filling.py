"""From gathered records to columns: each field of all records of a layout is read in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.flowexport.chunk import PART_DTYPE, ExportChunk, LayoutGroup
from jobs.flowexport.columns import FlowColumns, FlowMark, addresses
from jobs.flowexport.derived import Given, derive
from jobs.flowexport.extras import Extras
from jobs.flowexport.layouts import Read
from jobs.flowexport.naming import give_names
from jobs.flowexport.rating import give_rates
from jobs.flowexport.rules import DecodeRules
from jobs.flowexport.samplecolumns import fill_samples
from jobs.flowexport.targets import FieldShape
from jobs.flowexport.times import Clock


def filled(chunk: ExportChunk, rules: DecodeRules) -> FlowColumns:
    """The columns of all records of a chunk."""
    out = FlowColumns.empty(chunk.rows)
    parts = np.array(chunk.parts, PART_DTYPE)
    owner = np.zeros(chunk.rows, np.int32)  # part of each record
    header_rate = np.zeros(chunk.rows)
    extras: list[Extras] = []
    applications: list[tuple[int, Sequence[bytes]]] = []
    named = any(o.applications for o in chunk.options)
    at = 0
    for group in chunk.groups.values():
        n = sum(group.counts)
        rows = slice(at, at + n)
        counts = np.asarray(group.counts)
        owner[rows] = np.repeat(np.asarray(group.parts, np.int32), counts)
        out["position"][rows] = _positions(group, parts, counts, owner[rows])
        header_rate[rows] = parts["rate"][owner[rows]]
        given = _given(group, n, out, rows)
        derive(group.layout, given, out, rows, _clock(chunk, parts, owner[rows]), rules)
        extras.append(_extras(group, n))
        if named:
            applications.append((at, _applications(group, n)))
        at += n
    rows = slice(at, chunk.rows)
    owner[rows] = fill_samples(chunk.samples, out, rows)
    out["start_us"][rows] = out["end_us"][rows] = parts["received_us"][owner[rows]]
    extras.append(Extras.none(chunk.rows - at - len(chunk.samples.flows)))
    extras.append(Extras.of_fields([s.extras for s in chunk.samples.flows]))
    out.extras = Extras.joined(extras)
    _give_parts(chunk, parts, owner, out)
    give_rates(chunk.options, parts["options"][owner], header_rate, out)
    give_names(chunk.options, parts["options"][owner], applications, out)
    return out


def _positions(group: LayoutGroup, parts: NDArray[Any], counts: NDArray[Any], owner: NDArray[np.int32]) -> NDArray[Any]:
    """Where in its datagram each record begins."""
    if group.layout.variable:
        return np.asarray(group.starts, np.uint32)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return parts["base"][owner] + number * group.layout.fixed


def _given(group: LayoutGroup, n: int, out: FlowColumns, rows: slice) -> Given:
    """Read the fields: those of columns into them, the others are returned by the names of their targets."""
    layout = group.layout
    given: Given = {}
    if layout.fixed:
        records = np.frombuffer(b"".join(group.pieces), layout.dtype, n)
        for read in layout.reads:
            values = _values(records[read.name], read)
            if read.target in out.columns:
                column = out[read.target]
                if values.dtype.itemsize > column.dtype.itemsize:  # never more than the column holds
                    values = np.minimum(values, np.iinfo(column.dtype).max)
                column[rows] = values
            else:
                given[read.target] = values
    for i, v in enumerate(layout.variable):
        if v.shape is FieldShape.FRAME:
            given[v.target] = np.empty(n, object)
            given[v.target][:] = [values[i] for values in group.values]
    return given


def _values(raw: NDArray[Any], read: Read) -> NDArray[Any]:
    if read.shape is not FieldShape.NUMBER or raw.ndim == 1:
        return raw
    value = np.zeros(len(raw), np.uint64)
    for k in range(read.length):
        value = value << np.uint64(8) | raw[:, k]
    return value


def _clock(chunk: ExportChunk, parts: NDArray[Any], owner: NDArray[np.int32]) -> Clock:
    boots = np.asarray([o.boot_ms for o in chunk.options], np.int64)
    received, exported, uptime = (parts[name][owner] for name in ("received_us", "exported_us", "uptime_ms"))
    return Clock(received, exported, uptime, boots[parts["options"]][owner])


def _extras(group: LayoutGroup, n: int) -> Extras:
    layout = group.layout
    if not layout.variable:
        if not layout.kept:
            return Extras.none(n)
        keys, sizes = [k.key for k in layout.kept], [k.length for k in layout.kept]
        table = np.frombuffer(b"".join(group.pieces), np.uint8).reshape(n, layout.fixed)
        places = np.concatenate([np.arange(k.offset, k.offset + k.length) for k in layout.kept])
        return Extras.uniform(n, keys, sizes, table[:, places].tobytes())
    body = b"".join(group.pieces)
    records = []
    for i, values in enumerate(group.values):
        at = i * layout.fixed
        fixed = [(k.key, body[at + k.offset : at + k.offset + k.length]) for k in layout.kept]
        fixed.extend((v.key, value) for v, value in zip(layout.variable, values, strict=True) if v.kept and value)
        records.append(fixed)
    return Extras.of_fields(records)


def _applications(group: LayoutGroup, n: int) -> Sequence[bytes]:
    """Application id of each record, for its name; nothing where the layout has none."""
    for read in group.layout.reads:
        if read.target == "_application":
            records = np.frombuffer(b"".join(group.pieces), group.layout.dtype, n)
            return [value.tobytes() for value in records[read.name]]
    for i, v in enumerate(group.layout.variable):
        if v.target == "_application":
            return [values[i] for values in group.values]
    return []


def _give_parts(chunk: ExportChunk, parts: NDArray[Any], owner: NDArray[np.int32], out: FlowColumns) -> None:
    """What holds of all records of a part."""
    if not len(parts):
        return
    for name in ("port", "template", "sequence", "datagram", "received_us", "exported_us", "kept_of"):
        np.take(np.ascontiguousarray(parts[name]), owner, out=out[name])
    number = parts["session"][owner]
    sessions = chunk.sessions
    np.take(addresses([s.exporter for s in sessions]), number, axis=0, out=out["exporter"])
    np.take(addresses([s.key.sender for s in sessions]), number, axis=0, out=out["sender"])
    out["domain"][:] = np.asarray([s.key.domain for s in sessions], np.uint32)[number]
    out["told_port"][:] = np.asarray([s.key.port for s in sessions], np.uint16)[number]
    out["version"][:] = np.asarray([s.key.version for s in sessions], np.uint8)[number]
    out["marks"][out["datagram"] < 0] |= np.uint32(FlowMark.DELAYED)
