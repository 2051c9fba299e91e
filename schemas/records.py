"""What a record type is: everything that the general parts of the platform must know of the records of a source.

The lake, the hot store, alerts, scoring, the model registry and the dead letters take a :class:`RecordType` as an argument, and know no
source. A source declares its record types in a module of its own beside this one (:mod:`schemas.packets` is that of packets).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from schemas.labels import UNKNOWN, Label
from schemas.migrations import Migrations
from schemas.rules import Constraint
from schemas.topics import TopicSpec

_TS = pa.timestamp("us", tz="UTC")

#: Kafka header of a message of records: identifies its content, so that a reader can recognise the copy that a replayed
#: micro-batch writes again ("checkpoint-id/bucket/version/first row").
HEADER_MESSAGE_ID = "message-id"
HEADER_RECORD_VERSION = "record-version"
#: On messages that hold no final record: readers of those need not open them.
HEADER_SNAPSHOTS = "snapshots-only"

#: Columns that a lake table may be clustered by; each further one weakens the others.
_CLUSTER = 4

_NAME = re.compile(r"[a-z][a-z0-9_]*")

#: SQL types that a hot table may have, as the writer knows them, and what fits into each.
SQL_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "smallint": pa.types.is_integer,
    "integer": pa.types.is_integer,
    "bigint": pa.types.is_integer,
    "real": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    "double precision": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    "timestamptz": pa.types.is_timestamp,
    "uuid": pa.types.is_string,
    "inet": pa.types.is_string,
    "text": pa.types.is_string,
    "jsonb": pa.types.is_string,
    "boolean": pa.types.is_boolean,
}

#: What scoring adds to a record, whatever its type.
PREDICTION_FIELDS: tuple[pa.Field, ...] = (
    pa.field("confidence_score", pa.float64(), nullable=False),  # P(attack), [0, 1]
    pa.field("predicted_label", pa.int8(), nullable=False),  # 1 when confidence_score >= the model's threshold
    pa.field("attack_type", pa.string(), nullable=False),  # "BENIGN" when predicted_label is 0
    pa.field("model_version", pa.string(), nullable=False),  # version of the champion that scored the record
    pa.field("scored_at", _TS, nullable=False),  # wall clock of the scoring step
    # What came later may be null: messages and rows of an older program have none of it.
    pa.field("novelty_score", pa.float64()),  # how unlike benign training records it is, [0, 1]; null without a detector
    pa.field("challenger_score", pa.float64()),  # P(attack) of the challenger, which only looks on; null without one
    pa.field("challenger_label", pa.int8()),  # what the challenger would have said
    pa.field("challenger_version", pa.string()),  # version of the challenger
)


@dataclass(frozen=True)
class Features:
    """What a model reads of a record.

    Parameters
    ----------
    names : tuple of str
        Columns a model may read; numeric.
    version : str
        Version of their meaning. A model stores it; a mismatch stops scoring before the first record.
    model : str
        Name of the registered model, where ``scoring.models`` gives no other.
    train : str
        The command that trains one; shown where there is none.
    """

    names: tuple[str, ...]
    version: str
    model: str
    train: str


@dataclass(frozen=True)
class HotColumn:
    """One column: its name and SQL type in the table, and the record column it is filled from."""

    name: str
    sql: str
    source: str


@dataclass(frozen=True)
class Life:
    """How long the rows of a hot table live, and how TimescaleDB lays out those that are compressed.

    Rows lie by days (UTC) of their time: chunks of TimescaleDB, partitions of PostgreSQL.

    Parameters
    ----------
    compress_after_days, retention_days : int, optional
        Age of a day that is compressed (TimescaleDB alone), and of one that is dropped; None: as the settings say
        (``hot.compress_after_days``, ``hot.retention_days``).
    segment_by : str
        Columns by which compressed rows are grouped, comma-separated.
    """

    compress_after_days: int | None = None
    retention_days: int | None = None
    segment_by: str = ""


@dataclass(frozen=True)
class Aggregate:
    """A column of a rollup, and the aggregate that it is: SQL over the columns of the hot table."""

    name: str
    sql: str


@dataclass(frozen=True)
class Rollup:
    """What dashboards ask of a hot table, computed beforehand: one row a bucket of time and group.

    A continuous aggregate of TimescaleDB, else a table of the same columns that ``flowlake db maintain`` refreshes. It stays when the
    rows are dropped that it was made of.

    Parameters
    ----------
    name : str
        Of the table or view.
    bucket : str
        Its column of the bucket's beginning.
    group_by : tuple of str
        Columns of the hot table.
    aggregates : tuple of Aggregate
        In their order.
    hours : int
        Width of a bucket.
    start_offset_hours, end_offset_hours : int
        A refresh at every hour takes the buckets between these ages (TimescaleDB's policy; whatever is older and was touched is
        refreshed by ``flowlake db maintain``). A bucket younger than the second is not there yet.
    indexes : tuple of str
        Further indexes, as what stands behind the table's name in ``CREATE INDEX``: ``(hour DESC) INCLUDE (src_ip) WHERE attacks > 0``.
    """

    name: str
    bucket: str
    group_by: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    hours: int = 1
    start_offset_hours: int = 3
    end_offset_hours: int = 1
    indexes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in their order."""
        return (self.bucket, *self.group_by, *(aggregate.name for aggregate in self.aggregates))


