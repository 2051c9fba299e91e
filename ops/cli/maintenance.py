"""``flowlake maintenance``: spans of time in which alerts are silenced."""

from __future__ import annotations

from typing import Annotated

import typer

from infra import config
from infra.console.options import ConfFile, Json, group
from ops.cli import suppression

app = group(
    "Maintenance windows: spans of time in which alerts are silenced.",
    "flowlake maintenance add 192.0.2.0/24 --from now --for 2h --why 'new switches'",
)


@app.callback()
def _group() -> None:
    """Maintenance windows: spans of event time in which alerts are silenced: kept, marked and counted, but told to nobody."""


@app.command(
    "add",
    epilog="Examples:  flowlake maintenance add 192.0.2.0/24 --from now --for 2h --why 'new switches'   |   "
    "flowlake maintenance add 192.0.2.9 --from 2026-03-01T22:00 --until 2026-03-02T02:00 --every week "
    "--timezone Europe/Zurich --why 'backup on Sundays'",
)
def add(
    why: suppression.Why,
    start: Annotated[str, typer.Option("--from", help="From: now, +2h, or 2026-03-01T12:00 (UTC unless it says so).")],
    address: suppression.Address = None,
    lasts: suppression.For = None,
    until: suppression.Until = None,
    every: Annotated[str | None, typer.Option("--every", help="It comes again: day or week (also: 1d, 1w).", show_default=False)] = None,
    last: Annotated[str | None, typer.Option("--repeat-until", help="No occurrence begins from then on.", show_default=False)] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="By whose clock it comes again; that of times without a zone.")] = "UTC",
    kind: suppression.AlertKind = None,
    port: suppression.Port = None,
    direction: suppression.Side = "either",
    sensor: suppression.Sensor = None,
    domain: suppression.Domain = None,
    also_open: suppression.AlsoOpen = False,
    everything: suppression.Everything = False,
    by: suppression.By = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Silence what happens within a span of event time: alerts whose evidence lies in it wholly."""
    settings = config.load(conf_file)
    conditions = suppression.conditions_of(settings, address, kind, port, direction, sensor, domain)
    span = suppression.window(start, lasts, until, every, last, timezone)
    suppression.add(settings, "maintenance", why, by, {**conditions, **span}, also_open, everything, as_json)


@app.command("list", epilog="Example:  flowlake maintenance list --all")
def list_(
    ended: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Windows, the newest first."""
    suppression.show_list("maintenance", ended, as_json, conf_file)


@app.command("end", epilog="Examples:  flowlake maintenance end 12   |   flowlake maintenance end 12 --tell --why 'wrong host'")
def end(
    number: suppression.Number,
    why: suppression.MaybeWhy = "",
    by: suppression.By = "",
    tell: suppression.Tell = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """End a window now; what happened in it before stays silenced, unless --tell."""
    suppression.end_entry("maintenance", number, why, by, tell, as_json, conf_file)


@app.command("apply", epilog="Example:  flowlake maintenance apply 12 --by anna")
def apply(number: suppression.Number, by: suppression.By = "", conf_file: ConfFile = None) -> None:
    """Silence open alerts too that have been told and lie in a window."""
    suppression.apply("maintenance", number, by, conf_file)
