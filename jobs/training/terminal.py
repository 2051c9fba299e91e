"""The report of a training, for a terminal and for programs."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from jobs.evaluation import account
from jobs.evaluation.intervals import Interval, wilson
from jobs.evaluation.operating import alarms_span, false_alarms_per_hour, precision_at, precision_span
from jobs.models.newcomer import Settled
from jobs.training.evaluate import Quality
from jobs.training.train import TrainingReport

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def plain(report: TrainingReport, settled: Settled) -> dict[str, Any]:
    """The report as JSON values; undefined numbers are null."""
    return {
        "version": report.version,
        **settled.plain(),
        "beside": report.beside,
        "threshold": report.model.threshold,
        "feature_version": report.model.feature_version,
        "columns": list(report.model.columns),
        "importance": dict(report.importance),
        "quality": {name: account.value(q) for name, q in report.quality.items()},
        "classes": [asdict(c) for c in report.classes],
        "confusion": account.value(report.confusion),
        "evaluation": account.plain(report.evaluation),
        "data_version": report.data_version,
        "ms_per_1000": round(report.ms_per_1000, 3),
        "notes": list(report.notes),
        "seconds": round(report.seconds, 2),
    }


def show(report: TrainingReport, settled: Settled, console: Console) -> None:
    """Print tables of the report."""
    console.print(_quality(report))
    console.print(_classes(report))
    if report.evaluation.unseen:
        console.print(_unseen(report))
    if report.evaluation.ages:
        console.print(_ages(report))
    site, chosen, least = report.evaluation.site, report.evaluation.chosen, report.evaluation.least_cost
    first = next(iter(report.evaluation.parts.values()))
    fpr = first.intervals["false_positive_rate"]
    console.print(
        f"Where {100 * site.attack_share:.3g} % of {site.flows_per_s:,g} flows a second are attacks: "
        f"precision {_figure(chosen.precision)}{_span(precision_span(first.intervals['recall'], fpr, site.attack_share))}, "
        f"{_amount(chosen.false_alarms_per_hour)}{_span(alarms_span(fpr, site), ',.1f')} false alarms an hour"
        + (
            f"; least cost ({site.miss_cost:g} a miss, {site.false_alarm_cost:g} an alarm) at threshold {least.threshold:.4g}"
            if least
            else ""
        ),
        soft_wrap=True,
    )
    console.print(f"Cost: {report.ms_per_1000:.2f} ms of one core for 1,000 records", soft_wrap=True)
    console.print(
        "Features, by their share in P(attack): " + ", ".join(f"{name} {value:.3f}" for name, value in report.importance), soft_wrap=True
    )
    for note in report.notes:
        console.print(f"Note: {note}", soft_wrap=True, markup=False)
    console.print(f"Data: {report.data_version}", soft_wrap=True)
    if report.beside:
        console.print(f"Beside: {report.beside}", soft_wrap=True, markup=False)
    told = f"{report.version} ({settled.state()})" if report.version else "none, not registered"
    console.print(f"Version: {told}; {report.seconds:.0f} s", soft_wrap=True, markup=False)
    if report.version and not settled.promoted:
        console.print(f"Next: {_next(report.version, report.beside)}", soft_wrap=True, markup=False)


def _next(version: str, beside: str) -> str:
    """What to do with a version that waits; ``beside`` is empty where there is no champion to compare it with."""
    promote = f"flowlake models promote {version}"
    if not beside:
        return f"{promote} looks once more; with --force --reason WHY though a gate is closed"
    return f"flowlake models compare champion {version}; {promote} puts it in force, if it passes the gates (--dry-run shows them)"


def _quality(report: TrainingReport) -> Table:
    parts = report.evaluation.parts
    table = _table(f"Detection quality at threshold {report.model.threshold:g} (95 % intervals)", "", *(n.replace("_", " ") for n in parts))
    for field in fields(Quality):
        cells = []
        for part in parts.values():
            value, interval = getattr(part.quality, field.name), part.intervals.get(field.name)
            if field.name == "precision_at_1_percent":
                interval = precision_span(part.intervals["recall"], part.intervals["false_positive_rate"], 0.01)
            cells.append(f"{value:,}" if isinstance(value, int) else _figure(value) + (_span(interval) if interval else ""))
        table.add_row(field.name.replace("_", " "), *cells)
    site = report.evaluation.site
    rates = [(part.quality.recall, part.quality.false_positive_rate) for part in parts.values()]
    if site.attack_share != 0.01:  # which is shown in any case
        table.add_row(f"precision at {100 * site.attack_share:g} %", *(_figure(precision_at(*pair, site.attack_share)) for pair in rates))
    spans = [alarms_span(part.intervals["false_positive_rate"], site) for part in parts.values()]
    alarms = (_amount(false_alarms_per_hour(fpr, site)) + _span(span, ",.1f") for (_, fpr), span in zip(rates, spans, strict=True))
    table.add_row("false alarms an hour", *alarms)
    return table


def _classes(report: TrainingReport) -> Table:
    name = next(iter(report.quality)).replace("_", " ")
    table = _table(f"By label ({name})", "label", "records", "taken for an attack", "type right")
    for c in report.classes:
        found = f"{c.flagged / c.records:.1%}{_span(wilson(c.flagged, c.records), '.1%')}"
        table.add_row(_text(c.label), f"{c.records:,}", found, f"{c.typed / c.records:.1%}")
    return table


def _unseen(report: TrainingReport) -> Table:
    table = _table("Attacks left out of the training", "label", "records", "taken for an attack", "by novelty alone", "benign so taken")
    for u in report.evaluation.unseen:
        found = f"{u.recall:.1%}{_span(u.interval, '.1%')}"
        table.add_row(_text(u.label), f"{u.records:,}", found, f"{u.novel:,}", f"{u.false_positive_rate:.2%}")
    return table


def _ages(report: TrainingReport) -> Table:
    table = _table("By age of the flow", "seconds", "records", "of attacks", "recall", "false positive rate")
    for a in report.evaluation.ages:
        age = "closed" if a.closed else f"{a.low:g} - {a.high:g}" if a.high < float("inf") else f"> {a.low:g}"
        table.add_row(age, f"{a.rates.records:,}", f"{a.rates.attacks:,}", _figure(a.rates.recall), _figure(a.rates.false_positive_rate))
    return table


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, min_width=len(title) + 2)  # else a narrow table breaks its title
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=not i)
    return table


def _text(name: str) -> str:
    """A name of the data: no markup."""
    from rich.markup import escape

    return escape(name)


def _figure(value: float) -> str:
    return f"{value:.4f}" if value == value else "-"


def _amount(value: float) -> str:
    return f"{value:,.1f}" if value == value else "-"


def _span(interval: Interval, form: str = ".4f") -> str:
    low, high = interval
    return f" ({low:{form}}-{high:{form}})" if low == low else ""
