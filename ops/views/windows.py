"""*Sources in windows*: who begins most, whose calls fail, who comes back at regular times. Counts never mix sizes of windows.

Windows of 5 s are many: what reads all rows of a span reads those of 30 and 180 s, or of few minutes. Attacks have an index.
"""

from __future__ import annotations

from collections.abc import Iterator

from ops.views.model import Field, Link, Panel, Variable, View
from ops.views.subjects import binned, recent
from schemas.windowrecords import TABLE
from schemas.windows import SIZES

NAME = "windows"
_TIME = "window_start"
_MIDDLE, _LARGEST = SIZES[1], SIZES[-1]
#: Sources of a picture.
_LINES = 8
#: What a picture of sources reads; every window of the middle size.
_SPAN, _LAST = "15 min", "15m"
#: An address, or a network of sources that were summed up.
_SOURCE = "host(src_ip) || CASE WHEN src_prefix < CASE family(src_ip) WHEN 4 THEN 32 ELSE 128 END THEN '/' || src_prefix::text ELSE '' END"
_TO_WINDOWS = Link("Its windows", NAME, {"source": "address"})
_ADDRESS = (Field("source", "text", link=_TO_WINDOWS), Field("address", "text", hidden=True))
VARIABLES = (Variable("source", "Source", "an address; empty: any"),)
_OFF = "Empty while windows are off (windows.enabled)."


def view() -> View:
    """The view."""
    return View(
        NAME, "Sources in windows", "What each source begins in 5, 30 and 180 seconds: bursts, failed calls, slow rhythms.",
        tuple(_panels()), span="1h", refresh="30s", variables=VARIABLES, sensors=False,
    )  # fmt: skip


def _panels() -> Iterator[Panel]:
    yield from _numbers()
    yield _most(
        "started", "Sources that begin most", "flows_started", "flows_started", "short", "Flows begun in a window of 30 s, the most of"
    )
    yield _most(
        "failed", "Sources whose calls fail", "failed_ratio * syn_count", "failed_ratio", "percentunit",
        "Share of TCP calls that nobody answered, in a window of 30 s, of",
    )  # fmt: skip
    yield _attacks()
    yield _incomplete()
    yield _slow()
    yield _models()
    yield _lost()
    yield _newest()
    yield _rows()


def _numbers() -> Iterator[Panel]:
    five = f"FROM {TABLE} WHERE {recent(_TIME, '5 min')} AND window_size = {_MIDDLE}"

    def number(key: str, title: str, sql: str, unit: str, description: str, **how: float) -> Panel:
        return Panel(
            key, title, "stat", "hot", f"SELECT {sql} AS {key} {five}", description, (Field(key, "number", unit),), width=6, height=4,
            **how,  # type: ignore[arg-type]
        )  # fmt: skip

    yield number(
        "sources", "Sources", "count(DISTINCT (src_ip, src_prefix))", "short",
        f"That began or went on with something in the last 5 minutes, by windows of {_MIDDLE} s. {_OFF}",
    )  # fmt: skip
    yield number(
        "attackers", "Sources that attack", "count(DISTINCT (src_ip, src_prefix)) FILTER (WHERE predicted_label = 1)", "short",
        f"Those with a window of {_MIDDLE} s that is called an attack, in the last 5 minutes.", warn=1, bad=50,
    )  # fmt: skip
    yield number(
        "summed_up", "Networks in place of sources",
        "count(DISTINCT (src_ip, src_prefix)) FILTER (WHERE src_prefix < CASE family(src_ip) WHEN 4 THEN 32 ELSE 128 END)", "short",
        "Of the last 5 minutes. More sources than are kept (windows.max_sources): forged ones, mostly; they are summed up by network.",
        warn=1, bad=1_000,
    )  # fmt: skip
    end = "$__timeTo()::timestamptz"
    yield Panel(
        "age", "Age of the newest window", "stat", "hot",
        f"SELECT round(extract(epoch FROM {end} - max({_TIME}))) AS age FROM {TABLE} WHERE {recent(_TIME, '6 h')}",
        "Since it began. It grows when the meter, the windows or the writer stand still. Empty: none for 6 hours, or windows are off.",
        (Field("age", "number", "s"),), warn=300, bad=900, width=6, height=4,
    )  # fmt: skip


