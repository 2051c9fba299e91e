"""Suites of great-expectations, made of constraints; and rows as they are handed to it.

Each constraint becomes one expectation, whose ``meta`` names it. Rows are pandas frames of one piece of a table, prepared so that an
expectation of one column or of a pair of columns says what the constraint says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.quality.rates import Rate
from jobs.quality.vectorised import TimeBounds
from schemas.rules import (
    IPV4,
    IPV6,
    LARGEST,
    TOLERANCE,
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
)

if TYPE_CHECKING:
    import pandas as pd

#: Of an expectation's ``meta``.
RULE = "rule"


def of_rows(found: Iterable[Constraint], clock: TimeBounds) -> list[Any]:
    """Expectations of constraints, in their order; of rows as :func:`frame` makes them."""
    return [_expectation(constraint, clock) for constraint in found]


def of_schema(expected: Iterable[str], types: Mapping[str, str], there: Mapping[str, str]) -> list[Any]:
    """Expectations of a table's columns (:func:`types_frame`): which are there, and of which types."""
    from jobs.quality.gxlib import gxe

    found: list[Any] = [gxe.ExpectColumnToExist(column=name, meta={RULE: f"column({name})"}) for name in expected]
    typed = [name for name in expected if name in types and name in there]
    return found + [gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[types[name]], meta={RULE: f"type({name})"}) for name in typed]


def of_summary(rates: Iterable[Rate], unique: str, time: str) -> list[Any]:
    """Expectations of what was counted (:func:`summary_frame`): no identity twice, no rows at impossible times, rates within bounds."""
    from jobs.quality.gxlib import gxe

    none = {twice(unique): f"unique({unique})", strays(time): f"strays({time})"}
    found: list[Any] = [gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[0], meta={RULE: rule}) for name, rule in none.items()]
    for rate in rates:
        meta = {RULE: f"rate({rate.name})"}
        found.append(gxe.ExpectColumnValuesToBeBetween(column=rate.name, min_value=rate.low, max_value=rate.high, meta=meta))
    return found


def types_frame(there: Mapping[str, str]) -> pd.DataFrame:
    """One row: the type of each column."""
    import pandas as pd

    return pd.DataFrame({name: [kind] for name, kind in there.items()})


def summary_frame(rates: Iterable[Rate], counted: Mapping[str, int]) -> pd.DataFrame:
    """One row: what was counted (:func:`twice`, :func:`strays`), and each rate."""
    import pandas as pd

    return pd.DataFrame({**{name: [count] for name, count in counted.items()}, **{rate.name: [rate.value] for rate in rates}})


def frame(rows: pa.Table, found: Iterable[Constraint]) -> pd.DataFrame:
    """Rows of a table as expectations are asked of.

    Times are microseconds since 1970 (pandas and JSON know not all that a table can hold). What is no number is infinite: pandas takes
    NaN for a null. Sums and agreements that constraints are about are columns of their own.
    """
    columns: dict[str, Any] = {name: _prepared(rows[name]) for name in rows.column_names}
    for constraint in found:
        if isinstance(constraint, Order):
            low, high = _sides(constraint)
            columns[low], columns[high] = _sum(columns, constraint.lower), _raised(_sum(columns, constraint.upper))
        elif isinstance(constraint, Together):
            one = pc.equal(rows[constraint.column], pa.scalar(constraint.value, rows[constraint.column].type))
            other = pc.equal(rows[constraint.other], pa.scalar(constraint.other_value, rows[constraint.other].type))
            columns[constraint.said] = pc.invert(pc.xor(one, other)).to_pandas()
    import pandas as pd

    return pd.DataFrame(columns)


def _prepared(column: pa.ChunkedArray) -> Any:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
        factor = {"s": 1_000_000, "ms": 1000}.get(kind.unit, 1)
        values = column.to_pandas() * factor
        return values // 1000 if kind.unit == "ns" else values
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(np.inf, kind), column)
    return column.to_pandas()


def _sum(columns: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return sum((columns[name] for name in names[1:]), columns[names[0]])


def _raised(values: Any) -> Any:
    """What floats may be wrong by is added to them; integers as they are."""
    return values + values.abs() * TOLERANCE if values.dtype.kind == "f" else values


def _sides(constraint: Order) -> tuple[str, str]:
    """Columns of the frame that a constraint about an order compares."""
    return " + ".join(constraint.lower), f"{' + '.join(constraint.upper)} "


def twice(unique: str) -> str:
    """Column of the summary: identities that are not unique."""
    return f"values of {unique} that are there more than once"


def strays(time: str) -> str:
    """Column of the summary: rows outside all plausible days."""
    return f"rows whose {time} cannot be"


def _expectation(rule: Constraint, clock: TimeBounds) -> Any:
    from jobs.quality.gxlib import gxe

    meta = {RULE: rule.name}
    match rule:
        case NotNull(column=column):
            return gxe.ExpectColumnValuesToNotBeNull(column=column, meta=meta)
        case Range(column=column, low=low, high=high):
            # with both bounds: infinity is above the largest number
            return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=min(high, LARGEST), meta=meta)
        case OneOf(column=column, values=values):
            return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(values), meta=meta)
        case Address(column=column):
            return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=_python(f"{IPV4}|{IPV6}"), meta=meta)
        case Pattern(column=column, regex=regex):
            return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=_python(regex), meta=meta)
        case NoNul(column=column):
            return gxe.ExpectColumnValuesToNotMatchRegex(column=column, regex="[\\s\\S]*\\x00", meta=meta)
        case PlausibleTime(column=column):
            latest = int(np.min(clock.latest_us))
            return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=clock.earliest_us, max_value=latest, meta=meta)
        case Order():
            lower, upper = _sides(rule)
            return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=upper, column_B=lower, or_equal=True, ignore_row_if="either_value_is_missing", meta=meta
            )
        case Together():
            return gxe.ExpectColumnValuesToBeInSet(column=rule.said, value_set=[True], meta=meta)
    raise TypeError(f"no expectation for {rule!r}")


def _python(regex: str) -> str:
    """An expression of RE2 for Python, whose ``$`` would let a line break pass."""
    return re.sub(r"(?<!\\)\$", r"\\Z", regex)
