"""The report as one HTML file: no script, no font, no picture from elsewhere; readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from infra import files
from infra.names import printable
from ops.demo import series, svg
from ops.harness import latency
from ops.harness.outcome import Outcome
from schemas.labels import BENIGN

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--paper:#fff;--panel:#f6f7f9;--line:#dfe3e8;--good:#1a7f4b;--bad:#c0362c;
--benign:#a9b4c2;--scan:#0072b2;--flood:#d55e00;--brute-force:#009e73;--per-flow:#b4558f;--plain:#4c78a8}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#98a3b3;--paper:#12161c;--panel:#1a2028;--line:#2c3440;--good:#4cc38a;--bad:#ff7b72;
--benign:#5d6b7d;--scan:#56b4e9;--flood:#f0883e;--brute-force:#3fc79a;--per-flow:#dd8fbf;--plain:#7aa6d6}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:920px;padding:28px 20px 60px;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
h1{font-size:24px;margin:0}h2{font-size:17px;margin:34px 0 8px}p{margin:6px 0;color:var(--soft)}
.verdict{display:inline-block;font-weight:600;margin:10px 0 4px;color:var(--good)}.verdict.bad{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin:16px 0}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.tile b{display:block;font-size:20px;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:13px}
svg{width:100%;height:auto;display:block}
.grid{stroke:var(--line)}.tick{fill:var(--soft);font-size:11px}.name{fill:var(--ink);font-size:12px;paint-order:stroke;stroke:var(--paper);stroke-width:3px}
.mark{stroke:var(--ink);stroke-dasharray:4 3}
.c-benign{fill:var(--benign)}.c-scan{fill:var(--scan)}.c-flood{fill:var(--flood)}.c-brute-force{fill:var(--brute-force)}
.c-per-flow{fill:var(--per-flow)}.c-plain{fill:var(--plain)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:4px 0 0;color:var(--soft);font-size:13px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:6px}
.scroll{overflow-x:auto;margin-top:12px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th{text-align:left;color:var(--soft);font-weight:500}th,td{padding:4px 10px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}
.num{text-align:right}.bar{display:inline-block;height:9px;border-radius:2px;background:var(--plain);vertical-align:middle}
.ok{color:var(--good)}.open{color:var(--bad);font-weight:600}
.matrix td,.matrix th{padding:3px 6px;font-size:12px}.matrix thead th{writing-mode:vertical-rl;transform:rotate(180deg);white-space:nowrap}
.matrix td{text-align:right;border:1px solid var(--line)}
"""


def write(outcome: Outcome, file: Path) -> None:
    """Write the page."""
    files.replace(file, page(outcome))


