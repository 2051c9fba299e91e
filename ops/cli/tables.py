"""Tables that commands print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from infra.kafka.progress import Standing
    from infra.kafka.topics import Report
    from infra.stack.parts import PartState
    from jobs.scoring.outlook import ModelView


#: Width of what goes into a file or a pipe: nothing is folded there.
_UNLIMITED = 10_000


def console() -> Console:
    """Standard output: as wide as the terminal, and as wide as needed where it is none."""
    return Console(width=None if sys.stdout.isatty() else _UNLIMITED)


def topics_table(report: Report) -> Table:
    """Topics with partitions (declared ones when they differ), replication, messages, differences."""
    table = Table(title="Topics", title_justify="left")
    for name, justify in (("topic", "left"), ("partitions", "right"), ("replicas", "right"), ("messages", "right"), ("state", "left")):
        # what differs gives way; a topic's name is whole as long as it fits at all
        table.add_column(name, justify=justify, no_wrap=name == "topic", overflow="fold")  # type: ignore[arg-type]
    for topic in report.topics:
        state = "[green]created[/]" if topic.created else "[green]as declared[/]"
        if topic.differences:
            state = f"[{'red' if topic.missing else 'yellow'}]{'; '.join(topic.differences)}[/]"
        table.add_row(topic.name, str(topic.partitions), str(topic.replication), f"{topic.messages:,}", state)
    return table


def parts_view(parts: list[PartState], console: Console) -> Table | Text:
    """Processes of the local stack: a table; where the console is too narrow for one, lines in which each address is whole.

    An address is copied. Text is to be printed with ``soft_wrap``: a line that is still too long is then the terminal's to break.
    """
    table = _parts_table(parts)
    natural = console.measure(table, options=console.options.update(max_width=_UNLIMITED)).maximum
    return table if natural <= console.width else _parts_text(parts)


def _parts_table(parts: list[PartState]) -> Table:
    table = Table(title="Local stack", title_justify="left")
    for name, justify in (
        ("part", "left"),
        ("state", "left"),
        ("address", "left"),
        ("pid", "right"),
        ("memory MiB", "right"),
        ("up", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for part in parts:
        up = "" if part.seconds is None else _span(part.seconds)
        memory = "" if part.memory_mb is None else str(part.memory_mb)
        table.add_row(part.name, _state(part), Text(part.address), str(part.pid or ""), memory, up)
    return table


def _parts_text(parts: list[PartState]) -> Text:
    text = Text.assemble(("Local stack", "italic"))
    width = max((len(part.name) for part in parts), default=0)
    for part in parts:
        facts = [
            *([f"pid {part.pid}"] if part.pid else []),
            *([] if part.memory_mb is None else [f"{part.memory_mb} MiB"]),
            *([] if part.seconds is None else [f"up {_span(part.seconds)}"]),
        ]
        text.append(f"\n{part.name:<{width}}  ").append_text(_state(part))
        if facts:
            text.append(f"  {', '.join(facts)}")
        if part.address:
            text.append(f"\n  {part.address}")
    return text


def _state(part: PartState) -> Text:
    colours = {"ready": "green", "starting": "yellow", "running": "green", "external": "green", "refused": "red"}
    state = Text(part.state, style=colours.get(part.state, "red" if part.detail else "dim"))
    return Text.assemble(state, f" {part.detail}") if part.detail else state


def queries_table(standings: list[Standing]) -> Table:
    """Unread messages by query, and those that were gone before it read them."""
    table = Table(title="Queries", title_justify="left")
    table.add_column("query")
    table.add_column("messages behind", justify="right")
    table.add_column("gone unread", justify="right")
    for standing in standings:
        colour = "yellow" if standing.skipped else "dim"
        table.add_row(standing.query, f"{standing.behind:,}", f"[{colour}]{standing.skipped:,}[/]")
    return table


def models_table(views: Sequence[ModelView]) -> Table:
    """Versions that score, and that look on, by record type; when this came about."""
    table = Table(title="Models", title_justify="left")
    for name in ("records", "champion", "challenger", "since"):
        table.add_column(name)
    for view in views:
        since = datetime.fromtimestamp(view.since, UTC).isoformat(" ", "seconds")
        table.add_row(view.record, view.in_force.get("champion", ""), view.in_force.get("challenger", ""), since)
    return table


def _span(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {s:02d} s" if minutes else f"{s} s"
