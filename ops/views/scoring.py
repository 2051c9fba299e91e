"""*Model health*: which models decide, how sure they are, and what people said of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ops.views.model import Field, Panel, View
from ops.views.subjects import Subject, recent, sensors
from ops.views.traffic import section
from schemas.alerts import TABLE as ALERTS
from schemas.incidents import INCIDENTS

#: A confidence between these is no clear answer.
UNSURE = (0.4, 0.6)


def view(subjects: Sequence[Subject]) -> View:
    """The view."""
    panels = [panel for subject in subjects if subject.scored for panel in _panels(subject)]
    return View(
        "model", "Model health", "Which models decide, how sure they are, and what people said of their alerts.", (*panels, _judged()),
        span="24h", refresh="1m",
    )  # fmt: skip


def _panels(subject: Subject) -> Iterator[Panel]:
    yield _models(subject)
    yield _over_time(subject)
    yield _distribution(subject)
    yield _unsure(subject)


def _share(subject: Subject) -> str:
    return "round(100 * sum(attacks) / nullif(sum(total_flows), 0), 3)"


def _models(subject: Subject) -> Panel:
    return Panel(
        f"{subject.name}_models", "Models in use", "table", "hot",
        f"SELECT model_version, sum(total_flows) AS rows, {_share(subject)} AS attack_share, "
        "round((sum(confidence) / nullif(sum(total_flows), 0))::numeric, 4) AS mean_confidence, min(at) AS first, max(at) AS last "
        f"FROM {subject.parts([subject.total, subject.attacks, subject.confidence], ['model_version'])} "
        "GROUP BY 1 ORDER BY max(at) DESC, 2 DESC LIMIT 20",
        "Versions that scored what is in the range, and the share that each called an attack.",
        (
            Field("model_version", "text", title="model"), Field("rows", "number", "short"), Field("attack_share", "number", "percent"),
            Field("mean_confidence", "number", "percentunit"), Field("first", "time"), Field("last", "time"),
        ),
        section=section(subject), width=24, height=6,
    )  # fmt: skip


def _over_time(subject: Subject) -> Panel:
    """Both curves of one question: over short ranges it reads all rows, and takes a second for some millions of them."""
    parts = subject.parts([subject.total, subject.attacks, subject.confidence], ["model_version"])
    return Panel(
        f"{subject.name}_by_model", "Share of attacks, and mean confidence", "timeseries", "hot",
        f'SELECT at AS "time", model_version AS metric, {_share(subject)} AS share, '
        "round((100 * sum(confidence) / nullif(sum(total_flows), 0))::numeric, 2) AS confidence "
        f"FROM {parts} GROUP BY at, model_version ORDER BY at, model_version",
        "By model: the share that it called an attack, and the mean probability of an attack. A jump of the share without an attack that "
        "explains it: the traffic has changed, or the model. A slow drift of the confidence: traffic moves away from the training's.",
        (
            Field("time", "time"), Field("metric", "text"), Field("share", "number", "percent", "share of attacks"),
            Field("confidence", "number", "percent", "mean confidence"),
        ),
        section=section(subject), interval="5m", width=24,
    )  # fmt: skip


def _distribution(subject: Subject) -> Panel:
    step = "least(width_bucket(confidence_score, 0, 1, 10), 10)"
    return Panel(
        f"{subject.name}_distribution", "Confidence, 1 hour", "bars", "hot",
        f"SELECT to_char(({step} - 1) / 10.0, 'FM0.0') || ' to ' || to_char({step} / 10.0, 'FM0.0') AS confidence, count(*) AS rows "
        f"FROM {subject.table} WHERE {recent(subject.time, '1 h')} AND {subject.sensors} GROUP BY {step} ORDER BY {step}",
        "How many rows have which probability of an attack. A good model has few in the middle.",
        (Field("confidence", "text"), Field("rows", "number", "short")), section=section(subject), width=8,
    )  # fmt: skip


def _unsure(subject: Subject) -> Panel:
    low, high = UNSURE
    address = [(subject.column("src_ip"), "source"), (subject.column("dst_ip"), "target")]
    listed = "".join(f"host({column}) AS {name}, " for column, name in address if column)
    return Panel(
        f"{subject.name}_unsure", "Least sure, 1 hour", "table", "hot",
        f"SELECT {subject.time} AS time, {listed}attack_type, round(confidence_score::numeric, 3) AS confidence, model_version "
        f"FROM {subject.table} WHERE confidence_score BETWEEN {low} AND {high} AND {recent(subject.time, '1 h')} AND {subject.sensors} "
        f"ORDER BY {subject.time} DESC LIMIT 50",
        f"The newest with a confidence of {low} to {high}: the first that are worth a label.",
        (
            Field("time", "time"), *(Field(name, "text") for column, name in address if column),
            Field("attack_type", "text", title="kind"), Field("confidence", "number", "percentunit"),
            Field("model_version", "text", title="model"),
        ),
        section=section(subject), width=16,
    )  # fmt: skip


def _judged() -> Panel:
    return Panel(
        "judged", "What people said", "table", "alerts",
        "SELECT attack_type, count(*) FILTER (WHERE status = 'RESOLVED') AS right_alerts, "
        "count(*) FILTER (WHERE status = 'FALSE_POSITIVE') AS false_alerts, "
        "round(100.0 * count(*) FILTER (WHERE status = 'FALSE_POSITIVE') / count(*), 1) AS false_share "
        f"FROM {ALERTS} a JOIN {INCIDENTS} i ON i.id = a.incident_id WHERE status IN ('RESOLVED', 'FALSE_POSITIVE') "
        f"AND $__timeFilter(i.closed_at) AND {sensors()} GROUP BY 1 ORDER BY 4 DESC, 3 DESC, 1 LIMIT 30",
        "Alerts of incidents that were closed in the range, by kind: how many were false.",
        (
            Field("attack_type", "text", title="kind"), Field("right_alerts", "number", "short", "right"),
            Field("false_alerts", "number", "short", "false"), Field("false_share", "number", "percent", "share of false ones"),
        ),
        section="Judged by people", width=24,
    )  # fmt: skip
