"""The end of the demo: ``report.json``, a page with plots, and the summary for a person."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from infra import files
from infra.config import Settings
from infra.names import printable
from ops.demo import svg
from ops.demo.report import psql, short
from ops.harness.exported import account
from ops.harness.exported.trial import ExportOutcome
from ops.harness.place import Place
from schemas.exportedflows import TABLE

if TYPE_CHECKING:
    from rich.console import Console

_BINS = 60
_SERVICES = 12


def values(outcome: ExportOutcome) -> dict[str, Any]:
    """The report."""
    return {
        "closes": outcome.closes,
        "checks": [vars(check) for check in outcome.checks],
        "capture": printable(Path(outcome.capture).name),
        "exporters": [
            {"name": r.name, "address": r.address, "protocol": r.protocol, "sampling": r.sampling, **vars(account.exported(r))}
            for r in outcome.routers
        ],
        "collector": outcome.collected,
        "sums": outcome.sums,
        "seconds": outcome.seconds,
    }


def write(outcome: ExportOutcome, where: Place, page: bool) -> dict[str, Any]:
    """Write report and, if asked to, page; the report."""
    report = values(outcome)
    files.replace(where.report, json.dumps(report, indent=2) + "\n")
    if page:
        files.replace(where.page, _page(outcome, report))
    return report


def _page(outcome: ExportOutcome, report: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("ops.demo.exported", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["thousands"] = "{:,}".format
    series, step = over_time(outcome)
    return templates.get_template("report.html").render(
        report=report,
        written=datetime.now(UTC),
        classes=[(f"r{n}", router.name) for n, router in enumerate(outcome.routers)],
        plot=svg.stacked(series, step, "records per second") if series else None,
        services=services(outcome.rows),
    )


def over_time(outcome: ExportOutcome) -> tuple[dict[str, list[float]], float]:
    """Records a second by when their flow began, of each exporter; and the width of a column in seconds."""
    starts = [account.of(outcome.rows, r)["start_time"].cast(pa.int64()).to_numpy() / 1e6 for r in outcome.routers]
    every = np.concatenate(starts) if starts else np.zeros(0)
    if not len(every):
        return {}, 1.0
    low, high = float(every.min()), float(every.max())
    step = max((high - low) / _BINS, 0.001)
    edges = low + step * np.arange(_BINS + 1)
    return {f"r{n}": (np.histogram(some, edges)[0] / step).tolist() for n, some in enumerate(starts)}, step


def services(rows: pa.Table) -> list[dict[str, Any]]:
    """Bytes by service, what several exporters saw counted once; the largest first."""
    first = rows.filter(rows["duplicate_of"].is_null())
    sums = first.group_by("service").aggregate([("scaled_bytes", "sum"), ("flow_id", "count")])
    ordered = sums.sort_by([("scaled_bytes_sum", "descending")]).slice(0, _SERVICES).to_pylist()
    most = max((row["scaled_bytes_sum"] for row in ordered), default=1) or 1
    return [
        {
            "name": row["service"] or "not known",
            "octets": row["scaled_bytes_sum"],
            "records": row["flow_id_count"],
            "share": round(100 * row["scaled_bytes_sum"] / most, 1),
        }
        for row in ordered
    ]


def queries(settings: Settings, where: Place) -> list[tuple[str, str]]:
    """For each store one line that asks it."""
    bin, conf = short(Path(sys.executable).parent), short(where.conf)
    sql = "SELECT service, sum(scaled_bytes) AS bytes FROM exported_flows WHERE duplicate_of IS NULL GROUP BY ALL ORDER BY bytes DESC"
    return [
        ("lake", f'{bin}/flowlake sql --conf-file {conf} "{sql}"'),
        ("hot store", f'{psql(settings)} -c "SELECT exporter_ip, count(*) FROM {TABLE} GROUP BY 1"'),
    ]


def summary(console: Console, outcome: ExportOutcome, settings: Settings, where: Place, stopped: list[str], page: bool) -> None:
    """Tell a person what came out."""
    from rich.table import Table
    from rich.text import Text

    console.print()
    table = Table(title="accounts", title_justify="left", box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for check in outcome.checks:
        table.add_row(Text("closes" if check.closes else "OPEN", "green" if check.closes else "bold red"), check.name, check.text)
    console.print(table)
    sums = outcome.sums
    console.print(
        f"\nof {sums['records']:,} records {sums['duplicates']:,} are of flows that another exporter reported first: "
        f"{sums['scaled_bytes']:,} bytes in all, and {sums['scaled_bytes_of_all']:,} with what was counted twice"
    )
    most = ", ".join(f"{one['name']} {svg.number(one['octets'])}B" for one in services(outcome.rows)[:6])
    console.print(f"services by bytes: {most}\n")
    console.print("ask the stores")
    if stopped:
        console.print(f"           ({' and '.join(stopped)} stopped, the data stays: first flowlake up; --keep leaves them up)")
    for name, line in queries(settings, where):
        console.print(Text.assemble(f"{name:<11}", (line, "cyan")), soft_wrap=True)
    console.print(f"report: {short(where.report)}" + (f", {short(where.page)}" if page else ""))
