"""Flows as an Arrow stream (or file): columns of numbers, text, times and booleans, under the senders' names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import one_line
from jobs.sources.features.names import places
from jobs.sources.features.rows import GivenRows, NoFlows
from schemas.wire import arrow_stream

MAGIC_STREAM, MAGIC_FILE = b"\xff\xff\xff\xff", b"ARROW1"
#: The year 10000, and seconds of a unit.
_LATEST_S = 253_402_300_800
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
#: Bytes of a text that stands for many rows (a dictionary's): longer ones would be written out for each.
_LONGEST = 1_000


def parse(value: bytes, most: int, source: int) -> GivenRows:
    """Rows of one message; columns that no flow record has are left where they are.

    Parameters
    ----------
    value
        An Arrow IPC stream or file, of any number of record batches.
    most
        Rows that a message may have.
    source
        Number of the message.

    Raises
    ------
    NoFlows
        It is neither, it is damaged, it has too many rows, or no column that is known.
    """
    try:
        table = _read(value, most)
        columns = {name: _plain(table.column(place), table.schema.names[place]) for name, place in places(table.schema.names).items()}
    except NoFlows:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError) as e:
        raise NoFlows(f"arrow: {one_line(e, 200)}") from e

    def raw(chosen: Sequence[int]) -> bytes:
        return arrow_stream(table.take(pa.array(chosen, pa.int64())).combine_chunks())

    told = {name: column for name, column in columns.items() if column is not None}
    return GivenRows(told, np.full(table.num_rows, source, np.int64), raw)


def _read(value: bytes, most: int) -> pa.Table:
    buffer = pa.py_buffer(value)
    file = value.startswith(MAGIC_FILE)
    with pa.ipc.open_file(buffer) if file else pa.ipc.open_stream(buffer) as reader:
        names = reader.schema.names  # decodes them: damaged ones are no text
        wanted = sorted(set(places(names).values()))
    if not wanted:
        shown = ", ".join(repr(name[:40]) for name in names[:4])
        raise NoFlows(f"schema: none of its {len(names)} columns is one of a flow: {shown}")
    options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
    batches, rows = [], 0
    with pa.ipc.open_file(buffer, options=options) if file else pa.ipc.open_stream(buffer, options=options) as reader:
        for batch in (reader.get_batch(i) for i in range(reader.num_record_batches)) if file else reader:
            rows += batch.num_rows
            if rows > most:
                raise NoFlows(f"rows: more than {most:,} in a message")
            batch.validate(full=True)  # offsets and text that point outside their buffers would crash later readers
            batches.append(batch)
        schema = reader.schema
    schema = batches[0].schema if batches else pa.schema([schema.field(at) for at in wanted])
    return pa.Table.from_batches(batches, schema)


def _plain(column: pa.ChunkedArray, name: str) -> pa.Array | None:
    """A column as one of the few types that are read on; None for one of nulls."""
    kind = column.type
    if pa.types.is_null(kind):
        return None
    if pa.types.is_dictionary(kind):
        for chunk in column.chunks:
            words = chunk.dictionary
            if _is_text(words.type) and pc.max(pc.binary_length(words)).as_py() is not None:
                if pc.max(pc.binary_length(words)).as_py() > _LONGEST:
                    raise NoFlows(f"schema: column {name[:80]!r} holds a text of more than {_LONGEST:,} bytes")
            elif not _is_text(words.type) and not _is_number(words.type):
                raise NoFlows(f"schema: column {name[:80]!r} is {str(kind)[:80]}")
        column = column.cast(kind.value_type)
        kind = column.type
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], kind)
    if _is_text(kind):
        return array.cast(pa.string())
    if pa.types.is_boolean(kind) or pa.types.is_int64(kind) or pa.types.is_float64(kind):
        return array
    if _is_number(kind):
        exact = pa.types.is_integer(kind) and not pa.types.is_uint64(kind)
        return array.cast(pa.int64() if exact else pa.float64(), safe=False)
    if pa.types.is_date(kind):
        return _moments(array.cast(pa.timestamp("s") if pa.types.is_date32(kind) else pa.timestamp("ms")))
    if pa.types.is_timestamp(kind):
        return _moments(array)
    raise NoFlows(f"schema: column {name[:80]!r} is {str(kind)[:80]}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _moments(array: pa.Array) -> pa.Array:
    """Times in microseconds, of the same zone or none; far ones, which these do not hold, as the year 10000: no time of a packet."""
    unit, zone = array.type.unit, array.type.tz
    numbers = array.cast(pa.int64())
    per = _PER_SECOND[unit]
    far = pc.or_(pc.greater(numbers, min(_LATEST_S * per, (1 << 63) - 1)), pc.less(numbers, 0))
    numbers = pc.if_else(far, pa.scalar(min(_LATEST_S * per, (1 << 63) - 1), pa.int64()), numbers)
    us = pc.divide(numbers, per // 1_000_000) if per > 1_000_000 else pc.multiply(numbers, 1_000_000 // per)
    return us.cast(pa.timestamp("us", tz=zone))
