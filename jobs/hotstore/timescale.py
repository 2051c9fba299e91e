"""What TimescaleDB is told of a hot table: chunks of a day, compression, retention, continuous aggregates.

In the words that all versions from 2.15 on know; the newer ones (columnstore, 2.18) mean the same. What is there and differs from the
declaration or the settings is changed; what is there already is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.sections import HotSettings
from jobs.hotstore import rollups
from schemas.records import HotTable, Rollup

_COMPRESSED_BY = """
SELECT coalesce(string_agg(attname, ', ' ORDER BY segmentby_column_index) FILTER (WHERE segmentby_column_index IS NOT NULL), ''),
  coalesce(string_agg(attname, ', ' ORDER BY orderby_column_index) FILTER (WHERE orderby_column_index IS NOT NULL), '')
FROM timescaledb_information.compression_settings WHERE hypertable_name = %s AND hypertable_schema = current_schema()
"""
_POLICY = """
SELECT (config ->> %s)::interval = make_interval(days => %s) FROM timescaledb_information.jobs
WHERE proc_name = %s AND hypertable_name = %s AND hypertable_schema = current_schema()
"""
_USABLE = """
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') OR
  (current_setting('timescaledb.disable_load', true) = 'off' AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb'))
"""
_AGGREGATE = "SELECT 1 FROM timescaledb_information.continuous_aggregates WHERE view_name = %s AND view_schema = current_schema()"


@dataclass(frozen=True)
class LayoutChange:
    """What is missing or differs, in words, and the statements that mend it."""

    what: str
    statements: tuple[str, ...]


def usable(cursor: Any) -> bool:
    """Whether the database has the extension or could have it: the server has it, and has loaded it at its start.

    (Where it was not, creating it would break the connection.)
    """
    cursor.execute(_USABLE)
    return bool(cursor.fetchone()[0])


def installed(cursor: Any) -> bool:
    """Whether the database has the extension."""
    cursor.execute("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')")
    return bool(cursor.fetchone()[0])


def hypertable(table: HotTable, name: str = "") -> str:
    """Statement that makes a hypertable of an empty table (``name``: of another name)."""
    how = "chunk_time_interval => INTERVAL '1 day', create_default_indexes => FALSE, if_not_exists => TRUE"
    return f"SELECT create_hypertable('{name or table.name}', '{table.time}', {how})"


def changes(cursor: Any, settings: HotSettings, table: HotTable) -> Iterator[LayoutChange]:
    """What a hypertable lacks of its life and its rollups, by the declaration and the settings."""
    compress = table.life.compress_after_days or settings.compress_after_days
    retention = table.life.retention_days or settings.retention_days
    cursor.execute(_COMPRESSED_BY, (table.name,))
    if cursor.fetchone() != (table.life.segment_by, ", ".join(table.key)):
        yield LayoutChange(f"compression of {table.name}", (_compression(table),))
    yield from _policy(cursor, table, ("compression", "compress_after", compress))
    if settings.keep_until_archived:
        yield from _no_retention(cursor, table)
    else:
        yield from _policy(cursor, table, ("retention", "drop_after", retention))
    for rollup in table.rollups:
        cursor.execute(
            "SELECT 1 FROM timescaledb_information.continuous_aggregates WHERE view_name = %s AND view_schema = current_schema()",
            (rollup.name,),
        )
        if not cursor.fetchone():
            yield LayoutChange(f"continuous aggregate {rollup.name}", _aggregate(table, rollup))


def fresh(settings: HotSettings, table: HotTable) -> Iterator[LayoutChange]:
    """The same for a table that is no hypertable yet."""
    yield LayoutChange(f"compression of {table.name}", (_compression(table),))
    days = table.life.compress_after_days or settings.compress_after_days
    yield LayoutChange(f"compression policy of {table.name}: {days} days", (_added(table, "compression", days),))
    if not settings.keep_until_archived:
        days = table.life.retention_days or settings.retention_days
        yield LayoutChange(f"retention policy of {table.name}: {days} days", (_added(table, "retention", days),))
    yield from (LayoutChange(f"continuous aggregate {rollup.name}", _aggregate(table, rollup)) for rollup in table.rollups)


def _compression(table: HotTable) -> str:
    segment = f"timescaledb.compress_segmentby = '{table.life.segment_by}', " if table.life.segment_by else ""
    order = ", ".join([f"{table.time} DESC", *table.key[1:]])
    return f"ALTER TABLE {table.name} SET (timescaledb.compress, {segment}timescaledb.compress_orderby = '{order}')"


def _added(table: HotTable, kind: str, days: int) -> str:
    return f"SELECT add_{kind}_policy('{table.name}', INTERVAL '{days} days', if_not_exists => TRUE)"


def _policy(cursor: Any, table: HotTable, policy: tuple[str, str, int]) -> Iterator[LayoutChange]:
    kind, key, days = policy
    cursor.execute(_POLICY, (key, days, f"policy_{kind}", table.name))
    if cursor.fetchone() != (True,):
        remove = f"SELECT remove_{kind}_policy('{table.name}', if_exists => TRUE)"
        yield LayoutChange(f"{kind} policy of {table.name}: {days} days", (remove, _added(table, kind, days)))


def _no_retention(cursor: Any, table: HotTable) -> Iterator[LayoutChange]:
    """What is not archived must not be dropped: ``flowlake db maintain`` drops what is."""
    cursor.execute(_POLICY, ("drop_after", 0, "policy_retention", table.name))
    if cursor.fetchone() is not None:
        remove = f"SELECT remove_retention_policy('{table.name}', if_exists => TRUE)"
        yield LayoutChange(f"no retention policy of {table.name} (hot.keep_until_archived)", (remove,))


def _aggregate(table: HotTable, rollup: Rollup) -> tuple[str, ...]:
    """Buckets that are not computed yet are not there, as in the table that a rollup is elsewhere."""
    return (
        f"CREATE MATERIALIZED VIEW {rollup.name} WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS "
        f"{rollups.query(table, rollup)} WITH NO DATA",
        f"SELECT add_continuous_aggregate_policy('{rollup.name}', start_offset => INTERVAL '{rollup.start_offset_hours} hours', "
        f"end_offset => INTERVAL '{rollup.end_offset_hours} hours', schedule_interval => INTERVAL '{rollup.hours} hours', "
        "if_not_exists => TRUE)",
        *rollups.indexes(rollup),
    )
