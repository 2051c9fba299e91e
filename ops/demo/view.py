"""What a demo shows while it runs: a live page on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ops.harness.outcome import Now
from ops.harness.run import Trial

if TYPE_CHECKING:
    from rich.console import Console, Group

#: Seconds between two progress lines, and between two renewals of the page.
LINE_S, PAGE_S = 5.0, 0.5
_NEWEST = 8


def lines(say: Callable[[str], None]) -> Callable[[Trial], Any]:
    """Progress as lines: one every some seconds, and one for each new alert."""

    @contextmanager
    def watch(trial: Trial) -> Iterator[Callable[[], None]]:
        last = 0.0
        known: set[str] = set()

        def refresh() -> None:
            nonlocal last
            now = trial.now
            for alert in now.alerts:
                if alert.id not in known:
                    known.add(alert.id)
                    if len(known) <= 50:
                        say(f"alert  {alert.attack_type}  {alert.source or '?'} -> {alert.target or '?'}  severity {alert.severity}")
            if time.monotonic() - last >= LINE_S:
                last = time.monotonic()
                say(progress_line(now))

        yield refresh
        trial.now.seconds = trial.elapsed()
        say(progress_line(trial.now))

    return watch


def progress_line(now: Now) -> str:
    """All numbers in one line."""
    t, rows, lag = now.totals, now.rows, now.lag
    behind = " ".join(f"{name} {n}" for name, n in lag.items() if n)
    share = f" ({now.share:.0%})" if now.share is not None else ""
    return (
        f"{now.seconds:5.0f} s  packets {now.sent:,} sent{share}, {t.get('metered', 0):,} metered, {t.get('rejected', 0):,} rejected | "
        f"flows {t.get('open', 0):,} open, {t.get('flows', 0):,} closed | alerts {rows.get('alerts', 0):,} | "
        f"lake {rows.get('lake', 0):,}, hot {rows.get('hot', 0):,} | lag {behind or 'none'}"
    )


def page(console: Console) -> Callable[[Trial], Any]:
    """The live page."""

    @contextmanager
    def watch(trial: Trial) -> Iterator[Callable[[], None]]:
        from rich.live import Live

        last = 0.0
        with Live(render(trial.now), console=console, auto_refresh=False) as live:

            def refresh() -> None:
                nonlocal last
                if time.monotonic() - last >= PAGE_S:
                    last = time.monotonic()
                    live.update(render(trial.now), refresh=True)

            yield refresh
            live.update(render(trial.now), refresh=True)

    return watch


def render(now: Now) -> Group:
    """The page as of now."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    title = Text(f"flowlake demo  {now.seconds:,.0f} s  {now.phase}", style="bold")
    if now.share is not None:
        title.append(f"  {now.share:.0%} of the file", style="dim")
    return Group(title, Columns([_numbers(now), _stages(now)], padding=(0, 3)), _alerts(now))


def _numbers(now: Now) -> Any:
    t = now.totals
    table = _plain()
    table.add_column(justify="left", style="dim")
    table.add_column(justify="right", min_width=12)
    for name, value in (
        ("packets sent", now.sent),
        ("packets metered", t.get("metered", 0)),
        ("packets rejected", t.get("rejected", 0)),
        ("flows open", t.get("open", 0)),
        ("flows closed", t.get("flows", 0)),
        ("rows in the lake", now.rows.get("lake", 0)),
        ("rows in the hot store", now.rows.get("hot", 0)),
        ("alerts", now.rows.get("alerts", 0)),
    ):
        table.add_row(name, f"{value:,}")
    return table


def _stages(now: Now) -> Any:
    table = _plain()
    table.add_column(style="dim")
    table.add_column(justify="right", min_width=8)
    table.add_column(justify="right", min_width=8)
    table.add_row("latency, ms", "p50", "p99", style="dim")
    for name in ("capture -> broker", "first packet -> first score", "capture -> alert row"):
        d = now.delays.get(name, {})
        table.add_row(name, _ms(d.get("p50")), _ms(d.get("p99")))
    table.add_row("")
    lag = "  ".join(f"{name} {n:,}" for name, n in now.lag.items())
    table.add_row("lag, messages", lag)
    memory = now.memory
    table.add_row("memory, MiB", f"{sum(memory.values()):,}" if memory else "")
    return table


def _alerts(now: Now) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title="newest alerts", title_justify="left")
    for name in ("time", "kind", "source", "target", "severity", "flows", "P(attack)"):
        table.add_column(name, justify="right" if name in ("severity", "flows", "P(attack)") else "left")
    for a in sorted(now.alerts, key=lambda a: -a.created_at)[:_NEWEST]:
        style = "bold red" if a.severity >= 5 else "red" if a.severity == 4 else "yellow" if a.severity == 3 else ""
        at = time.strftime("%H:%M:%S", time.localtime(a.created_at))
        table.add_row(at, Text(a.attack_type, style), a.source, a.target, str(a.severity), f"{a.flow_count:,}", f"{a.confidence:.2f}")
    return table


def _plain() -> Any:
    from rich.table import Table

    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
