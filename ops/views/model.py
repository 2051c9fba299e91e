"""What a view is: panels with their questions, declared once for Grafana (:mod:`ops.grafana`) and for whoever else shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: ``stat``: one row of numbers. ``timeseries``, ``bars_over_time``: a column ``time``, perhaps a text column ``metric`` that tells series
#: apart, and numbers; the second is of counts, where no row means nothing. ``bars``: a text column and a number each. ``table``: as it is.
Kind = Literal["stat", "timeseries", "bars_over_time", "bars", "table"]
#: Where a question is asked: the database of the hot store, that of the alerts, Prometheus.
Source = Literal["hot", "alerts", "metrics"]
#: What a column holds: a time, a number, text, or true and false.
Type = Literal["time", "number", "text", "boolean"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_UID = re.compile(r"[a-z][a-z0-9-]*")

#: Colours that words of a column may have, by Grafana's names of them.
Colour = Literal["red", "orange", "yellow", "blue", "light-blue", "gray"]
#: Of a table that asks for its first rows alone: the hidden column that says how many there are.
TOTAL = "total_rows"
#: The variable of sensors: several of them, or all. As Grafana writes it, it is a list of SQL literals; all is ``NULL``.
SENSOR = "sensor"


@dataclass(frozen=True)
class Link:
    """From a row of a table to another view.

    Parameters
    ----------
    title : str
        What it is called.
    view : str
        Name of the view.
    variables : mapping of str to str
        Variable of that view -> column of this panel whose value it takes.
    begin, end : str
        Columns with the range of time there, milliseconds since the epoch; empty: the range stays.
    """

    title: str
    view: str
    variables: Mapping[str, str] = field(default_factory=dict)
    begin: str = ""
    end: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (*self.variables.values(), *(name for name in (self.begin, self.end) if name))


@dataclass(frozen=True)
class Field:
    """A column of an answer.

    Parameters
    ----------
    name : str
        As the question names it.
    type : str
        What it holds.
    unit : str
        By Grafana's id of it; empty: none.
    title : str
        What people read above it; empty: the name.
    hidden : bool
        Whether it is only there for a link.
    link : Link, optional
        Where its values lead.
    colours : mapping of str to str
        Text: colours of some of its words, in the order in which series of these names are drawn.
    """

    name: str
    type: Type
    unit: str = ""
    title: str = ""
    hidden: bool = False
    link: Link | None = None
    colours: Mapping[str, Colour] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people read above it."""
        return self.title or self.name.replace("_", " ")


@dataclass(frozen=True)
class Panel:
    """A panel: a question, and how its answer is shown.

    Parameters
    ----------
    key : str
        Unique in its view.
    title : str
        Of the panel.
    kind, source : str
        How it is shown; where it is asked.
    query : str
        SQL with Grafana's macros (:func:`ops.views.macros.expand`), or PromQL.
    description : str
        What it says, for people; where it is rough, how.
    columns : tuple of Field
        Of the answer, in their order. None for PromQL.
    unit : str
        Of its numbers, by Grafana's id, where their column has none of its own.
    legend : str
        PromQL: name of a series, with ``{{label}}``.
    section : str
        Heading that it stands under; empty: none.
    interval : str
        Smallest distance of two points in time.
    last : str
        Before the end of the range so much is asked, whatever its beginning; empty: the range.
    stacked : bool
        Whether series lie on each other.
    warn, bad : float, optional
        From these numbers on it is yellow, red.
    falling : bool
        Whether small numbers are the bad ones: below ``warn``, below ``bad``.
    width, height : int
        On a grid of 24 columns.
    """

    key: str
    title: str
    kind: Kind
    source: Source
    query: str
    description: str
    columns: tuple[Field, ...] = ()
    unit: str = ""
    legend: str = ""
    section: str = ""
    interval: str = "1m"
    last: str = ""
    stacked: bool = False
    warn: float | None = None
    bad: float | None = None
    falling: bool = False
    width: int = 12
    height: int = 8

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.key):
            raise ValueError(f"panel {self.key!r}: its key must match {_NAME.pattern}")
        if (self.source == "metrics") == bool(self.columns):
            raise ValueError(f"panel {self.key}: SQL has columns, PromQL has none")
        names = [column.name for column in self.columns]
        unknown = [name for column in self.columns if column.link for name in column.link.columns if name not in names]
        if unknown or len(set(names)) < len(names):
            raise ValueError(f"panel {self.key}: its columns are {', '.join(names)}; a link reads {', '.join(unknown) or 'none else'}")
        if self.columns and self.kind in ("timeseries", "bars_over_time") and self.columns[0] != Field("time", "time"):
            raise ValueError(f"panel {self.key}: the first column of a {self.kind} is the time")
        if not 1 <= self.width <= 24:
            raise ValueError(f"panel {self.key}: width {self.width} is not of 1..24")


@dataclass(frozen=True)
class Variable:
    """What a person may choose for a whole view, beside sensors and time: text that he types.

    Parameters
    ----------
    name, title : str
        In questions, as ``${name:sqlstring}``; on the page.
    description : str
        What may be typed.
    """

    name: str
    title: str
    description: str = ""


@dataclass(frozen=True)
class View:
    """A page of panels.

    Parameters
    ----------
    name : str
        Of its address.
    title, description : str
        For people.
    panels : tuple of Panel
        In the order of reading.
    span : str
        The range of time that it opens with, up to now: ``1h``.
    refresh : str
        How often it is asked anew; empty: when a person wants.
    variables : tuple of Variable
        What is typed.
    sensors : bool
        Whether sensors can be chosen.
    """

    name: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    span: str = "1h"
    refresh: str = "30s"
    variables: tuple[Variable, ...] = ()
    sensors: bool = True

    def __post_init__(self) -> None:
        if not _UID.fullmatch(self.name):
            raise ValueError(f"view {self.name!r}: its name must match {_UID.pattern}")
        keys = [panel.key for panel in self.panels]
        keys += [f"{panel.section}: {panel.title}" for panel in self.panels]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"view {self.name}: panel {twice[0]!r} is there twice")

    def panel(self, key: str) -> Panel:
        """The panel of that key.

        Raises
        ------
        KeyError
            There is none.
        """
        return {panel.key: panel for panel in self.panels}[key]
