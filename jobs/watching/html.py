"""What the pages of the watching share: one file that asks no other host, tables, and curves as SVG within the page."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

_STYLE = """
:root{color-scheme:light dark;--line:#d5dde5;--soft:#f1f4f8;--text:#1c2733;--back:#fff;--bad:#c62828;--good:#18794e;--odd:#a15c00}
@media(prefers-color-scheme:dark){:root{--line:#2c3742;--soft:#1a222b;--text:#dbe3ea;--back:#11161c;--bad:#ff8a80;--good:#6fd3a1;--odd:#ffb95e}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--text);background:var(--back);margin:0 auto;max-width:1500px;padding:1rem 1.5rem}
h1{font-size:1.5rem;margin:.3em 0}h2{font-size:1.15rem;margin:1.6em 0 .3em}h3{font-size:1rem;margin:1.2em 0 .3em}p{margin:.3em 0}
table{border-collapse:collapse;margin:.4em 0}th,td{border:1px solid var(--line);padding:.25em .6em;text-align:left;vertical-align:top}
th{background:var(--soft)}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{overflow-wrap:anywhere}
.bad{color:var(--bad);font-weight:600}.good{color:var(--good)}.odd{color:var(--odd)}.wide{overflow-x:auto}
.heat{border-collapse:separate;border-spacing:1px}.heat th,.heat td{border:0;padding:0;font-size:11px;background:none}
.heat th.name{padding-right:.6em;white-space:nowrap;font-weight:400;font-size:12px;position:sticky;left:0;background:var(--back)}
.heat td{width:6px;min-width:6px;height:14px}.heat td.alarm{outline:1.5px solid var(--bad);outline-offset:-1px}
.key span{display:inline-block;width:14px;height:12px;margin:0 .3em 0 1em;vertical-align:-1px}
figure{margin:.6em 0}figure svg{max-width:100%;height:auto;background:#fff;border-radius:4px}figcaption{font-size:.9em;opacity:.8}
"""


def text(value: object) -> str:
    """A value for a page: whoever sends packets may have chosen it."""
    return html.escape(str(value))


def page(title: str, *parts: str) -> str:
    """A whole page."""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="UTF-8"><meta name="viewport" content="width=device-width">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body><h1>{text(title)}</h1>{''.join(parts)}</body></html>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = ()) -> str:
    """A table; cells of the columns ``numbers`` stand on the right. A cell that is :class:`Markup` is taken as it is."""
    classes = [" class=n" if name in numbers else "" for name in head]
    top = "".join(f"<th{kind}>{text(name)}</th>" for name, kind in zip(head, classes, strict=True))
    lines = []
    for row in rows:
        cells = "".join(
            f"<td{kind}>{cell if isinstance(cell, Markup) else text(cell)}</td>" for cell, kind in zip(row, classes, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


class Markup(str):
    """Text that is HTML already."""


def curves(
    caption: str, lines: Mapping[str, tuple[Sequence[datetime], Sequence[float]]], unit: str, *, marks: Sequence[datetime] = ()
) -> str:
    """Curves over time as SVG within the page; ``marks`` are moments that are marked red."""
    from matplotlib import rc_context
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
    from matplotlib.figure import Figure  # without pyplot: no display is looked for, no state is kept

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": caption, "font.size": 9}):
        figure = Figure(figsize=(12, 2.4), layout="constrained")
        axes = figure.subplots()
        for name, (times, values) in lines.items():
            axes.plot([float(date2num(time)) for time in times], list(values), label=name, linewidth=1.3)
        for moment in marks:
            axes.axvline(float(date2num(moment)), color="#c62828", alpha=0.35, linewidth=3)
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        axes.xaxis_date()
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        if len(lines) > 1:
            axes.legend(loc="upper left", fontsize=8)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    drawn = out.getvalue()
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    return f"<figure>{drawn}<figcaption>{text(caption)}</figcaption></figure>"
