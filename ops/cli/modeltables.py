"""Tables of ``flowlake models``."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from infra.console import looks
from jobs.training.sampling import by_label
from jobs.training.sources import strata_of
from ops.cli.tables import console

if TYPE_CHECKING:
    from jobs.models.compare import ModelComparison
    from jobs.models.gates import Gate
    from jobs.models.scorefile import FileQuality, ScoredFile
    from jobs.models.versions import Version
    from jobs.scoring.aliases import AliasChange

_COLOURS = {"open": "green", "closed": "red", "undecided": "yellow"}
#: Characters of a fact that are shown: the names of all columns have some 1,500.
_LONGEST = 4000
#: Metrics that a list shows, by how their names end; of several parts the first one's.
_MAIN = (("recall", "recall"), ("FPR", "false_positive_rate"), ("F1", "f1"))


def show_versions(found: Sequence[Version]) -> None:
    """Versions, one a line."""
    title = f"Versions of {looks.word(found[0].model)}; figures are of what each training held out"
    table = Table(title=Text(title), title_justify="left")
    for name in ("version", "is", "registered", "threshold", *(name for name, _ in _MAIN), "features", "data"):
        table.add_column(name, justify="right" if name in ("threshold", "recall", "FPR", "F1") else "left", overflow="fold")
    for one in found:
        state = ", ".join([*one.aliases, *(["retired"] if one.retired is not None else [])])
        table.add_row(
            one.version,
            Text(state, "bold green" if one.aliases else "dim"),
            f"{one.created:%Y-%m-%d %H:%M}",
            "-" if one.threshold is None else f"{one.threshold:g}",
            *(_metric(one.metrics, end) for _, end in _MAIN),
            Text(f"{len(one.columns)}, schema {looks.word(one.fact('feature_version') or '-')}"),
            Text(looks.word(" ".join(part for part in (one.fact("training_data"), _short(one.fact("data_version"))) if part))),
        )
    console().print(table)


def _short(version: str) -> str:
    """A version of data, of a checksum its beginning: whole it makes a table of several versions wider than a screen."""
    return re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}", r"\1...", version)


def _wrapped(text: str, width: int = 100) -> str:
    """A text of some length in lines, as a table in a file has no screen's width to fold it at."""
    return textwrap.fill(looks.word(text, _LONGEST), width, break_long_words=False)


def _metric(metrics: Mapping[str, float], end: str) -> str:
    for prefix in ("held_out", "random", *sorted({name.removesuffix(f"_{end}") for name in metrics if name.endswith(f"_{end}")})):
        if (value := metrics.get(f"{prefix}_{end}")) is not None:
            return f"{value:.4f}"
    return "-"


def show_version(one: Version, changes: Sequence[AliasChange], data: Mapping[str, Any]) -> None:
    """All of one version; ``data`` is what its training has written down of the records (:func:`jobs.models.versions.data`)."""
    out = console()
    facts = Table(title=Text(f"{looks.word(one.model)} version {one.version}"), title_justify="left", show_header=False)
    facts.add_column("", no_wrap=True)
    facts.add_column("", overflow="fold")
    rows = {
        "is": ", ".join(one.aliases) or "-",
        "registered": f"{one.created:%Y-%m-%d %H:%M:%S} UTC",
        "retired": one.retired,
        "threshold": None if one.threshold is None else f"{one.threshold:g}",
        "columns": ", ".join(one.columns),
        **{k: v for k, v in sorted(one.facts.items()) if k not in ("columns", "threshold", "retired")},
        **{f"param {k}": v for k, v in sorted(one.params.items()) if k not in ("columns", "threshold")},
    }
    for name, value in rows.items():
        if value not in (None, ""):
            facts.add_row(Text(looks.word(name.replace("_", " "))), Text(_wrapped(str(value))))
    out.print(facts)
    if data.get("strata"):
        _show_data(data)
    if one.metrics:
        out.print(_side_by_side([one]))
    for change in changes:
        why = f": {looks.word(change.why)}" if change.why else ""
        moved = f"{change.before or 'none'} -> {change.after or 'none'}" + ("" if change.done else " (interrupted)")
        out.print(f"{change.at} {change.action} {change.alias} {moved} by {looks.word(change.who)}{why}", soft_wrap=True, markup=False)


