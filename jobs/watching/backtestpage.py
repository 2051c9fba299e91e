"""A backtest for people: lines on the terminal, and a page. Both show the numbers of :class:`jobs.watching.backtest.Backtest`."""

from __future__ import annotations

from pathlib import Path

from infra import files
from infra.config import Settings
from infra.console import looks
from infra.names import printable
from infra.plurals import are, counted
from jobs.watching import html
from jobs.watching.backtest import Backtest, BacktestLine, folder
from jobs.watching.html import Markup, text

_COLUMNS = ("day", "sensor", "kind", "then", "now", "both", "raised", "missed", "retyped", "P(attack)", "least")
_OF_LABELS = ("labelled", "found then", "found now", "true then", "true now", "false then", "false now")
_MEANING = {
    "then, now, both": "records called this kind by the model of that time, by this one, by both",
    "raised": "called this kind now, and benign then",
    "missed": "called this kind then, and benign now",
    "retyped": "called this kind now, and another attack then",
    "P(attack), least": "how sure this model is of what it calls this kind: on average, at least",
    "labelled, found": "records labelled this kind, and how many of them were called an attack",
    "true, false": "of those called this kind: labelled an attack, labelled benign",
}


def write(settings: Settings, found: Backtest) -> Path:
    """Write the page; one of an earlier run of the same version and span is replaced when the new one is whole.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    place = folder(settings)
    place.mkdir(parents=True, exist_ok=True)
    span = f"{found.span.first:%Y%m%dT%H%M}-{found.span.until:%Y%m%dT%H%M}"
    file = place / f"{found.record}-{found.model_version}-{span}.html"
    files.replace(file, build(found))
    return file


def summary(found: Backtest) -> list[str]:
    """What it comes to, in lines."""
    if not found.rows:
        lines = [
            f"no rows of {found.record} that a model has scored in {found.span}" if not found.left_out else "no rows of these features"
        ]
    else:
        lines = [
            f"{counted(found.rows, 'row')} scored; {found.total('then'):,} were called an attack then, {found.total('now'):,} are now",
            f"raised now and not then: {found.total('raised'):,}; then and not now: {found.total('missed'):,}; "
            f"of another kind: {found.total('retyped'):,}",
        ]
    if found.left_out:
        lines.append(f"{counted(found.left_out, 'row')} {are(found.left_out)} left out: features of another version")
    if found.labelled:
        lines.append(
            f"labels: {counted(found.labelled, 'row')}, {counted(found.labelled_attacks, 'attack')}; "
            f"found then {found.total('found_then'):,}, now {found.total('found_now'):,}; "
            f"false alarms then {found.total('false_then'):,}, now {found.total('false_now'):,}"
        )
    elif found.rows:
        lines.append("no labels of these rows: what is true is not known (flowlake lake label import)")
    if found.table:
        lines.append(f"each verdict is in {found.table}")
    return lines


def show(found: Backtest) -> None:
    """Print it."""
    print(printable(f"{found.record}, model {found.model_version}, {found.span}"))
    for line in summary(found):
        print(printable(f"  {line}"))
    if found.lines:
        columns = _columns(found)
        rows = [dict(zip(columns, _cells(line, found), strict=True)) for line in found.lines]
        looks.show(rows, columns, form="table", title="By day, sensor and kind")


def build(found: Backtest) -> str:
    """The page."""
    title = f"Backtest of model {found.model_version}, {found.record}"
    parts = [f"<p>{text(found.span)}</p>", *(f"<p>{text(line)}.</p>" for line in summary(found))]
    if found.lines:
        columns = _columns(found)
        rows = [_linked(line, found) for line in found.lines]
        parts += ["<h2>By day, sensor and kind</h2>", html.table(columns, rows, columns[3:])]
        parts += [html.table(("column", "meaning"), _MEANING.items())]
    for (what, kind), examples in found.examples.items():
        parts.append(f'<h2 id="{_anchor(what, kind)}">{text(kind)}: {what}, the clearest</h2>')
        rows_ = [
            (Markup(f"<code>{text(one.key)}</code>"), f"{one.before:.3f}", f"{one.score:.3f}", f"{one.change:.3f}") for one in examples
        ]
        parts.append(html.table(("record", "P(attack) then", "now", "change"), rows_, ("P(attack) then", "now", "change")))
    if found.examples:
        query = f"SELECT * FROM {found.record} WHERE {found.key} = '{next(iter(found.examples.values()))[0].key}'"
        parts.append(f"<p>Look at one: <code>flowlake sql &quot;{text(query)}&quot;</code></p>")
    return html.page(title, *parts)


def _columns(found: Backtest) -> tuple[str, ...]:
    return (*_COLUMNS, *_OF_LABELS) if found.labelled else _COLUMNS


def _cells(line: BacktestLine, found: Backtest) -> tuple[str, ...]:
    mean = line.mean_score
    cells = [line.day.isoformat(), line.sensor, line.kind]
    cells += [f"{number:,}" for number in (line.then, line.now, line.both, line.raised, line.missed, line.retyped)]
    cells += ["" if mean is None else f"{mean:.3f}", "" if mean is None else f"{line.least:.3f}"]
    if found.labelled:
        numbers = (line.labelled, line.found_then, line.found_now, line.true_then, line.true_now, line.false_then, line.false_now)
        cells += [f"{number:,}" for number in numbers]
    return tuple(cells)


def _linked(line: BacktestLine, found: Backtest) -> tuple[str, ...]:
    """Cells, those of raised and missed leading to their examples."""
    cells = list(_cells(line, found))
    for at, what in ((6, "raised"), (7, "missed")):
        if (what, line.kind) in found.examples and cells[at] != "0":
            cells[at] = Markup(f'<a href="#{_anchor(what, line.kind)}">{cells[at]}</a>')
    return tuple(cells)


def _anchor(what: str, kind: str) -> str:
    return text(f"{what}-{kind}".replace(" ", "-"))
