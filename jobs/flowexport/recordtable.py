"""Decoded records as rows of the record type (:mod:`schemas.exportedflows`): texts for numbers, measures that a model reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.flowexport.columns import ADDRESS, FlowMark, RateSource
from jobs.flowexport.duplicates import Addresses, halves, hashed
from jobs.metering.identity import address_texts
from jobs.uuids import uuid_texts
from schemas.exportedflows import DIRECTIONS, END_REASONS, PROTOCOLS, SAMPLING, SCHEMA
from sensors.packets.decode import tunnel_name

Columns = Mapping[str, NDArray[Any]]
_MOST = np.uint64((1 << 63) - 1)
_TIMES = {"received_time": "received_us", "export_time": "exported_us", "start_time": "start_us", "end_time": "end_us"}
_ADDRESSES = {
    "exporter_ip": "exporter",
    "sender_ip": "sender",
    "src_ip": "src",
    "dst_ip": "dst",
    "next_hop": "next_hop",
    "bgp_next_hop": "bgp_next_hop",
    "nat_src_ip": "nat_src",
    "nat_dst_ip": "nat_dst",
}
#: Columns that only have another name.
_RENAMED = {
    "exporter_domain": "domain",
    "protocol": "proto",
    "sampling_rate": "rate",
    "input_interface": "input",
    "output_interface": "output",
    "nat_src_port": "nat_sport",
    "nat_dst_port": "nat_dport",
}
_NAMES = {
    "input_name": "input_name",
    "output_name": "output_name",
    "vrf_in_name": "vrf_in_name",
    "vrf_out_name": "vrf_out_name",
    "application": "application_name",
}
_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32}
_ICMP = (1, 58)
#: Columns of words: the numbers that they are of, one byte each, and the word of each number.
_WORDS: dict[str, tuple[str, list[str]]] = {
    name: (of, [known.get(code, "") for code in range(256)])
    for name, of, known in (
        ("export_protocol", "version", PROTOCOLS),
        (
            "sampling_source",
            "rate_source",
            {int(source): word for source, word in zip(RateSource.__members__.values(), SAMPLING, strict=True)},
        ),
        ("direction", "direction", DIRECTIONS),
        ("end_reason", "end_reason", dict(enumerate(END_REASONS))),
    )
}


class FlowCollector(NamedTuple):
    """Who received the datagrams: the sensor's id and its observation domain."""

    sensor_id: str
    domain: str


def numbers(batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
    """What :meth:`jobs.flowexport.columns.FlowColumns.to_arrow` gave, as arrays: numbers, times in us, addresses as ``uint8[n, 16]``."""
    found: dict[str, NDArray[Any]] = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_fixed_size_binary(field.type):
            data = np.frombuffer(column.buffers()[1], np.uint8)
            found[field.name] = data[column.offset * ADDRESS : (column.offset + len(column)) * ADDRESS].reshape(-1, ADDRESS)
        elif pa.types.is_timestamp(field.type):
            found[f"{field.name}_us"] = column.view(pa.int64()).to_numpy()
        elif pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            found[field.name] = column.to_numpy()
    return found


def records(
    batch: pa.RecordBatch, columns: Columns, collector: FlowCollector, duplicate_of: Addresses, found: Mapping[str, pa.Array]
) -> pa.RecordBatch:
    """Rows of the record type.

    Parameters
    ----------
    batch
        Decoded records (:meth:`jobs.flowexport.columns.FlowColumns.to_arrow`), and their ``columns`` (:func:`numbers`).
    collector
        Who received them.
    duplicate_of
        ``uint8[n, 16]``: whose duplicate each is; zeros: of none.
    found
        Columns that were looked up; what is missing is null, or says nothing.

    Returns
    -------
    pa.RecordBatch
        :data:`schemas.exportedflows.SCHEMA`.
    """
    n = batch.num_rows
    made: dict[str, pa.Array | NDArray[Any]] = {
        "flow_id": _identities(columns),
        "sensor_id": pa.repeat(collector.sensor_id, n),
        "domain": pa.repeat(collector.domain, n),
        **{name: words(table, columns[of]) for name, (of, table) in _WORDS.items()},
        "tunnel": each(columns["tunnel"], tunnel_name),
        "marks": each(columns["marks"], _mark_names),
        "src_mac": _macs(columns["src_mac"]),
        "dst_mac": _macs(columns["dst_mac"]),
        "icmp_type": _unless(columns["icmp_type"], -1, pa.int16()),
        "icmp_code": _unless(columns["icmp_code"], -1, pa.int16()),
        "extra": extra_texts(batch.column("extra")),
        "duplicate_of": addresses_text(duplicate_of),
        **{name: addresses_text(columns[of]) for name, of in _ADDRESSES.items()},
        **{name: columns[of] for name, of in _TIMES.items()},
        **_ports(columns),
        **{name: columns[of] for name, of in _RENAMED.items()},
        **{name: pc.if_else(pc.equal(batch.column(of), ""), None, batch.column(of)) for name, of in _NAMES.items()},
        **measures(columns),
        **found,
    }
    arrays = [_array(made.get(field.name, columns.get(field.name)), field, n) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def measures(columns: Columns) -> dict[str, NDArray[Any]]:
    """What a model reads beside a record's own numbers. Rates are of a second at least: a single packet says nothing of speed."""
    duration = np.maximum(columns["end_us"] - columns["start_us"], 0) / 1e6
    both = [columns[name].astype(np.float64) + columns[f"reverse_{name}"].astype(np.float64) for name in ("bytes", "packets")]
    scale = columns["rate"] * columns["kept_of"].astype(np.float64)
    seconds = np.maximum(duration, 1.0)
    flags = columns["tcp_flags"] | columns["reverse_tcp_flags"]
    return {
        "duration": duration,
        "bytes_per_packet": both[0] / np.maximum(both[1], 1.0),
        "bytes_per_sec": both[0] * scale / seconds,
        "packets_per_sec": both[1] * scale / seconds,
        "reverse_share": columns["reverse_bytes"] / np.maximum(both[0], 1.0),
        **{name: (flags & bit != 0).astype(np.int8) for name, bit in _FLAGS.items()},
    }


def words(table: Sequence[str], codes: NDArray[Any]) -> pa.Array:
    """Text of each code."""
    return pa.array(table, pa.string()).take(pa.array(codes.astype(np.int32)))


def each(codes: NDArray[Any], text: Callable[[int], str]) -> pa.Array:
    """Text of each number, of which few differ."""
    unique, index = np.unique(codes, return_inverse=True)
    return words([text(int(code)) for code in unique], index.reshape(-1))


def addresses_text(addresses: Addresses) -> pa.Array:
    """Addresses as text, those of zeros as null."""
    hi, lo = halves(addresses)
    none = (hi == 0) & (lo == 0)
    if none.all():
        return pa.nulls(len(none), pa.string())
    four = (hi == 0) & (lo >> np.uint64(32) == 0xFFFF)
    texts = address_texts(np.where(four, 4, 6).astype(np.uint8), hi, np.where(four, lo & np.uint64(0xFFFFFFFF), lo))
    return pc.if_else(pa.array(none), None, texts) if none.any() else texts


def extra_texts(extra: pa.MapArray) -> pa.Array:
    """Fields without a column of each record as a JSON object of hexadecimal digits; null where there is none."""
    first, last = extra.offsets[0].as_py(), extra.offsets[len(extra)].as_py()
    if first == last:
        return pa.nulls(len(extra), pa.string())
    keys, values = extra.keys[first:last], extra.items[first:last]
    fields = pc.binary_join_element_wise('"', keys, '":"', _hex(values), '"', "")
    offsets = pc.subtract(extra.offsets[: len(extra) + 1], first)
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets.cast(pa.int32()), fields), ",")
    whole = pc.binary_join_element_wise("{", joined, "}", "")
    return pc.if_else(pc.equal(joined, ""), None, whole)


