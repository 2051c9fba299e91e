"""What must hold of the rows of a record type: made of its declaration, for the batches of its stores and for each of its tables.

Sources of constraints: which columns may be null, the hot table's SQL types and checks, what a model reads, what scoring adds, the
labels, the times, and the rules that the type declares itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pyarrow as pa

from infra.config import Settings
from schemas.labels import BENIGN
from schemas.records import HotColumn, RecordType
from schemas.rules import (
    LARGEST,
    UUID,
    Address,
    Constraint,
    NoNul,
    NotNull,
    OneOf,
    Order,
    Pattern,
    PlausibleTime,
    Range,
    Together,
    nightly_beyond,
)

_REAL = 3.4028234e38
#: SQL type -> what it can hold, where an Arrow type may hold more.
_BOUNDS = {"smallint": (-(2**15), 2**15 - 1), "integer": (-(2**31), 2**31 - 1), "bigint": (-(2**63), 2**63 - 1), "real": (-_REAL, _REAL)}
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_COMPARED = re.compile(rf"(\w+)\s*(>=|<=)\s*({_NUMBER})\s*$", re.IGNORECASE)
_AMONG = re.compile(r"(\w+)\s+IN\s*\(([^()]*)\)\s*$", re.IGNORECASE)
_CHECK = re.compile(r"\bCHECK\s*\((.*)\)\s*$", re.IGNORECASE | re.DOTALL)


def constraints(record: RecordType, settings: Settings) -> tuple[Constraint, ...]:
    """All that must hold of a row of a record type, each once.

    Parameters
    ----------
    record
        The type.
    settings
        ``quality.labels`` adds to the labels that it declares.

    Returns
    -------
    tuple of Constraint
        In the order of the columns' importance: nulls, identity and times, labels, declared rules, types of the store.
    """
    return tuple(_once(_all(record, settings)))


def in_batches(record: RecordType, settings: Settings) -> tuple[Constraint, ...]:
    """Those that each batch is looked at by; that there is no null the decoder has seen to."""
    return tuple(one for one in constraints(record, settings) if not one.nightly and not isinstance(one, NotNull))


def columns_of(found: Iterable[Constraint]) -> set[str]:
    """Columns that some constraints look at."""
    return {column for constraint in found for column in constraint.columns}


def _all(record: RecordType, settings: Settings) -> Iterator[Constraint]:
    yield from (NotNull(column.name) for column in record.published if not column.nullable)
    yield PlausibleTime(record.event_time)
    if record.ended != record.event_time:
        yield Order((record.event_time,), (record.ended,))
        yield PlausibleTime(record.ended)
    if record.features:
        yield Range("confidence_score", 0, 1)
        yield OneOf("predicted_label", (0, 1))
        yield Together("predicted_label", 0, "attack_type", BENIGN)
        if record.alerts:
            known = dict.fromkeys([*record.alerts.by_name, *settings.quality.labels.get(record.name, ())])
            # At night alone: a model of one's own may have labels of its own, and what it says must not be lost meanwhile.
            yield OneOf("attack_type", tuple(known), nightly=True)
    yield from record.rules
    if record.features:
        finite = [Range(name) for name in record.features.names if pa.types.is_floating(record.schema.field(name).type)]
        yield from nightly_beyond(record.hot.sources if record.hot else record.features.names, finite)
    if record.hot:
        for column in record.hot.columns:
            yield from _of_sql(column, record.hot.types[column.name], record.published.field(column.source).type)


def _of_sql(column: HotColumn, sql: str, kind: pa.DataType) -> Iterator[Constraint]:
    """What a column of a hot table can hold: what it cannot would hold up a batch there, and lie in the lake."""
    if sql == "inet":
        yield Address(column.source)
    elif sql == "uuid":
        yield Pattern(column.source, UUID, "a UUID")
    elif sql in ("text", "jsonb"):
        yield NoNul(column.source)
    elif sql in _BOUNDS and not _fits(kind, sql):
        yield Range(column.source, *_BOUNDS[sql])
    if check := _CHECK.search(column.sql):
        yield from _of_check(column, check[1])


def _fits(kind: pa.DataType, sql: str) -> bool:
    """Whether every value of an Arrow type fits into a number of SQL."""
    if sql == "real":
        return bool(pa.types.is_integer(kind))
    signed = pa.types.is_signed_integer(kind)
    low, high = (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1) if signed else (0, 2**kind.bit_width - 1)
    return bool(_BOUNDS[sql][0] <= low and high <= _BOUNDS[sql][1])


def _of_check(column: HotColumn, text: str) -> Iterator[Constraint]:
    """Checks that compare the column with numbers, or list its values; what else one may say is left to the database."""
    for part in re.split(r"\s+AND\s+", text.strip(), flags=re.IGNORECASE):
        if (match := _COMPARED.match(part)) and match[1] == column.name:
            bound = float(match[3])
            yield Range(column.source, bound, LARGEST) if match[2] == ">=" else Range(column.source, -LARGEST, bound)
        elif (match := _AMONG.match(part)) and match[1] == column.name:
            words = [word.strip() for word in match[2].split(",")]
            if all(re.fullmatch(r"-?\d+", word) for word in words):
                yield OneOf(column.source, tuple(int(word) for word in words))
            elif all(re.fullmatch(r"'[^']*'", word) for word in words):
                yield OneOf(column.source, tuple(word[1:-1] for word in words))


def _once(found: Iterable[Constraint]) -> Iterator[Constraint]:
    """Each constraint once; ranges of one column as the range that lies in all of them."""
    kept: dict[tuple[object, ...], Constraint] = {}
    for constraint in found:
        if isinstance(constraint, Range):
            key: tuple[object, ...] = ("range", constraint.column)
            if isinstance(before := kept.get(key), Range):
                low, high = max(before.low, constraint.low), min(before.high, constraint.high)
                constraint = Range(constraint.column, low, high, nightly=before.nightly and constraint.nightly)
        else:
            key = (constraint,)
        kept[key] = constraint
    yield from kept.values()
