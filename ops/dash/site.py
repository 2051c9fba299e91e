"""What the pages are made of: views and their answers, one incident, one alert. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from markupsafe import Markup

from infra.config import Settings
from infra.errors import ConfigError, FlowlakeError
from infra.names import printable
from jobs.incidents.wording import Reason, reasons
from ops.cli import alertpage
from ops.dash import drill, pages, render, spelling
from ops.dash.answers import Answer, Answers
from ops.dash.span import PageSpan
from ops.views.catalogue import sensors_query, views
from ops.views.model import Link, Panel, View
from ops.views.subjects import subjects
from schemas import crowds
from schemas.countries import COUNTRIES

T = TypeVar("T")
#: Seconds for which sensors, and whether there are countries, are remembered.
_KEEP_S = 15.0
_MOST_VALUE = 256
#: Facts of an alert that the page tells in panels of their own, or in its own way.
_ELSEWHERE = ("when", "details", "check")


@dataclass(frozen=True)
class Framed:
    """A panel on a page: its frame, and what is inside as HTML."""

    key: str
    title: str
    html: Markup
    kind: str = "table"
    width: int = 24
    section: str = ""
    description: str = ""


@dataclass(frozen=True)
class Board:
    """A page of panels; ``problem``: what is wrong with all of them; empty: nothing."""

    title: str
    about: str
    panels: tuple[Framed, ...]
    problem: str = ""
    at: str = ""

    def told(self) -> dict[str, Any]:
        """For the page that is open: what is inside of the panels now."""
        return {"at": self.at, "problem": self.problem, "panels": {panel.key: panel.html for panel in self.panels}}


class NoSuchPageError(ConfigError):
    """There is no page of that address."""


class Site:
    """Views and stories of one installation; any thread may ask. To be closed."""

    def __init__(self, settings: Settings, answers: Answers | None = None) -> None:
        self.settings = settings
        self.answers = answers or Answers(settings)

    def close(self) -> None:
        """Let the databases go."""
        self.answers.close()

    def views(self) -> tuple[View, ...]:
        """All views, in their order."""
        return views(self.settings.catalogue.records, countries=self._countries())

    def view(self, name: str) -> View:
        """The view of a name.

        Raises
        ------
        NoSuchPageError
            There is none.
        """
        known = {view.name: view for view in self.views()}
        if name not in known:
            raise NoSuchPageError(f"there is no view {name[:60]!r}", f"views: {', '.join(known)}")
        return known[name]

    def sensors(self) -> list[str]:
        """Sensors that can be chosen; none while the database is away."""

        def ask(cursor: Any) -> list[str]:
            cursor.execute(sensors_query(subjects(self.settings.catalogue.records)))
            return [row[0] for row in cursor.fetchall()]

        return self._remembered("sensors", ask, [])

    def board(self, view: View, span: PageSpan, variables: Mapping[str, str]) -> Board:
        """A view, answered."""
        answers = self.answers.of(view, span, variables)
        panels = tuple(self._framed(panel, answers[panel.key], span) for panel in view.panels)
        failed = {("" if answer.absent else answer.error) for answer in answers.values()}
        problem = failed.pop() if len(failed) == 1 else ""
        return Board(view.title, view.description, panels, problem, spelling.text(datetime.now(UTC)))

    def data(self, view: View, span: PageSpan, variables: Mapping[str, str]) -> dict[str, Any]:
        """A view's answers for programs."""
        answers = self.answers.of(view, span, variables)
        return {
            "view": view.name,
            "title": view.title,
            "from": spelling.plain(span.start),
            "to": spelling.plain(span.end),
            "sensors": list(span.sensors),
            "variables": dict(variables),
            "at": spelling.plain(datetime.now(UTC)),
            "panels": [_data(panel, answers[panel.key]) for panel in view.panels],
        }

    def incident(self, given: str, span: PageSpan, leads: render.Leads | None = None) -> Board:
        """The page of an incident; ``leads``: where its alerts lead, None: to their pages, and their reasons stand there.

        Raises
        ------
        NoSuchPageError
            The id names none, or several.
        StoreError
            The database is away or refuses.
        """
        story = _found(lambda: drill.incident(self.answers.pools, given))
        said = {
            "notes": None if story.notes is None else [(one["author"], one["at"], one["note"]) for one in story.notes],
            "history": _entries(story.history),
        }
        panels = (
            Framed("about", "Incident", Markup(pages.page("incident.html", story=story, linked=leads is None)), width=10),
            Framed("story", "What happened", Markup(pages.page("story.html", text=story.about["description"])), width=14),
            Framed("next", "What next", Markup(pages.page("next.html", check="", commands=story.commands))),
            self._framed(story.panel, story.alerts, span, leads),
            *([] if leads is None else [Framed("whys", "Why", Markup(pages.page("whys.html", story=story, whys=whys)))]),
            *(
                Framed(key, key.capitalize(), Markup(pages.page("said.html", entries=entries)), width=12, kind="notes")
                for key, entries in said.items()
            ),
        )
        return Board(printable(story.about["title"]), "", panels, at=spelling.text(datetime.now(UTC)))

    def alert(self, given: str, span: PageSpan) -> Board:
        """The page of an alert; raises as :meth:`incident` does."""
        story = _found(lambda: drill.alert(self.settings, self.answers.pools, given))
        one = story.about
        rest = {name: value for name, value in one["details"].items() if name != "why"}
        facts = [(name, text) for name, text in alertpage.facts(one) if name not in _ELSEWHERE]
        panels = (
            Framed("about", "What was seen", Markup(pages.page("alert.html", one=one, facts=facts)), width=12),
            Framed("why", "Why", Markup(pages.page("why.html", of=whys(one["details"], one["record_type"]))), width=12),
            Framed("next", "What next", Markup(pages.page("next.html", check=one["check"], commands=alertpage.commands(one))), width=12),
            Framed("details", "Details", Markup(pages.page("details.html", details=rest)), width=12),
            self._framed(story.panel, story.flows, span),
            Framed("history", "History", Markup(pages.page("said.html", entries=_entries(one["history"]))), kind="notes"),
        )
        ends = crowds.ends(one)
        title = f"{printable(one['attack_type'])}{f': {ends}' if ends else ''}"
        return Board(title, one["description"], panels, at=spelling.text(datetime.now(UTC)))

    def _framed(self, panel: Panel, answer: Answer, span: PageSpan, leads: render.Leads | None = None) -> Framed:
        shown = render.show(panel, answer, span, leads or leads_of(panel))
        return Framed(panel.key, panel.title, Markup(pages.body(shown)), panel.kind, shown.width, panel.section, panel.description)

    def _countries(self) -> bool:
        def ask(cursor: Any) -> bool:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (COUNTRIES,))
            return bool(cursor.fetchone()[0])

        return self._remembered("countries", ask, False)

    def _remembered(self, key: str, ask: Any, otherwise: Any) -> Any:
        future: Future[Any] = self.answers.kept(key, _KEEP_S, lambda: self.answers.pools.hot.submit(ask))
        try:
            return future.result()
        except FlowlakeError:
            return otherwise