def _most(key: str, title: str, by: str, shown: str, unit: str, description: str) -> Panel:
    within = f"window_size = {_MIDDLE} AND {recent(_TIME, _SPAN)}"
    return Panel(
        key, title, "timeseries", "hot",
        f"WITH seen AS MATERIALIZED (SELECT src_ip, src_prefix, domain, {_TIME}, {by} AS weight, {shown} AS value FROM {TABLE} "
        f"WHERE {within} AND {by} > 0), top AS (SELECT src_ip, src_prefix, domain FROM seen GROUP BY 1, 2, 3 "
        f"ORDER BY sum(weight) DESC, 1, 2, 3 LIMIT {_LINES}) "
        f'SELECT {binned(_TIME)} AS "time", {_SOURCE} AS metric, round(max(value)::numeric, 3) AS {key} '
        "FROM seen JOIN top USING (src_ip, src_prefix, domain) GROUP BY 1, 2 ORDER BY 1, 2",
        f"{description} the {_LINES} sources that have most of it. Of the 15 minutes before the end of the range, whatever its beginning.",
        (Field("time", "time"), Field("metric", "text"), Field(key, "number", unit)), interval="30s", last=_LAST,
    )  # fmt: skip


def _attacks() -> Panel:
    return Panel(
        "attacks_over_time", "Attacks by size of window and kind", "bars_over_time", "hot",
        f"SELECT {binned(_TIME)} AS \"time\", window_size::text || ' s ' || attack_type AS metric, count(*) AS attacks FROM {TABLE} "
        f"WHERE predicted_label = 1 AND $__timeFilter({_TIME}) GROUP BY 1, 2 ORDER BY 1, 2",
        "Windows that their size's model calls an attack. One attack is seen by several sizes: they do not add up.",
        (Field("time", "time"), Field("metric", "text"), Field("attacks", "number", "short")), stacked=True,
    )  # fmt: skip


def _incomplete() -> Panel:
    """Of the smallest size every window is whole."""
    return Panel(
        "incomplete", "Share of incomplete windows", "timeseries", "hot",
        f"SELECT {binned(_TIME)} AS \"time\", window_size::text || ' s' AS metric, "
        f"round(100.0 * count(*) FILTER (WHERE complete = 0) / count(*), 1) AS incomplete FROM {TABLE} "
        f"WHERE window_size IN ({_MIDDLE}, {_LARGEST}) AND {recent(_TIME, _SPAN)} GROUP BY 1, 2 ORDER BY 1, 2",
        "Windows of sources that were quiet in some 5 s of them. Most sources are: a jump says that the traffic has changed. "
        "Of the 15 minutes before the end of the range, whatever its beginning.",
        (Field("time", "time"), Field("metric", "text"), Field("incomplete", "number", "percent")), interval="3m", last=_LAST,
    )  # fmt: skip


def _slow() -> Panel:
    return Panel(
        "slow", "Slowest attackers, 24 hours", "table", "hot",
        f"SELECT {_SOURCE} AS source, host(src_ip) AS address, domain, attack_type, count(*) AS windows, max(beats) AS beats, "
        "round((max(beat_period) FILTER (WHERE beats > 0))::numeric, 1) AS period, round(max(beat_age)::numeric) AS age, "
        f"round(avg(confidence_score)::numeric, 3) AS confidence, max({_TIME}) AS last_seen FROM {TABLE} "
        f"WHERE predicted_label = 1 AND window_size = {_LARGEST} AND {recent(_TIME, '24 h')} "
        "GROUP BY src_ip, src_prefix, domain, attack_type ORDER BY period DESC NULLS LAST, windows DESC, 1 LIMIT 20",
        f"By windows of {_LARGEST} s that are called an attack: who calls back at regular times, the longest period first. "
        "Of the 24 hours before the end of the range, whatever its beginning.",
        (
            *_ADDRESS, Field("domain", "text"), Field("attack_type", "text", title="kind"), Field("windows", "number", "short"),
            Field("beats", "number", "short"), Field("period", "number", "s"), Field("age", "number", "s", "goes on for"),
            Field("confidence", "number", "percentunit"), Field("last_seen", "time"),
        ),
        width=24,
    )  # fmt: skip


