"""Messages of a record type, taken apart: Kafka rows in, tables of records out, and dead letters for the rest.

Pure Arrow, no Spark: the sinks call :func:`decode` inside ``mapInArrow``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from infra.errors import one_line
from jobs.runtime.dead_letter import DeadLetter
from schemas.records import HEADER_MESSAGE_ID, HEADER_RECORD_VERSION, RecordType
from schemas.wire import Header


class BadMessage(ValueError):
    """A message that is not a batch of records of its type; the text is the dead letter's reason (``code: what``)."""


@dataclass(frozen=True)
class Message:
    """One decoded message: its rows and where it lay."""

    rows: pa.Table
    message_id: str
    topic: str
    partition: int
    offset: int
    value: bytes = field(repr=False)
    published_us: int = 0  # Kafka's time of it, microseconds since 1970; 0: unknown

    def refused(self, reason: str, query: str) -> DeadLetter:
        """The message as a dead letter (a store would not take its rows)."""
        return DeadLetter(self.value, reason, self.topic, self.partition, self.offset, query)


def _selection(record: RecordType, columns: Sequence[str] | None) -> list[int]:
    return [] if columns is None else sorted(record.published.get_field_index(name) for name in columns)


def decode_value(value: bytes | None, headers: dict[str, bytes], record: RecordType, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one message.

    Parameters
    ----------
    value
        Kafka value: an Arrow IPC stream of the record type's ``published`` columns.
    headers
        Kafka headers.
    record
        What the message should hold.
    columns
        Columns wanted; the others are neither decompressed nor checked. ``None``: all.

    Returns
    -------
    pa.Table
        The wanted columns, in the order of the schema.

    Raises
    ------
    BadMessage
        Another content type or record version, an empty value, bytes that are no (whole) Arrow stream, other columns, or a null
        where the schema has none.
    """
    content = headers.get(Header.CONTENT_TYPE, b"").decode("utf-8", "replace")
    if content != record.content_type:
        raise BadMessage(f"content-type: {content or 'none'!r}, expected {record.content_type!r}")
    version = headers.get(HEADER_RECORD_VERSION, b"").decode("utf-8", "replace")
    if version != str(record.version):
        raise BadMessage(f"record-version: {version or 'none'!r}, expected {record.version}")
    if not value:
        raise BadMessage("empty: the message has no value")
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(value))
        names = schema.names  # decodes them: damaged ones are no text
    except (pa.ArrowException, OSError, ValueError) as e:
        raise BadMessage(f"not-arrow: {one_line(e)}") from e
    expected = record.published
    there = len(names)
    # An older program's messages end before the columns that came later.
    known = pa.schema(list(expected)[:there])
    if names != known.names or schema.types != known.types or not all(field.nullable for field in list(expected)[there:]):
        raise BadMessage(f"schema: {_difference(schema, expected)}")
    wanted = _selection(record, columns)
    try:
        # At least one of them: none would be all, and without any the number of rows is not known.
        options = pa.ipc.IpcReadOptions(included_fields=wanted and ([at for at in wanted if at < there] or [0]), use_threads=False)
        with pa.ipc.open_stream(pa.py_buffer(value), options=options) as reader:
            table = reader.read_all()
        if not _ended(value):
            raise BadMessage("truncated: the Arrow stream has no end")
        table.validate(full=True)  # offsets and text that point outside their buffers would crash later readers
    except (pa.ArrowException, OSError, ValueError, MemoryError) as e:
        if isinstance(e, BadMessage):
            raise
        raise BadMessage(f"not-arrow: {one_line(e)}") from e
    for name in table.column_names:
        if not expected.field(name).nullable and table.column(name).null_count:
            raise BadMessage(f"schema: null in column {name}")
    for later in (expected.field(at) for at in (wanted or range(len(expected))) if at >= there):
        table = table.append_column(later, pa.nulls(table.num_rows, later.type))
    if wanted:
        table = table.select([expected.names[at] for at in wanted])
    return table.replace_schema_metadata(None)


def reread(message: Message, record: RecordType, columns: Sequence[str]) -> pa.Table:
    """Other columns of a message that was decoded before.

    Raises
    ------
    BadMessage
        They are damaged, or hold a null where the schema has none.
    """
    headers = {Header.CONTENT_TYPE: record.content_type.encode(), HEADER_RECORD_VERSION: str(record.version).encode()}
    return decode_value(message.value, headers, record, columns)


def _ended(value: bytes) -> bool:
    """Whether the stream has its end mark (continuation and zero length); without it whole batches may be missing."""
    return value.endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00")


def _difference(schema: pa.Schema, expected: pa.Schema) -> str:
    for i, column in enumerate(expected):
        if i >= len(schema.names):
            return f"column {column.name} is missing"
        if schema.names[i] != column.name:
            return f"column {i} is {schema.names[i]!r}, expected {column.name!r}"
        if schema.types[i] != column.type:
            return f"column {column.name} is {schema.types[i]}, expected {column.type}"
    return f"unexpected column {schema.names[len(expected)]!r}"


def decode(
    batch: pa.RecordBatch, record: RecordType, *, query: str, columns: Sequence[str] | None = None
) -> tuple[list[Message], list[DeadLetter]]:
    """Messages of a batch of Kafka rows.

    Parameters
    ----------
    batch
        Columns ``value``, ``headers`` (list of key, value; may be null), ``topic``, ``partition``, ``offset``; ``timestamp`` where it is
        known.
    record
        What its messages should hold.
    query
        Name of the query, for the dead letters.
    columns
        Columns wanted (:func:`decode_value`).

    Returns
    -------
    tuple
        Decoded messages in the order of the rows, and a dead letter for every row that is no message of such records. A message without
        id gets its place in the topic as one.
    """
    messages: list[Message] = []
    letters: list[DeadLetter] = []
    names = batch.schema.names
    fields = [batch.column(names.index(name)).to_pylist() for name in ("value", "headers", "topic", "partition", "offset")]
    for value, pairs, topic, partition, offset, published_us in zip(*fields, _published(batch), strict=True):
        headers = {pair["key"]: pair["value"] or b"" for pair in pairs or ()}
        try:
            rows = decode_value(value, headers, record, columns)
        except BadMessage as e:
            letters.append(DeadLetter(value, str(e), topic, partition, offset, query))
            continue
        message_id = headers.get(HEADER_MESSAGE_ID, b"").decode("utf-8", "replace") or f"{topic}/{partition}/{offset}"
        messages.append(Message(rows, message_id, topic, partition, offset, value, published_us))
    return messages, letters


def _published(batch: pa.RecordBatch) -> list[int]:
    """Kafka's times of messages, microseconds; 0 where it has none."""
    if "timestamp" not in batch.schema.names:
        return [0] * batch.num_rows
    times = batch.column(batch.schema.names.index("timestamp")).cast(pa.timestamp("us", batch.schema.field("timestamp").type.tz))
    return [max(us or 0, 0) for us in times.cast(pa.int64()).to_pylist()]


def joined(messages: Sequence[Message], record: RecordType, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of several messages as one table of contiguous columns."""
    if not messages:
        schema = record.published
        return (schema if columns is None else pa.schema([schema.field(i) for i in _selection(record, columns)])).empty_table()
    return pa.concat_tables([message.rows for message in messages]).combine_chunks()


def chunks(messages: Iterable[Message], max_rows: int) -> Iterator[list[Message]]:
    """Messages in groups of at most ``max_rows`` rows (one message at least)."""
    group: list[Message] = []
    rows = 0
    for message in messages:
        if group and rows + message.rows.num_rows > max_rows:
            yield group
            group, rows = [], 0
        group.append(message)
        rows += message.rows.num_rows
    if group:
        yield group
