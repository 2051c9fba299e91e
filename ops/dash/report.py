"""The views as one HTML file that needs nothing else: no server, no network, no file beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from infra import files
from infra.config import Settings
from infra.errors import ConfigError, StoreError
from infra.names import printable
from ops.dash import pages, render, spelling
from ops.dash.answers import Answers
from ops.dash.site import Board, Framed, Site
from ops.dash.span import PageSpan
from ops.views.model import Link, Panel, View

#: Incidents that are told in full at most, the most urgent first.
MAX_INCIDENTS = 20
#: Rows of a table, unless more or fewer are wanted.
ROWS = 100


@dataclass(frozen=True)
class _ReportPart:
    """A view in the report."""

    name: str
    board: Board


def write(settings: Settings, span: PageSpan, file: Path, rows: int = ROWS) -> int:
    """Write the file; an old one of the name is replaced when the new one is whole.

    Parameters
    ----------
    settings
        Where the stores are.
    span
        The time and the sensors that it tells of.
    file
        Its name; ``-`` is standard output.
    rows
        Of a table at most.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    StoreError
        The databases have no answer: nothing is written.
    ConfigError
        The file cannot be written.
    """
    site = Site(settings, Answers(settings, rows))
    try:
        text = page(site, span)
    finally:
        site.close()
    try:
        if files.is_stdout(file):
            _say(text)
        else:
            files.replace(file, text)
    except BrokenPipeError:  # whoever reads has seen enough
        raise
    except OSError as e:
        raise ConfigError(f"--out {file}: {e.strerror}", "name a file in a folder that is there and may be written to") from e
    return len(text.encode())


def _say(text: str) -> None:
    if sys.stdout is None or sys.stdout.isatty():
        what = "is closed" if sys.stdout is None else "is a terminal"
        raise ConfigError(f"--out -: standard output {what}", "pipe it into another program, or name a file")
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def page(site: Site, span: PageSpan) -> str:
    """The whole file.

    Raises
    ------
    StoreError
        The databases have no answer.
    """
    parts, missing, told, there = [], list[str](), dict[str, Board](), 0
    for view in site.views():
        if view.variables:  # it answers questions, and here nobody asks
            continue
        answered = Answered(site, view, span)
        told |= answered.incidents(told)
        there = max(there, answered.incidents_there)
        board = answered.board(told)
        missing += answered.missing()
        if board.panels:
            parts.append(_ReportPart(view.name, board))
    if parts and all(part.board.problem for part in parts):
        raise StoreError(parts[0].board.problem, "start it: flowlake up")
    style, script = pages.static("dash.css"), pages.static("tables.js")
    allowed = f"style-src {pages.fingerprint(style)}; script-src {pages.fingerprint(script)}"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return pages.page(
        "report.html", parts=parts, incidents=told, missing=missing, about=about(span), written=datetime.now(UTC), policy=policy,
        style=Markup(style), script=Markup(script), there=there,
    )  # fmt: skip


class Answered:
    """A view with its answers, without what cannot be asked here."""

    def __init__(self, site: Site, view: View, span: PageSpan) -> None:
        self._site, self._view, self._span = site, view, span
        self._answers = site.answers.of(view, span, {})
        #: Incidents that there are in the stores, of which some are told.
        self.incidents_there = 0
        self._panels = [panel for panel in view.panels if not self._answers[panel.key].absent]

    def missing(self) -> list[str]:
        """Which panels are left out, and why: a line for each reason."""
        found: dict[str, list[str]] = {}
        for panel in self._view.panels:
            if self._answers[panel.key].absent:
                found.setdefault(self._answers[panel.key].error, []).append(panel.title)
        return [f"{self._view.title}, {', '.join(titles)}: {why}" for why, titles in found.items()]

    def incidents(self, known: Mapping[str, Board]) -> dict[str, Board]:
        """The incidents that the view lists, told in full: id -> its page."""
        found: dict[str, Board] = {}
        for panel in self._panels:
            answer = self._answers[panel.key]
            if panel.key != "incidents" or "id" not in answer.names:
                continue
            ids = [str(row[answer.names.index("id")]) for row in answer.rows]
            self.incidents_there = max(answer.total, len(ids))
            for key in [key for key in ids if key not in known][:MAX_INCIDENTS]:
                found[key] = self._site.incident(key, self._span, lambda *_: "")
        return found

    def board(self, told: Mapping[str, Board]) -> Board:
        """Its panels; incidents that are told lead to where."""

        def leads(_link: Link | None, column: str, row: Mapping[str, Any], _span: PageSpan) -> str:
            return f"#incident-{row['id']}" if column in ("id", "title") and row.get("id") in told else ""

        panels = tuple(self._framed(panel, leads) for panel in self._panels)
        errors = {self._answers[panel.key].error for panel in self._panels}
        return Board(self._view.title, self._view.description, panels, errors.pop() if len(errors) == 1 else "")

    def _framed(self, panel: Panel, leads: render.Leads) -> Framed:
        shown = render.show(panel, self._answers[panel.key], self._span, leads)
        html = Markup(pages.body(shown))
        # Keys of panels name places of the file, and two views may have a panel of one key.
        key = f"{self._view.name}-{panel.key}"
        return Framed(key, printable(panel.title), html, panel.kind, shown.width, panel.section, panel.description)


def about(span: PageSpan) -> str:
    """What a report is of, in words."""
    sensors = f"sensors {', '.join(span.sensors)}" if span.sensors else "all sensors"
    return f"{spelling.text(span.start)} to {spelling.text(span.end)} UTC, {sensors}"
