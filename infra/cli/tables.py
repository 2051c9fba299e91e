"""Tables that commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from infra.stack.local import PartState
    from infra.stack.queries import Standing
    from infra.stack.topics import Report


def topics_table(report: Report) -> Table:
    """Topics with partitions (declared ones when they differ), replication, messages, differences."""
    table = Table(title="Topics", title_justify="left")
    for name, justify in (("topic", "left"), ("partitions", "right"), ("replicas", "right"), ("messages", "right"), ("state", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for topic in report.topics:
        state = "[green]created[/]" if topic.created else "[green]as declared[/]"
        if topic.differences:
            state = f"[{'red' if topic.missing else 'yellow'}]{'; '.join(topic.differences)}[/]"
        table.add_row(topic.name, str(topic.partitions), str(topic.replication), f"{topic.messages:,}", state)
    return table


def parts_table(parts: list[PartState]) -> Table:
    """Processes of the local stack."""
    table = Table(title="Local stack", title_justify="left")
    for name, justify in (
        ("part", "left"),
        ("state", "left"),
        ("address", "left"),
        ("pid", "right"),
        ("memory MiB", "right"),
        ("up", "right"),
    ):
        # an address is copied: it goes on in the next line rather than end in dots
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    colours = {"ready": "green", "starting": "yellow", "running": "green"}
    for part in parts:
        up = "" if part.seconds is None else _span(part.seconds)
        colour = colours.get(part.state, "red" if part.detail else "dim")
        state = f"[{colour}]{part.state}[/]" + (f" {part.detail}" if part.detail else "")
        table.add_row(part.name, state, part.address, str(part.pid or ""), "" if part.memory_mb is None else str(part.memory_mb), up)
    return table


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


def _span(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {s:02d} s" if minutes else f"{s} s"