def _show_data(data: Mapping[str, Any]) -> None:
    table = Table(title=f"Trained on {looks.word(data['data'], _LONGEST)}", title_justify="left")
    for name in ("label", "there were", "taken", "first day", "last day", "days"):
        table.add_column(name, justify="right" if name in ("there were", "taken", "days") else "left", overflow="fold")
    for of in by_label(strata_of(data)):
        days = (looks.word(of.first or "-"), looks.word(of.last or "-"), str(of.days or "-"))
        table.add_row(Text(looks.word(of.label)), f"{of.seen:,}", f"{of.kept:,}", *map(Text, days))
    out = console()
    out.print(table)
    for file in data.get("files", ()):
        out.print(f"file: {looks.word(file, _LONGEST)}", soft_wrap=True, markup=False)
    for note in data.get("notes", ()):
        out.print(f"Note: {looks.word(note, _LONGEST)}", soft_wrap=True, markup=False)


def _side_by_side(found: Sequence[Version]) -> Table:
    table = Table(title="Metrics of the training", title_justify="left")
    table.add_column("", overflow="fold")
    for one in found:
        table.add_column(f"version {one.version}", justify="right", overflow="fold")
    for name in sorted(set().union(*(one.metrics for one in found))):
        values = [one.metrics.get(name) for one in found]
        table.add_row(Text(looks.word(name.replace("_", " "))), *("-" if v is None else f"{v:,.4f}".removesuffix(".0000") for v in values))
    return table


def show_comparison(found: ModelComparison) -> None:
    """Two versions side by side, and their flips."""
    out = console()
    pair = (found.first, found.second)
    table = _side_by_side(pair)
    table.add_section()
    table.add_row("threshold", *("-" if one.threshold is None else f"{one.threshold:g}" for one in pair))
    table.add_row("columns", *(str(len(one.columns)) for one in pair))
    for fact in ("training_data", "data_version", "threshold_rule", "ms_per_1000"):
        if any(one.fact(fact) for one in pair):
            table.add_row(fact.replace("_", " "), *(Text(_wrapped(_short(one.fact(fact)), 50)) for one in pair))
    out.print(table)
    if not found.flips:
        out.print("no records to compare them on: name some with --records, or --generated", soft_wrap=True)
        return
    flips = Table(title=Text(f"Taken for an attack, {looks.word(found.origin)}"), title_justify="left")
    heads = (
        "label",
        "records",
        "by both",
        f"by {found.first.version} alone",
        f"by {found.second.version} alone",
        "by neither",
        "other kind",
    )
    for name in heads:
        flips.add_column(name, justify="left" if name == "label" else "right", overflow="fold")
    for one in found.flips:
        numbers = (one.records, one.both, one.first, one.second, one.neither, one.retyped)
        flips.add_row(Text(looks.word(one.label)), *(f"{n:,}" for n in numbers))
    out.print(flips)


def show_gates(found: Sequence[Gate]) -> None:
    """Gates, and why each is as it is."""
    table = Table(title="Gates", title_justify="left")
    for name in ("gate", "", "why"):
        table.add_column(name, overflow="fold")
    for gate in found:
        table.add_row(Text(looks.word(gate.name)), Text(gate.verdict, _COLOURS[gate.verdict]), Text(_wrapped(gate.said)))
    console().print(table)


def show_scored(found: ScoredFile, out: Path | None) -> None:
    """What became of a file."""
    screen = console()
    model = found.model
    screen.print(f"{found.table.num_rows:,} records by version {model.version} at threshold {model.threshold:g}", soft_wrap=True)
    for name, count in found.taken.items():
        screen.print(f"  {looks.word(name):<24} {count:>10,}  {count / found.table.num_rows:7.2%}", markup=False)
    if found.quality is not None:
        _show_quality(found.quality)
    for note in found.notes:
        screen.print(f"Note: {note}", soft_wrap=True, markup=False)
    if out is not None:
        screen.print(f"written: {out}", soft_wrap=True, markup=False)


def _show_quality(quality: FileQuality) -> None:
    screen = console()
    table = Table(title=f"By label ({quality.records:,} records with one)", title_justify="left")
    for name in ("label", "records", "taken for an attack", "label right", "F1"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for one in quality.labels:
        shares = (f"{one.flagged / one.records:.2%}", f"{one.typed / one.records:.2%}")
        table.add_row(Text(looks.word(one.label)), f"{one.records:,}", *shares, f"{one.f1:.4f}")
    screen.print(table)
    low, high = quality.fpr_interval
    figures = {"macro-F1": quality.macro_f1, "F1": quality.f1, "precision": quality.precision, "recall": quality.recall}
    said = ", ".join(f"{name} {value:.4f}" for name, value in figures.items() if value == value)
    rate = quality.false_positive_rate
    screen.print(f"{said}; false-positive rate {f'{rate:.3%} ({low:.3%} to {high:.3%})' if rate == rate else 'undefined'}", soft_wrap=True)