def _models() -> Panel:
    return Panel(
        "models", "Models in use, 10 minutes", "table", "hot",
        "SELECT window_size, model_version, count(*) AS windows, "
        "round(100.0 * count(*) FILTER (WHERE predicted_label = 1) / count(*), 3) AS attack_share, "
        f"round(avg(confidence_score)::numeric, 4) AS mean_confidence FROM {TABLE} WHERE {recent(_TIME, '10 min')} "
        "GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 20",
        "Each size has a model of its own, with versions of its own.",
        (
            Field("window_size", "number", "s", "window"), Field("model_version", "text", title="model"),
            Field("windows", "number", "short"),
            Field("attack_share", "number", "percent"), Field("mean_confidence", "number", "percentunit"),
        ),
    )  # fmt: skip


def _lost() -> Panel:
    return Panel(
        "left_out", "Left out of windows per second", "timeseries", "metrics",
        'sum by (reason) (rate(flowlake_rejected_total{query="windows"}[$__rate_interval]))',
        "late: packets of slots that were over; given_up: packets of a slot whose windows are begun anew; folded: sources that were summed "
        "up by network.",
        unit="ops", legend="{{reason}}",
    )  # fmt: skip


def _newest() -> Panel:
    return Panel(
        "newest", "Newest attacks", "table", "hot",
        f"SELECT {_TIME} AS time, window_size, {_SOURCE} AS source, host(src_ip) AS address, domain, attack_type, flows_started, "
        f"destinations, ports, round(failed_ratio::numeric, 3) AS failed, round(confidence_score::numeric, 3) AS confidence FROM {TABLE} "
        f"WHERE predicted_label = 1 AND $__timeFilter({_TIME}) ORDER BY {_TIME} DESC, window_size LIMIT 100",
        "The newest 100 windows of the range that are attacks.",
        (Field("time", "time"), Field("window_size", "number", "s", "window"), *_ADDRESS, Field("domain", "text"), *_DID), width=24,
    )  # fmt: skip


def _rows() -> Panel:
    given = "${source:sqlstring}"
    sizes = ", ".join(map(str, SIZES))
    return Panel(
        "rows", "Windows of a source", "table", "hot",
        f"SELECT {_TIME} AS time, window_size, {_SOURCE} AS source, domain, attack_type, flows_started, destinations, "
        f"ports, round(failed_ratio::numeric, 3) AS failed, round(confidence_score::numeric, 3) AS confidence, complete = 1 AS complete, "
        f"beats, round(beat_period::numeric, 1) AS period FROM {TABLE} "
        f"WHERE window_size IN ({sizes}) AND src_ip = nullif({given}, '')::inet AND $__timeFilter({_TIME}) "
        f"ORDER BY {_TIME} DESC, window_size LIMIT 200",
        "The newest 200 of the range, of the address that was typed. More of them: flowlake windows show --source ADDRESS.",
        (
            Field("time", "time"), Field("window_size", "number", "s", "window"), Field("source", "text"), Field("domain", "text"), *_DID,
            Field("complete", "boolean"), Field("beats", "number", "short"), Field("period", "number", "s"),
        ),
        width=24,
    )  # fmt: skip


#: What a window says, in the order of the questions.
_DID = (
    Field("attack_type", "text", title="kind"), Field("flows_started", "number", "short", "flows started"),
    Field("destinations", "number", "short"), Field("ports", "number", "short"), Field("failed", "number", "percentunit"),
    Field("confidence", "number", "percentunit"),
)  # fmt: skip
