"""*Archive and quality*: what the stores hold, what is archived, which rows fail a check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.views.model import Field, Panel, View
from ops.views.subjects import Subject
from schemas.archive import BOOK


def view(subjects: Sequence[Subject]) -> View:
    """The view."""
    panels = (*_quality(), *(panel for subject in subjects for panel in _stored(subject)), _archive())
    return View(
        "storage", "Archive and quality", "What the stores hold, what is archived, and which rows fail a check.", panels, span="7d",
        refresh="5m", sensors=False,
    )  # fmt: skip


def _quality() -> Iterator[Panel]:
    yield Panel(
        "left_out", "Rows that fail a check", "timeseries", "metrics",
        "sum by (query, rule) (increase(flowlake_sink_left_out_total[$__rate_interval]))",
        "By rule. They are in the quarantine: flowlake quarantine.", unit="short", legend="{{query}} {{rule}}", section="Quality",
    )  # fmt: skip
    yield Panel(
        "copies", "Rows that were there already", "timeseries", "metrics",
        "sum by (query) (increase(flowlake_sink_copies_total[$__rate_interval]))",
        "Of batches that came again: they were recognised and not written a second time.",
        unit="short", legend="{{query}}", section="Quality",
    )  # fmt: skip
    yield Panel(
        "maintained", "Since the last maintenance", "stat", "metrics",
        "time() - max by (table) (flowlake_hot_maintained_timestamp_seconds)",
        "Of each hot table, by this stream. It makes days ahead, drops old ones and rolls hours up.",
        unit="s", legend="{{table}}", section="Quality", warn=2 * 3600, bad=24 * 3600, height=4,
    )  # fmt: skip
    yield Panel(
        "days_to_come", "Rows of days to come", "stat", "metrics", "sum by (table) (flowlake_hot_rows_of_days_to_come)",
        "Rows whose time is in the future: the clock of a sensor is wrong.",
        unit="short", legend="{{table}}", section="Quality", warn=1, bad=1_000, height=4,
    )  # fmt: skip


def _stored(subject: Subject) -> Iterator[Panel]:
    """How many rows there are by day, and what the whole table takes."""
    heading = "Hot store"
    if rollup := subject.rollup:
        yield Panel(
            f"{subject.name}_by_day", f"Rows of {subject.table} by day", "bars_over_time", "hot",
            f"SELECT date_bin('1 day', {rollup.bucket}, timestamptz 'epoch') AS \"time\", sum(total_flows) AS rows FROM {rollup.name} "
            f"WHERE $__timeFilter({rollup.bucket}) GROUP BY 1 ORDER BY 1",
            "Whole hours that have been rolled up; a day without a bar had no rows.",
            (Field("time", "time"), Field("rows", "number", "short")), section=heading, interval="1d", width=16,
        )  # fmt: skip
    below = f"WITH RECURSIVE part AS (SELECT to_regclass('{subject.table}')::oid AS id UNION ALL "
    below += "SELECT inhrelid FROM pg_inherits JOIN part ON inhparent = part.id) "
    yield Panel(
        f"{subject.name}_size", f"Size of {subject.table}", "stat", "hot",
        f"{below}SELECT coalesce(sum(pg_total_relation_size(id)), 0) AS size, sum(greatest(reltuples, 0))::bigint AS rows "
        "FROM part JOIN pg_class ON oid = id WHERE relkind = 'r'",
        "With indexes; 0: not there yet. Rows as the planner estimates them. "
        "Chunks that TimescaleDB has compressed lie elsewhere and are not counted.",
        (Field("size", "number", "bytes"), Field("rows", "number", "short")), section=heading, width=8,
    )  # fmt: skip


def _archive() -> Panel:
    return Panel(
        "archive", "Archived months", "table", "hot",
        f"SELECT table_name, to_char(month, 'YYYY-MM') AS month, state, rows, bytes, changed_at FROM {BOOK} "
        "ORDER BY month DESC, table_name, changed_at DESC LIMIT 60",
        "verified: in the archive and still in the hot store; deleted: only in the archive; writing for long: a run was cut off.",
        (
            Field("table_name", "text", title="table"), Field("month", "text"), Field("state", "text"),
            Field("rows", "number", "short"), Field("bytes", "number", "bytes"), Field("changed_at", "time", title="changed"),
        ),
        section="Archive", width=24,
    )  # fmt: skip