@dataclass(frozen=True)
class HotTable:
    """A table of the hot store (PostgreSQL).

    Parameters
    ----------
    name : str
        Of the table.
    component : str
        Its line in the table of schema versions.
    columns : tuple of HotColumn
        In their order.
    key : tuple of str
        Primary key; the first is the time, by which rows lie in days.
    migrations : Migrations
        Version -> statements (:mod:`schemas.migrations`; :func:`schemas.hot.first_migration` makes the first).
    life : Life
        Compression, retention.
    rollups : tuple of Rollup
        What is computed of it beforehand.
    archived : str
        What readers call what has left it; default: ``archived_<record type>``.
    """

    name: str
    component: str
    columns: tuple[HotColumn, ...]
    key: tuple[str, ...]
    migrations: Migrations
    life: Life = Life()
    rollups: tuple[Rollup, ...] = ()
    archived: str = ""

    @property
    def time(self) -> str:
        """Column of the time that rows are laid out by."""
        return self.key[0]

    @cached_property
    def types(self) -> dict[str, str]:
        """SQL type by column, without constraints."""
        return {column.name: re.split(r"\s+(?:NOT\s+NULL|DEFAULT|CHECK)\b", column.sql, flags=re.IGNORECASE)[0] for column in self.columns}

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Record columns that the table is filled from."""
        return tuple(column.source for column in self.columns)


@dataclass(frozen=True)
class LakeTable:
    """A Delta table of the lake: every column of a record, partitioned by the UTC date of its event time (``event_date``).

    Parameters
    ----------
    name : str
        Of its folder, beside ``lake.path``, where ``lake.tables`` gives no other place. Empty: ``lake.path`` itself.
    statistics : tuple of str
        Columns with statistics in the table's log: those that questions filter by.
    comment : str
        Of the table.
    cluster : tuple of str
        Columns by which rows of one time lie together in a file, at most four: those that questions ask for one value of.
    """

    name: str
    statistics: tuple[str, ...]
    comment: str
    cluster: tuple[str, ...] = ()


@dataclass(frozen=True)
class AlertRules:
    """How alerts are made of scored records.

    Parameters
    ----------
    labels : tuple of Label
        What a model of these records may say: severity, and by what an alert is one alert. An unknown label is one alert a record.
    columns : mapping of str to str
        Column of the evidence (:data:`schemas.alerts.EVIDENCE_COLUMNS`) -> record column of another name. A column that the record has
        under neither name is empty: an alert about no address has none.
    details : tuple of str
        Record columns that an alert about one record shows in its ``details``.
    namespace : str
        Put before the identity of an alert, so that alerts of two record types never meet. Types of one namespace share their alerts.
    min_records : int
        So many records make a scan, a flood or brute force an alert; 0: as many as the setting says (``alerts.min_flows``).
    """

    labels: tuple[Label, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    details: tuple[str, ...] = ()
    namespace: str = ""
    min_records: int = 0

    @cached_property
    def by_name(self) -> dict[str, Label]:
        """Labels by their names, that of unknown attacks among them."""
        return {label.name: label for label in (UNKNOWN, *self.labels)}


@dataclass(frozen=True)
class CsvNames:
    """How records of a type lie in the CSV files of other systems (:mod:`jobs.moving`), beyond columns named as ours.

    Parameters
    ----------
    canonical : callable
        A column's name as it is compared: two spellings of one name give the same.
    others : mapping of str to tuple of str
        Record column -> names that other systems have for it.
    layouts : mapping of str to tuple of str
        Name of a layout -> columns in their order, for files without a header.
    defaults : mapping
        Record column -> its value where a file has no such column. What is in neither is null in the lake.
    undefined : mapping of str to float
        Record column -> what NaN and infinity stand for in it. In other columns they are no values.
    labels : mapping of str to str
        What files call an attack, in lower case -> the label of ours.
    words : mapping of str to mapping of str to str
        Record column -> word in lower case -> the number that it stands for.
    bounds : mapping of str to tuple of float
        Record column -> least and largest value; beyond the bounds of its type.
    complete : callable
        Columns that follow from others: from those that are there, to those that are to be added.
    """

    canonical: Callable[[str], str]
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layouts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, str | int | bool] = field(default_factory=dict)
    undefined: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    complete: Callable[[Mapping[str, pa.Array]], Mapping[str, pa.Array]] = lambda _: {}


@dataclass(frozen=True, eq=False)
class RecordType:
    """One type of record, as it is published on its topic.

    Parameters
    ----------
    name : str
        Lower case, ``_`` between words; unique over all sources.
    version : int
        Of the columns (names, order, types). Part of the checkpoint paths of every query that reads or writes them.
    schema : pa.Schema
        Columns of a record before it is scored.
    key : str
        Column of the identity: text of at most 36 ASCII characters, the same however often the record is made again.
    event_time : str
        Column of the time that it belongs to, ``timestamp[us, UTC]``.
    topic : TopicSpec
        Where records are published.
    content_type : str
        Kafka header ``content-type`` of their messages: one Arrow IPC stream, one record batch.
    final : str
        Boolean column that is False while a record may still change; only final ones are stored. Empty: all are final.
    end_time : str
        Column of the time of the last observation in a record, from which latency is measured; default: ``event_time``.
    features, lake, hot, alerts : optional
        Whether and how it is scored, stored and alerted about.
    queries : mapping of str to str
        Sink -> name of the query that feeds it; default: ``<sink>_<name>``.
    csv : CsvNames, optional
        What CSV files of other systems call its columns (``flowlake migrate csv``).
    rules : tuple of Constraint
        What must hold of every row (:mod:`schemas.rules`) beyond what follows from the columns, the hot table and the labels.
    """

    name: str
    version: int
    schema: pa.Schema
    key: str
    event_time: str
    topic: TopicSpec
    content_type: str
    final: str = ""
    end_time: str = ""
    features: Features | None = None
    lake: LakeTable | None = None
    hot: HotTable | None = None
    alerts: AlertRules | None = None
    queries: Mapping[str, str] = field(default_factory=dict)
    csv: CsvNames | None = None
    rules: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        for what, name in (("name", self.name), ("lake table", self.lake.name if self.lake else "")):
            if name and not _NAME.fullmatch(name):
                raise ValueError(f"record type {self.name!r}: {what} {name!r} must match {_NAME.pattern}")
        for what, column in (("key", self.key), ("event time", self.event_time), ("final", self.final), ("end time", self.end_time)):
            if column and column not in self.schema.names:
                raise ValueError(f"record type {self.name}: {what} {column!r} is none of its columns")
        for what, column, kind in (
            ("key", self.key, pa.string()),
            ("event time", self.event_time, _TS),
            ("end time", self.end_time, _TS),
            ("final", self.final, pa.bool_()),
        ):
            if column and self.schema.field(column).type != kind:
                raise ValueError(f"record type {self.name}: {what} {column!r} is {self.schema.field(column).type}, it must be {kind}")
        known = set(self.published.names)
        named = {
            "features": self.features.names if self.features else (),
            "lake statistics": self.lake.statistics if self.lake else (),
            "lake cluster": self.lake.cluster if self.lake else (),
            "hot columns": self.hot.sources if self.hot else (),
            "alert columns": (*self.alerts.columns.values(), *self.alerts.details) if self.alerts else (),
            "CSV columns": (*self.csv.others, *self.csv.defaults, *self.csv.undefined) if self.csv else (),
            "rules": tuple(column for rule in self.rules for column in rule.columns),
        }
        for what, columns in named.items():
            if unknown := [column for column in columns if column not in known]:
                raise ValueError(f"record type {self.name}: {what}: no column {unknown[0]!r}")
        if problem := next(self._problems(), ""):
            raise ValueError(f"record type {self.name}: {problem}")
        if self.alerts and not self.features:
            raise ValueError(f"record type {self.name}: alerts are made of scored records: it needs features")

    def _problems(self) -> Iterator[str]:
        """What else would fail with the first record, or be lost silently."""
        names = [*self.published.names, *(["event_date"] if self.lake else [])]
        yield from (
            f"column {name!r} is there twice (scoring and the lake add columns of their own)" for name in names if names.count(name) > 1
        )
        yield from (
            f"{what} {column!r} must not be null: nullable=False"
            for what, column in (("key", self.key), ("event time", self.event_time))
            if not column or self.schema.field(column).nullable
        )
        if self.features:
            numbers = {
                f.name for f in self.schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type) or pa.types.is_boolean(f.type)
            }
            yield from (f"feature {name!r} is no number" for name in self.features.names if name not in numbers)
        if self.lake and len(self.lake.cluster) > _CLUSTER:
            yield f"its lake table is clustered by {len(self.lake.cluster)} columns, {_CLUSTER} are the most"
        if self.hot:
            yield from self._hot_problems(self.hot)
        if self.alerts:
            have = {source for name in ("flow_id", "start_time", "end_time") if (source := self.alerts.columns.get(name, name))}
            yield from (f"alert rules name no column for {name!r}" for name in sorted(have - set(self.published.names)))
            yield from (
                f"alert detail {name!r} is a time of the alert itself" for name in self.alerts.details if name in ("start_time", "end_time")
            )

    def _hot_problems(self, table: HotTable) -> Iterator[str]:
        for column in table.columns:
            sql = table.types[column.name]
            if sql not in SQL_TYPES:
                yield f"hot column {column.name!r} is {column.sql!r}; types that can be written: {', '.join(SQL_TYPES)}"
            elif not SQL_TYPES[sql](self.published.field(column.source).type):
                yield f"hot column {column.name!r} is {sql}, and {column.source!r} is {self.published.field(column.source).type}"
        yield from (f"key {name!r} is no column of hot table {table.name}" for name in table.key if name not in table.types)
        if not table.key or not table.migrations:
            yield f"hot table {table.name} has no key, or no migrations"
        elif table.types.get(table.time) != "timestamptz":
            yield f"hot table {table.name}: {table.time!r}, the first of its key, must be timestamptz: rows are laid out by it"
        for rollup in table.rollups:
            yield from self._rollup_problems(table, rollup)

    def _rollup_problems(self, table: HotTable, rollup: Rollup) -> Iterator[str]:
        names = rollup.columns
        yield from (f"rollup {rollup.name!r}: no column {name!r}" for name in rollup.group_by if name not in table.types)
        yield from (f"rollup {rollup.name!r}: {name!r} must match {_NAME.pattern}" for name in names if not _NAME.fullmatch(name))
        yield from (f"rollup {rollup.name!r}: column {name!r} is there twice" for name in names if names.count(name) > 1)
        if not _NAME.fullmatch(rollup.name) or rollup.name == table.name:
            yield f"rollup {rollup.name!r} of {table.name}: its name must match {_NAME.pattern} and be another than the table's"
        if not (
            rollup.hours >= 1 and rollup.end_offset_hours >= 0 and rollup.start_offset_hours >= rollup.end_offset_hours + 2 * rollup.hours
        ):
            yield f"rollup {rollup.name!r}: from start_offset_hours to end_offset_hours there must be two buckets of {rollup.hours} h"

    @cached_property
    def published(self) -> pa.Schema:
        """Columns of a message: those of a record and, where it is scored, :data:`PREDICTION_FIELDS`."""
        return pa.schema([*self.schema, *PREDICTION_FIELDS]) if self.features else self.schema

    @property
    def ended(self) -> str:
        """Column of the time of the last observation."""
        return self.end_time or self.event_time

    @property
    def archived(self) -> str:
        """What readers call that which has left its hot table."""
        return (self.hot.archived if self.hot else "") or f"archived_{self.name}"

    def query(self, sink: str) -> str:
        """Name of the query that carries records to a sink (``lake``, ``hot``, ``alerts``)."""
        return self.queries.get(sink, f"{sink}_{self.name}")

    def finals(self, table: pa.Table) -> pa.Table:
        """Rows that are final."""
        return table.filter(table[self.final]) if self.final else table


def hot_records(records: Iterable[RecordType]) -> list[RecordType]:
    """Record types that have a hot table; of those that share one the first."""
    found: dict[str, RecordType] = {}
    for record in records:
        if record.hot:
            found.setdefault(record.hot.name, record)
    return list(found.values())
