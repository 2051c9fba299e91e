"""*Traffic now*: how much there is, of which kind, from which sensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.views.model import Field, Link, Panel, View
from ops.views.subjects import Subject, recent

_RATE = "now: rows that ended within the last minutes may still be on their way"
#: To the rows of an address.
TO_SOURCE = Link("What it did", "flows", {"source": "source"})
TO_TARGET = Link("What was done to it", "flows", {"target": "target"})
#: Protocols by number (IANA); others by their number.
PROTOCOL = (
    "CASE protocol WHEN 1 THEN 'ICMP' WHEN 2 THEN 'IGMP' WHEN 6 THEN 'TCP' WHEN 17 THEN 'UDP' WHEN 47 THEN 'GRE' WHEN 58 THEN 'ICMPv6' "
    "WHEN 132 THEN 'SCTP' ELSE protocol::text END"
)


def view(subjects: Sequence[Subject]) -> View:
    """The view."""
    return View(
        "traffic",
        "Traffic now",
        "What passes at this moment: how much, of which kind, seen by which sensor.",
        tuple(panel for subject in subjects for panel in _panels(subject)),
        refresh="10s",
    )


def section(subject: Subject) -> str:
    """Heading of the panels of a record type; those of flows, which come first, have none."""
    return "" if subject.name == "flows" else subject.title


def _panels(subject: Subject) -> Iterator[Panel]:
    yield from _numbers(subject)
    yield from _over_time(subject)
    if subject.has("sensor_id"):
        yield _sensors(subject)
    if subject.has("protocol"):
        yield _protocols(subject)
    if (source := subject.column("src_ip")) and subject.has("total_length_fwd_packets", "total_length_bwd_packets"):
        yield _talkers(subject, source)


def _numbers(subject: Subject) -> Iterator[Panel]:
    """Numbers of the last five minutes."""
    five = f"FROM {subject.table} WHERE {recent(subject.time, '5 min')} AND {subject.sensors}"

    def number(key: str, title: str, sql: str, unit: str, description: str, **how: float) -> Panel:
        return Panel(
            f"{subject.name}_{key}", title, "stat", "hot", f"SELECT {sql} AS {key} {five}", description, (Field(key, "number", unit),),
            section=section(subject), width=6, height=4, **how,  # type: ignore[arg-type]
        )  # fmt: skip

    yield number("rate", f"{subject.title} per second", "round(count(*) / 300.0, 2)", "ops", f"Of the last 5 minutes; {_RATE}.")
    if volume := subject.volume:
        sql = f"round(coalesce({volume.rows}, 0) * 8 / 300.0)"
        yield number("bits", "Bits per second now", sql, "bps", "Both directions of what began in the last 5 minutes.")
    if subject.scored:
        sql = "coalesce(round(100.0 * count(*) FILTER (WHERE predicted_label = 1) / nullif(count(*), 0), 2), 0)"
        yield number("attack_share", "Share of attacks", sql, "percent", "Of the last 5 minutes.", warn=10, bad=50)
    yield _age(subject)


def _age(subject: Subject) -> Panel:
    """Of rows within some hours, else of the rollup: one sensor's newest row may lie far back."""
    end = "$__timeTo()::timestamptz"
    newest = f"(SELECT max({subject.time}) FROM {subject.table} WHERE {recent(subject.time, '6 h')} AND {subject.sensors})"
    if subject.rollup and any(aggregate.name == "last_flow" for aggregate in subject.rollup.aggregates):
        older = f"SELECT max(last_flow) FROM {subject.rollup.name} WHERE {recent(subject.rollup.bucket, '30 days')} AND {subject.sensors}"
        newest = f"greatest({newest}, ({older} AND last_flow <= {end}))"
    return Panel(
        f"{subject.name}_age", "Age of the newest row", "stat", "hot",
        f"SELECT round(extract(epoch FROM {end} - {newest})) AS age",
        "Since the newest row began. It grows when sensors, meter or writer stand still. Empty: none for long.",
        (Field("age", "number", "s"),), section=section(subject), warn=300, bad=900, width=6, height=4,
    )  # fmt: skip


def _over_time(subject: Subject) -> Iterator[Panel]:
    """Rows and bytes over time."""
    measures = [subject.total, *([subject.attacks] if subject.scored else [])]
    names = ["benign", "attacks"] if subject.scored else ["rows"]
    sums = ["sum(total_flows) - sum(attacks)", "sum(attacks)"] if subject.scored else ["sum(total_flows)"]
    listed = ", ".join(f"round(({sql}) * 60 / {subject.seconds}, 2) AS {name}" for sql, name in zip(sums, names, strict=True))
    yield Panel(
        f"{subject.name}_over_time", f"{subject.title} per minute", "bars_over_time", "hot",
        f'SELECT at AS "time", {listed} FROM {subject.parts(measures)} GROUP BY at ORDER BY at',
        "By the time they began. Over ranges of more than 6 hours by whole hours.",
        (Field("time", "time"), *(Field(name, "number", "short") for name in names)),
        section=section(subject), stacked=True,
    )  # fmt: skip
    if volume := subject.volume:
        yield Panel(
            f"{subject.name}_bits_over_time", "Bits per second", "timeseries", "hot",
            f'SELECT at AS "time", round(sum({volume.name}) * 8 / {subject.seconds}) AS bits FROM {subject.parts([volume])} '
            "GROUP BY at ORDER BY at",
            "Both directions, all bytes of a flow counted at the time it began.",
            (Field("time", "time"), Field("bits", "number", "bps")), section=section(subject),
        )  # fmt: skip


def _sensors(subject: Subject) -> Panel:
    return Panel(
        f"{subject.name}_by_sensor", "Sensors", "bars", "hot",
        f"SELECT sensor_id AS sensor, count(*) AS rows FROM {subject.table} WHERE {recent(subject.time, '15 min')} AND {subject.sensors} "
        "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 30",
        "Rows of each sensor in the last 15 minutes. A sensor that is missing here has sent nothing.",
        (Field("sensor", "text"), Field("rows", "number", "short")), section=section(subject), width=8,
    )  # fmt: skip


def _protocols(subject: Subject) -> Panel:
    return Panel(
        f"{subject.name}_by_protocol", "Protocols", "bars", "hot",
        f"SELECT {PROTOCOL} AS protocol, count(*) AS rows FROM {subject.table} WHERE {recent(subject.time, '15 min')} "
        f"AND {subject.sensors} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20",
        "Of the last 15 minutes.",
        (Field("protocol", "text"), Field("rows", "number", "short")), section=section(subject), width=8,
    )  # fmt: skip


def _talkers(subject: Subject, source: str) -> Panel:
    both = "sum(total_length_fwd_packets + total_length_bwd_packets)"
    return Panel(
        f"{subject.name}_talkers", "Who talks most", "table", "hot",
        f"SELECT host({source}) AS source, count(*) AS flows, {both} AS bytes FROM {subject.table} "
        f"WHERE {recent(subject.time, '15 min')} AND {subject.sensors} GROUP BY {source} ORDER BY 3 DESC, 1 LIMIT 10",
        "Addresses by the bytes of the conversations that they began in the last 15 minutes.",
        (Field("source", "text", link=TO_SOURCE), Field("flows", "number", "short"), Field("bytes", "number", "bytes")),
        section=section(subject), width=8,
    )  # fmt: skip
