"""The end of a demo: ``report.json``, and the summary for a person."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import files
from infra.config import Settings
from infra.names import printable
from infra.plurals import counted
from ops.harness.accounts import rejected_by_reason
from ops.harness.outcome import Outcome
from ops.harness.place import Place
from schemas import alerts
from schemas.network_flows import NETWORK_FLOWS

if TYPE_CHECKING:
    from rich.console import Console

#: Flows of a kind below this share found are worth a word.
POOR = 0.8


def write(outcome: Outcome, file: Path) -> dict[str, Any]:
    """Write the report as JSON and return it."""
    values = outcome.as_dict()
    files.replace(file, json.dumps(values, indent=2) + "\n")
    return values


def queries(settings: Settings, where: Place) -> list[tuple[str, str]]:
    """For each store its place, and one line that asks it: (store, command)."""
    conf, bin = short(where.conf), Path(sys.executable).parent
    # Through an Arrow dataset: DuckDB's own delta extension would have to be downloaded first.
    more, given, keys = "", "", ""
    if on_s3 := "://" in settings.lake.path:
        # Of a server on loopback that the demo has started; any other's would not be shown.
        secret = settings.lake.s3_access_key.get_secret_value(), settings.lake.s3_secret_key.get_secret_value()
        keys = "FLOWLAKE_LAKE__S3_ACCESS_KEY={} FLOWLAKE_LAKE__S3_SECRET_KEY={} ".format(*secret)
        more, given = "from infra import config; ", f", config.load('{conf}').lake"
    place = settings.lake.path if on_s3 else short(settings.path(settings.lake.path))
    dataset = f"lake.dataset('{place}'{given})"
    sql = "SELECT attack_type, count(*) FROM t GROUP BY 1"
    lake = f"{short(bin)}/python -c \"import duckdb; {more}from jobs.runtime import lake; t = {dataset}; print(duckdb.sql('{sql}'))\""
    return [
        ("lake", f"{keys}{lake}"),
        ("", f'{keys}{short(bin)}/flowlake sql --conf-file {conf} "SELECT attack_type, count(*) FROM flows GROUP BY ALL"'),
        ("", f"{keys}{short(bin)}/flowlake flows --conf-file {conf}"),
        ("hot store", f'{psql(settings)} -c "SELECT attack_type, count(*) FROM {NETWORK_FLOWS.name} GROUP BY 1"'),
        ("incidents", f"{short(bin)}/flowlake incidents list --conf-file {conf}"),
        ("alerts", f"{short(bin)}/flowlake alerts --conf-file {conf}"),
        ("", f'{psql(settings)} -c "SELECT * FROM {alerts.TABLE} ORDER BY severity DESC"'),
    ]


def psql(settings: Settings) -> str:
    """The command that asks the hot store."""
    store = settings.hot
    return f"{_psql()} -h {store.host} -p {store.port} -U {store.user} {store.database}"


def _psql() -> str:
    """The client on PATH, else the one that came with the server."""
    from infra.stack.postgres import binaries

    ours = binaries() / "psql"
    return "psql" if shutil.which("psql") or not ours.is_file() else short(ours)


def short(path: Path) -> str:
    """Relative to the folder the person is in, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def summary(console: Console, outcome: Outcome, settings: Settings, where: Place, stopped: list[str], page: bool) -> None:
    """Tell a person what came out."""
    from rich.table import Table
    from rich.text import Text

    console.print()
    table = Table(title="accounts", title_justify="left", box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for check in outcome.checks:
        table.add_row(Text("closes" if check.closes else "OPEN", "green" if check.closes else "bold red"), check.name, check.text)
    console.print(table)
    if reasons := rejected_by_reason(outcome.totals):
        console.print("rejected: " + ", ".join(f"{name} {n:,}" for name, n in reasons.items()))
    for name, text in (("dropped", "given up by the sensor"), ("kernel_dropped", "dropped by the kernel before the sensor saw them")):
        if outcome.sent.get(name):
            console.print(f"{counted(outcome.sent[name], 'packet')} {text}")
    if outcome.sent.get("truncated"):
        console.print(f"{printable(outcome.source.name)} is cut or damaged: used up to there", markup=False)
    if outcome.behind:
        console.print(Text(f"behind, and no progress any more: {outcome.behind}", "bold red"))
    console.print()
    _alerts(console, outcome)
    _incidents(console, outcome)
    _quality(console, outcome)
    _latency(console, outcome)
    parts = ", ".join(f"{k} {v:,}" for k, v in outcome.memory_parts_mb.items() if v)
    console.print(f"memory: at most {outcome.memory_peak_mb:,} MiB ({parts})")
    console.print(
        "seconds since the start: " + ", ".join(f"{name} {s:.0f}" for name, s in sorted(outcome.phases.items(), key=lambda p: p[1]))
    )
    console.print()
    console.print("ask the stores")
    if stopped:
        console.print(
            f"           ({' and '.join(stopped)} stopped, the data stays: first flowlake up; flowlake demo --keep leaves them up)"
        )
    for name, line in queries(settings, where):
        console.print(Text.assemble(f"{name:<11}", (line, "cyan")), soft_wrap=True)  # unbroken: to be copied
    console.print(f"report: {short(where.report)}" + (f", {short(where.page)}" if page else ""))


def _alerts(console: Console, outcome: Outcome) -> None:
    from rich.table import Table

    if not outcome.alerts:
        console.print("no alerts")
        return
    table = Table(title="alerts", title_justify="left", box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("kind", "alerts", "flows", "severity"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for kind in sorted({a.attack_type for a in outcome.alerts}):
        mine = [a for a in outcome.alerts if a.attack_type == kind]
        table.add_row(kind, f"{len(mine):,}", f"{sum(a.flow_count for a in mine):,}", str(max(a.severity for a in mine)))
    console.print(table)
    console.print(
        "(flows are counted under what they were taken for while open, too: the stores, with closed flows only, have other numbers)"
    )
    console.print()


def _incidents(console: Console, outcome: Outcome) -> None:
    from rich.table import Table

    if not outcome.incidents:
        return
    table = Table(title="incidents", title_justify="left", box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("priority", "alerts", "flows", "title"):
        table.add_column(name, justify="right" if name in ("alerts", "flows") else "left")
    for one in outcome.incidents:
        table.add_row(one.priority, f"{one.alerts:,}", f"{one.flows:,}", printable(one.title))
    console.print(table)
    found = outcome.grouping
    if found.purity is not None:
        console.print(
            f"{counted(len(outcome.alerts), 'alert')} of {counted(found.campaigns, 'campaign')} in {counted(found.incidents, 'incident')}: "
            f"purity {found.purity:.4f}, completeness {found.completeness:.4f} "
            f"({counted(found.false_alerts, 'alert')} about benign flows alone)"
        )
        if found.missed:
            console.print(f"  no alert at all of: {', '.join(found.missed)}")
    console.print()


def _quality(console: Console, outcome: Outcome) -> None:
    d = outcome.detection
    if not d.flows:
        console.print("quality: no ground truth to compare with")
        return
    ratios = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in d.ratios().items() if value is not None)
    console.print(f"quality of {d.flows:,} closed flows: {ratios} (demonstration model, version {outcome.model_version})")
    weak = [f"{k.label} {k.flagged} of {k.flows}" for k in d.kinds if k.label != "BENIGN" and k.flagged < POOR * k.flows]
    if weak:
        console.print(f"  found too rarely: {', '.join(weak)}")


def _latency(console: Console, outcome: Outcome) -> None:
    if not outcome.source.timed:
        console.print("latency: not measured, the capture's times are not the wall clock's")
        return
    stages = [f"{name} {d['p50']:,.0f} / {d['p99']:,.0f} ms" for name, d in outcome.delays.items() if d.get("p50") is not None]
    console.print(f"latency p50 / p99: {'; '.join(stages)}")