def _hex(values: pa.BinaryArray) -> pa.StringArray:
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    digits = bytes(data)[ends[0] : ends[-1]].hex().encode()
    return pa.StringArray.from_buffers(len(values), pa.py_buffer((ends - ends[0]) * np.int32(2)), pa.py_buffer(digits))


def _ports(columns: Columns) -> dict[str, NDArray[Any]]:
    """0 of ICMP: exporters write type and code where a port would stand, and these have columns of their own."""
    ported = ~np.isin(columns["proto"], _ICMP)
    return {"src_port": np.where(ported, columns["sport"], 0), "dst_port": np.where(ported, columns["dport"], 0)}


def _identities(columns: Columns) -> pa.Array:
    """Ids of records, the same however often a datagram is decoded."""
    sender, exporter = halves(columns["sender"]), halves(columns["exporter"])
    stream = columns["told_port"].astype(np.uint64) << np.uint64(8) | columns["version"].astype(np.uint64)
    origin = stream << np.uint64(32) | columns["domain"].astype(np.uint64)
    place = columns["sequence"].astype(np.uint64) << np.uint64(32) | columns["position"].astype(np.uint64)
    high = hashed(*sender, *exporter, origin, columns["exported_us"].view(np.uint64), place)
    return uuid_texts(high, hashed(high, place, origin))


def _mark_names(marks: int) -> str:
    return ",".join(str(mark.name).lower().translate({95: 45}) for mark in FlowMark if marks & mark)


def _macs(values: NDArray[np.uint64]) -> pa.Array:
    """48 bits as ``02:00:00:00:00:01``; null of 0."""
    unique, index = np.unique(values, return_inverse=True)
    texts = [":".join(f"{int(v):012x}"[i : i + 2] for i in range(0, 12, 2)) if v else None for v in unique]
    return pa.array(texts, pa.string()).take(pa.array(index.reshape(-1)))


def _unless(values: NDArray[Any], nothing: int, kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind, mask=values == nothing)


def _nothing(kind: pa.DataType) -> pa.Scalar:
    return pa.scalar("" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 0, kind)


def _array(values: pa.Array | NDArray[Any] | None, field: pa.Field, n: int) -> pa.Array:
    """A column of its type; where nothing is known null, or what says nothing."""
    if values is None:
        return pa.nulls(n, field.type) if field.nullable else pa.repeat(_nothing(field.type), n)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == field.type else values.cast(field.type)
    if pa.types.is_timestamp(field.type):
        return pa.array(np.ascontiguousarray(values, np.int64), pa.int64()).view(field.type)
    if pa.types.is_boolean(field.type):
        return pa.array(values)
    if values.dtype == np.uint64:
        values = np.minimum(values, _MOST)
    return pa.array(np.ascontiguousarray(values, field.type.to_pandas_dtype()), field.type)
