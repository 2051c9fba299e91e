"""``time_bucket`` where TimescaleDB is missing, so that the same queries run on both.

Same results as TimescaleDB's: weeks begin on Mondays (origin 2000-01-03), buckets of months at the first of a month (UTC). Written so that
the planner puts its body in the place of a call: then a bucket costs what ``date_bin`` costs.
"""

from __future__ import annotations

from typing import Any

#: How ours is told from the extension's.
_COMMENT = "flowlake: as time_bucket of TimescaleDB"
_ARGUMENTS = ("bucket_width interval, ts timestamptz", "bucket_width interval, ts timestamptz, origin timestamptz")
_TYPES = ("interval, timestamptz", "interval, timestamptz, timestamptz")
#: TimescaleDB's origins: a Monday, and for months the first of January.
_MONDAY, _JANUARY = "timestamptz '2000-01-03 00:00:00+00'", "timestamptz '2000-01-01 00:00:00+00'"


def _months(time: str) -> str:
    """Months of a time (UTC) since year 0."""
    return f"(extract(year FROM {time} AT TIME ZONE 'UTC') * 12 + extract(month FROM {time} AT TIME ZONE 'UTC') - 1)"


def _function(arguments: str, origin: str, month_origin: str) -> str:
    """Widths that mix months with days are refused by ``date_bin``, as TimescaleDB refuses them."""
    width = "(extract(year FROM bucket_width) * 12 + extract(month FROM bucket_width))"
    behind = f"floor(({_months('ts')} - {_months(month_origin)}) / {width}) * {width} + {_months(month_origin)}"
    return (
        f"CREATE OR REPLACE FUNCTION time_bucket({arguments}) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$\n"
        f"  SELECT CASE WHEN {width} > 0 AND bucket_width = make_interval(months => {width}::integer) AND isfinite(ts)\n"
        f"    THEN (timestamp '0001-01-01' + make_interval(months => ({behind})::integer - 12)) AT TIME ZONE 'UTC'\n"
        f"    ELSE date_bin(bucket_width, ts, {origin}) END\n$$"
    )


def statements() -> tuple[str, ...]:
    """Statements that make it; nothing happens where the extension is, or somebody's own function of that name."""
    bodies = (
        _function(_ARGUMENTS[0], _MONDAY, _JANUARY),
        _function(_ARGUMENTS[1], "origin", "origin"),
    )
    return tuple(
        f"DO $do$ BEGIN\nIF to_regprocedure('time_bucket({types})') IS NULL THEN\n{body};\n"
        f"COMMENT ON FUNCTION time_bucket({types}) IS '{_COMMENT}';\nEND IF;\nEND $do$"
        for types, body in zip(_TYPES, bodies, strict=True)
    )


def dropped() -> tuple[str, ...]:
    """Statements that take ours away: the extension could not be created beside it."""
    return tuple(
        f"DO $do$ BEGIN\nIF obj_description(to_regprocedure('time_bucket({types})'), 'pg_proc') = '{_COMMENT}' THEN\n"
        f"DROP FUNCTION time_bucket({types});\nEND IF;\nEND $do$"
        for types in _TYPES
    )


def missing(cursor: Any) -> bool:
    """Whether there is no function of the name."""
    cursor.execute("SELECT bool_or(to_regprocedure('time_bucket(' || t || ')') IS NULL) FROM unnest(%s::text[]) t", (list(_TYPES),))
    return bool(cursor.fetchone()[0])