def _entries(rows: Sequence[Mapping[str, Any]] | None) -> list[tuple[Any, ...]] | None:
    """Rows of the audit: who, when, what; None where they may not be read."""
    return None if rows is None else [(row["user_id"], row["timestamp"], row["what"]) for row in rows]


def whys(details: Mapping[str, Any], record_type: str) -> list[tuple[Mapping[str, Any], list[Reason]]]:
    """Explanations that an alert has, one or several, each with what drove the score; those without any only where there is no other."""
    given = details.get("why")
    every = [(one, reasons(one, record_type)) for one in (given if isinstance(given, list) else [given]) if isinstance(one, Mapping)]
    return [found for found in every if found[1]] or every[:1]


def _found(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except ConfigError as e:
        raise NoSuchPageError(str(e), e.hint) from e


def leads_of(panel: Panel) -> render.Leads:
    """Where the cells of a panel lead: the links that it declares, and the pages of incidents and alerts for their ids."""
    own = {"incidents": "/incident/", "alerts": "/alert/"}.get(panel.key, "")

    def leads(link: Link | None, column: str, row: Mapping[str, Any], span: PageSpan) -> str:
        if link is not None:
            return render.address(link, row, span)
        if own and column in ("id", "title") and row.get("id"):
            return f"{own}{row['id']}"
        return ""

    return leads


def variables_of(view: View, given: Mapping[str, str]) -> dict[str, str]:
    """A view's variables as an address has them (``var-name``), empty ones as such.

    Raises
    ------
    ConfigError
        One is too long, or holds what no text of a database can.
    """
    found = {variable.name: given.get(f"var-{variable.name}", "").strip() for variable in view.variables}
    for name, value in found.items():
        if len(value) > _MOST_VALUE or "\0" in value:
            raise ConfigError(f"{name} {printable(value[:60])!r} is too long, or no text", f"{_MOST_VALUE} characters at most")
    return found


def own_query(span: PageSpan, variables: Mapping[str, str], since: str) -> str:
    """The query of the address of this page, with another range of time up to now."""
    chosen = [(f"var-{name}", value) for name, value in variables.items() if value]
    return "&".join(part for part in (urlencode(chosen), span.with_range(since)) if part)


def _data(panel: Panel, answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"key": panel.key, "title": panel.title, "kind": panel.kind, "unit": panel.unit}
    if answer.error:
        return {**told, "error": answer.error, "hint": answer.hint}
    units = {column.name: column.unit for column in panel.columns if column.unit}
    rows = [[spelling.plain(value) for value in row] for row in answer.rows]
    return {**told, "columns": list(answer.names), "units": units, "rows": rows, "more": answer.more, "total": answer.total}