def page(outcome: Outcome) -> str:
    """The whole page."""
    values = outcome.as_dict()
    sections = [_head(outcome), _tiles(values), _accounts(outcome, values), _traffic(outcome), _alerts(outcome)]
    sections += [_latency(outcome), _quality(outcome), _run(values)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>flowlake demo</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _head(outcome: Outcome) -> str:
    source = outcome.source
    name = printable(Path(source.name).name) if source.kind == "replay" else source.name
    what = {"generate": "generated traffic, preset", "replay": "capture file", "live": "live traffic of interface"}[source.kind]
    verdict = '<span class="verdict">every packet and every flow is accounted for</span>'
    if not outcome.closes:
        faults = escape("; ".join(c.text for c in outcome.checks if not c.closes))
        verdict = f'<span class="verdict bad">the accounts do not close: {faults}</span>'
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"<h1>flowlake demo</h1>{verdict}<p>{what} {escape(name)}, {at}</p>"


def _tiles(v: dict[str, Any]) -> str:
    quality, delay = v["quality"], v["latency_ms"]
    tiles = [
        ("packets sent", f"{v['packets_sent']:,}"),
        ("flows closed", f"{v['flows_closed']:,}"),
        ("alerts", f"{v['alert_rows']:,}"),
        ("recall", _ratio(quality["recall"])),
        ("precision", _ratio(quality["precision"])),
        ("false positives", _ratio(quality["false_positive_rate"])),
        ("capture to alert, p50", _ms(delay["p50"])),
        ("capture to alert, p99", _ms(delay["p99"])),
        ("memory, at most", f"{v['memory_peak_mb']:,} MiB"),
    ]
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{b}</b><span>{s}</span></div>' for s, b in tiles) + "</div>"


def _accounts(outcome: Outcome, v: dict[str, Any]) -> str:
    rows = [
        f'<tr><td class="{"ok" if c.closes else "open"}">{"closes" if c.closes else "open"}</td><td>{escape(c.name)}</td>'
        f"<td>{escape(c.text)}</td></tr>"
        for c in outcome.checks
    ]
    more = _pairs([("rejected, by reason", v["rejected_by_reason"]), ("flows, by how they ended", v["flows_by_end"])])
    return f'<h2>Accounts</h2><div class="scroll"><table>{"".join(rows)}</table></div>{more}'


def _pairs(groups: Sequence[tuple[str, dict[str, int]]]) -> str:
    return "".join(f"<p>{name}: {', '.join(f'{escape(k)} {n:,}' for k, n in values.items())}</p>" for name, values in groups if values)


def _traffic(outcome: Outcome) -> str:
    found = series.over_time(outcome.closed)
    if found is None:
        return "<h2>Traffic</h2><p>no flow was closed</p>"
    packets = {name: values.tolist() for name, values in found.packets.items()}
    flows = {name: values.tolist() for name, values in found.flows.items()}
    left = f"<p>{found.left_out:,} flows lie far from the others in time and are not drawn</p>" if found.left_out else ""
    return (
        "<h2>Packets per second, as the model labels their flows</h2>"
        f"{svg.stacked(packets, found.step, 'packets per second')}{_legend(packets)}"
        f"<h2>New flows per second</h2>{svg.stacked(flows, found.step, 'new flows per second')}{_legend(flows)}{left}"
    )


def _legend(names: Sequence[str] | dict[str, Any]) -> str:
    words = {"per-flow": "other attacks"}
    items = "".join(f'<span><i style="background:var(--{name})"></i>{words.get(name, name)}</span>' for name in names)
    return f'<div class="legend">{items}</div>'


def _alerts(outcome: Outcome) -> str:
    if not outcome.alerts:
        return "<h2>Alerts</h2><p>none</p>"
    first = min(a.created_at for a in outcome.alerts)
    kinds = sorted({a.attack_type for a in outcome.alerts}, key=lambda k: min(a.created_at for a in outcome.alerts if a.attack_type == k))
    rows = []
    for kind in kinds:
        mine = [a for a in outcome.alerts if a.attack_type == kind][:500]
        hints = [
            (a.created_at - first, f"{a.source or '?'} to {a.target or '?'}, severity {a.severity}, {a.flow_count:,} flows") for a in mine
        ]
        rows.append((kind, series.class_of(kind), hints))
    span = max(max(a.created_at for a in outcome.alerts) - first, 1.0)
    table = "".join(
        f"<tr><td>{escape(kind)}</td><td class=num>{len(mine):,}</td><td class=num>{sum(a.flow_count for a in mine):,}</td>"
        f"<td class=num>{max(a.severity for a in mine)}</td><td>{escape(_example(mine))}</td></tr>"
        for kind in kinds
        for mine in [[a for a in outcome.alerts if a.attack_type == kind]]
    )
    classes = list(dict.fromkeys(series.class_of(k) for k in kinds))
    return (
        f"<h2>Alerts, when their rows were written</h2>{svg.dots(rows, span, 'alerts over time')}{_legend(classes)}"
        '<div class="scroll"><table><thead><tr><th>kind</th><th class=num>alerts</th><th class=num>flows</th><th class=num>severity</th>'
        f"<th>for example</th></tr></thead>{table}</table></div>"
    )


def _hint(a: Any) -> str:
    return f"{a.source or 'many'} to {a.target or 'many'}, severity {a.severity}, {a.flow_count:,} flows"


def _example(alerts: Sequence[Any]) -> str:
    worst = max(alerts, key=lambda a: (a.severity, a.flow_count))
    return f"{worst.source or 'many'} to {worst.target or 'many'}"


def _latency(outcome: Outcome) -> str:
    title = "<h2>From capture to alert row</h2>"
    if not outcome.source.timed:
        return f"{title}<p>not measured: the capture's times are not the wall clock's</p>"
    edges, counts = latency.histogram(outcome.delay_values)
    if not counts:
        return f"{title}<p>no alerts</p>"
    p = latency.percentiles(outcome.delay_values)
    marks = {name: float(value) for name, value in p.items() if value is not None}
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class=num>{_ms(d['p50'])}</td><td class=num>{_ms(d['p99'])}</td>"
        f"<td class=num>{_ms(d['max'])}</td><td class=num>{d['n']:,}</td></tr>"
        for name, d in outcome.delays.items()
    )
    return (
        f"{title}<p>from the capture time of the packet that sufficed to the row in the table; one value an alert</p>"
        f"{svg.histogram(edges, counts, marks, 'delay from capture to alert row')}"
        '<div class="scroll"><table><thead><tr><th>stage</th><th class=num>p50</th><th class=num>p99</th><th class=num>largest</th>'
        f"<th class=num>values</th></tr></thead>{rows}</table></div>"
    )


