"""*Attacks*: how many, of which kind, by whom, against whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.views.model import Field, Panel, View
from ops.views.subjects import Subject, binned, recent
from ops.views.traffic import TO_SOURCE, TO_TARGET, section
from schemas.countries import COUNTRIES

_SHARE = "coalesce(round(100.0 * count(*) FILTER (WHERE predicted_label = 1) / nullif(count(*), 0), 2), 0)"
#: Attackers whose country is looked up: the busiest.
_LOOKED_UP = 1000


def view(subjects: Sequence[Subject], *, countries: bool) -> View:
    """The view; ``countries``: whether there is a table of networks and their countries."""
    return View(
        "attacks",
        "Attacks",
        "What the model calls an attack: how many, of which kind, by whom, against whom.",
        tuple(panel for subject in subjects if subject.scored for panel in _panels(subject, countries)),
        span="6h",
    )


def _panels(subject: Subject, countries: bool) -> Iterator[Panel]:
    yield _rate(subject)
    yield _kinds_over_time(subject)
    yield _kinds(subject)
    source, target = subject.column("src_ip"), subject.column("dst_ip")
    if source:
        yield _top(subject, "attackers", "Top attackers, 24 hours", source, "source")
    if target:
        yield _top(subject, "targets", "Top targets, 24 hours", target, "target")
    if source and countries:
        yield _countries(subject, source)
    yield _newest(subject, source, target)


def _rate(subject: Subject) -> Panel:
    minute = binned(subject.time, "interval '1 min'")
    return Panel(
        f"{subject.name}_rate", "Attack rate per minute, 5 minutes", "bars_over_time", "hot",
        f'SELECT {minute} AS "time", {_SHARE} AS attack_rate, count(*) FILTER (WHERE predicted_label = 1) AS attacks, '
        f"count(*) AS {subject.name} FROM {subject.table} WHERE {recent(subject.time, '5 min')} AND {subject.sensors} "
        "GROUP BY 1 ORDER BY 1",
        "Of each of the last 5 minutes before the end of the range: attacks, all rows, and the share in percent.",
        (
            Field("time", "time"), Field("attack_rate", "number", "percent"), Field("attacks", "number", "short"),
            Field(subject.name, "number", "short"),
        ),
        section=section(subject), last="5m",
    )  # fmt: skip


def _kinds_over_time(subject: Subject) -> Panel:
    parts = subject.parts([subject.attacks], ["attack_type"], attacks=True)
    return Panel(
        f"{subject.name}_kinds_over_time", "Attacks per minute by kind", "bars_over_time", "hot",
        f'SELECT at AS "time", attack_type AS metric, round(sum(attacks) * 60 / {subject.seconds}, 3) AS attacks FROM {parts} '
        "GROUP BY at, attack_type HAVING sum(attacks) > 0 ORDER BY at, attack_type",
        "By the time they began. Over ranges of more than 6 hours by whole hours.",
        (Field("time", "time"), Field("metric", "text"), Field("attacks", "number", "short")),
        section=section(subject), stacked=True,
    )  # fmt: skip


def _kinds(subject: Subject) -> Panel:
    parts = subject.parts([subject.attacks], ["attack_type"], attacks=True)
    return Panel(
        f"{subject.name}_kinds", "Kinds of attack", "bars", "hot",
        f"SELECT attack_type, sum(attacks) AS attacks FROM {parts} GROUP BY 1 HAVING sum(attacks) > 0 ORDER BY 2 DESC, 1 LIMIT 30",
        f"{subject.title} of each kind in the range.",
        (Field("attack_type", "text", title="kind"), Field("attacks", "number", "short")), section=section(subject), width=8,
    )  # fmt: skip


def _top(subject: Subject, key: str, title: str, column: str, name: str) -> Panel:
    return Panel(
        f"{subject.name}_{key}", title, "table", "hot",
        f"SELECT host({column}) AS {name}, count(*) AS attacks, round(avg(confidence_score)::numeric, 3) AS confidence, "
        f"max({subject.time}) AS last_seen FROM {subject.table} "
        f"WHERE predicted_label = 1 AND {recent(subject.time, '24 h')} AND {subject.sensors} "
        f"GROUP BY {column} ORDER BY 2 DESC, 4 DESC LIMIT 10",
        "Of the 24 hours before the end of the range, whatever its beginning.",
        (
            Field(name, "text", link=TO_SOURCE if name == "source" else TO_TARGET), Field("attacks", "number", "short"),
            Field("confidence", "number", "percentunit"), Field("last_seen", "time"),
        ),
        section=section(subject), width=8,
    )  # fmt: skip


def _countries(subject: Subject, source: str) -> Panel:
    return Panel(
        f"{subject.name}_countries", "Sources by country, 24 hours", "bars", "hot",
        f"WITH attacker AS (SELECT {source} AS address, count(*) AS attacks FROM {subject.table} WHERE predicted_label = 1 "
        f"AND {recent(subject.time, '24 h')} AND {subject.sensors} GROUP BY 1 ORDER BY 2 DESC LIMIT {_LOOKED_UP}) "
        "SELECT coalesce(country, 'unknown') AS country, sum(attacks) AS attacks, count(*) AS sources FROM attacker "
        f"LEFT JOIN LATERAL (SELECT country FROM {COUNTRIES} WHERE network >>= address ORDER BY masklen(network) DESC LIMIT 1) place "
        "ON true GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20",
        f"Where the {_LOOKED_UP:,} busiest attackers are, by the GeoIP file that was loaded. A forged address is where its owner is.",
        (Field("country", "text"), Field("attacks", "number", "short"), Field("sources", "number", "short")),
        section=section(subject), width=8,
    )  # fmt: skip


def _newest(subject: Subject, source: str, target: str) -> Panel:
    addresses = [(source, "source", TO_SOURCE), (target, "target", TO_TARGET)]
    listed = [(f"host({column}) AS {name}", Field(name, "text", link=link)) for column, name, link in addresses if column]
    ports = ["dst_port"] if subject.has("dst_port") else []
    chosen = [subject.time, "attack_type", *(sql for sql, _ in listed), *ports, "round(confidence_score::numeric, 3) AS confidence"]
    if subject.has("sensor_id"):
        chosen.append("sensor_id")
    return Panel(
        f"{subject.name}_newest", "Newest attacks", "table", "hot",
        f"SELECT {', '.join(chosen).replace(subject.time, f'{subject.time} AS time', 1)} FROM {subject.table} "
        f"WHERE predicted_label = 1 AND $__timeFilter({subject.time}) AND {subject.sensors} ORDER BY {subject.time} DESC LIMIT 100",
        f"The newest 100 {subject.name} of the range that are attacks.",
        (
            Field("time", "time"), Field("attack_type", "text", title="kind"), *(column for _, column in listed),
            *(Field(port, "number", title="port") for port in ports), Field("confidence", "number", "percentunit"),
            *([Field("sensor_id", "text", title="sensor")] if subject.has("sensor_id") else []),
        ),
        section=section(subject), width=24,
    )  # fmt: skip