def _quality(outcome: Outcome) -> str:
    d = outcome.detection
    if not d.flows:
        return "<h2>Detection quality</h2><p>no ground truth to compare with</p>"
    rows = ""
    for k in d.kinds:
        share = k.flagged / k.flows
        right = "" if k.label == BENIGN else f"{k.right / k.flows:.1%}"
        rows += (
            f"<tr><td>{escape(k.label)}</td><td class=num>{k.flows:,}</td><td class=num>{share:.1%}</td>"
            f'<td><span class="bar" style="width:{max(1, round(120 * share))}px"></span></td><td class=num>{right}</td></tr>'
        )
    return (
        f"<h2>Detection quality, closed flows</h2><p>a demonstration model (version {escape(outcome.model_version)}), trained on generated "
        "traffic of other seeds: what it says of real traffic is another question</p>"
        '<div class="scroll"><table><thead><tr><th>true label</th><th class=num>flows</th><th class=num>labelled attack</th><th></th>'
        f"<th class=num>right kind</th></tr></thead>{rows}</table></div>{_matrix(d.confusion)}"
    )


def _matrix(confusion: dict[str, dict[str, int]]) -> str:
    columns = sorted({name for row in confusion.values() for name in row}, key=lambda n: (n != BENIGN, n))
    head = "".join(f"<th>{escape(c)}</th>" for c in columns)
    body = ""
    for label, row in confusion.items():
        total = sum(row.values()) or 1
        cells = ""
        for column in columns:
            n = row.get(column, 0)
            hue = "--good" if column == label else "--bad"
            shade = f' style="background:color-mix(in srgb,var({hue}) {round(65 * n / total)}%,transparent)"' if n else ""
            cells += f"<td{shade}>{n or ''}</td>"
        body += f"<tr><th>{escape(label)}</th>{cells}</tr>"
    return (
        "<h2>Taken for what</h2><p>rows: true label, columns: the model's</p>"
        f'<div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>{body}</table></div>'
    )


def _run(v: dict[str, Any]) -> str:
    phases = "".join(
        f"<tr><td>{escape(k)}</td><td class=num>{s:,.1f} s</td></tr>" for k, s in sorted(v["phases_s"].items(), key=lambda p: p[1])
    )
    memory = "".join(f"<tr><td>{escape(k)}</td><td class=num>{n:,} MiB</td></tr>" for k, n in v["memory_parts_mb"].items() if n)
    return (
        f"<h2>The run</h2><p>reached after</p><div class=scroll><table>{phases}</table></div>"
        f"<p>memory at its highest</p><div class=scroll><table>{memory}</table></div>"
    )


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"
