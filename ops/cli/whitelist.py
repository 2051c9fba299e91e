"""``flowlake whitelist``: hosts and kinds of alerts that are known, and silenced."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from infra import config
from infra.console.options import ConfFile, Json, group, me
from infra.errors import ConfigError, one_line
from infra.plurals import counted
from ops.cli import suppression

app = group("Whitelist: hosts and kinds of alerts that are known, and silenced.", "flowlake whitelist add 192.0.2.7 --why 'our scanner'")


@app.callback()
def _group() -> None:
    """Whitelist: hosts and kinds of alerts that are known, and silenced: kept, marked and counted, but told to nobody."""


@app.command(
    "add",
    epilog="Examples:  flowlake whitelist add 192.0.2.7 --direction source --kind scan --why 'our vulnerability scanner'   |   "
    "flowlake whitelist add 2001:db8:7::/48 --port 443 --for 7d --why 'load test'   |   "
    "flowlake whitelist add --kind SYN_SCAN --sensor lab --why 'scans are made there' --also-open",
)
def add(
    why: suppression.Why,
    address: suppression.Address = None,
    kind: suppression.AlertKind = None,
    port: suppression.Port = None,
    direction: suppression.Side = "either",
    sensor: suppression.Sensor = None,
    domain: suppression.Domain = None,
    lasts: suppression.For = None,
    until: suppression.Until = None,
    also_open: suppression.AlsoOpen = False,
    everything: suppression.Everything = False,
    by: suppression.By = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Silence what is known: alerts that fit all that is given, from now on."""
    settings = config.load(conf_file)
    conditions = suppression.conditions_of(settings, address, kind, port, direction, sensor, domain)
    now = datetime.now(UTC)
    suppression.add(
        settings,
        "whitelist",
        why,
        by,
        {**conditions, "ends_at": suppression.end_of(lasts, until, now, now)},
        also_open,
        everything,
        as_json,
    )


@app.command("list", epilog="Example:  flowlake whitelist list --all --json")
def list_(
    ended: Annotated[bool, typer.Option("--all", help="Also those that hold no longer.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Entries, the newest first: what they silence, how many alerts they have, who made them and why."""
    suppression.show_list("whitelist", ended, as_json, conf_file)


@app.command("remove", epilog="Examples:  flowlake whitelist remove 12 --why 'host is gone'   |   flowlake whitelist remove 12 --tell")
def remove(
    number: suppression.Number,
    why: suppression.MaybeWhy = "",
    by: suppression.By = "",
    tell: suppression.Tell = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """End an entry; it stays in `list --all`. What it has silenced stays so, unless --tell."""
    suppression.end_entry("whitelist", number, why, by, tell, as_json, conf_file)


@app.command("apply", epilog="Example:  flowlake whitelist apply 12 --by anna")
def apply(number: suppression.Number, by: suppression.By = "", conf_file: ConfFile = None) -> None:
    """Silence open alerts too that have been told and that an entry fits."""
    suppression.apply("whitelist", number, by, conf_file)


@app.command("test", epilog="Example:  flowlake whitelist test 192.0.2.7 --as source --kind SYN_SCAN")
def try_(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Address of a host.")],
    side: Annotated[str, typer.Option("--as", help="What it is of an alert: source, target or either.")] = "either",
    kind: suppression.AlertKind = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Destination port of the alert.", show_default=False)] = None,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Which entries and windows silence an alert about a host at this moment, or may: with what else they ask for."""
    from jobs.incidents import people
    from jobs.suppression import entries

    settings = config.load(conf_file)
    conditions = suppression.conditions_of(settings, address, kind, None, side, None, None, option="--as")
    host = conditions["network"]
    if host.prefixlen < host.max_prefixlen:
        raise ConfigError(f"address {one_line(address, 60)!r} is a network", f"name one host of it, such as {host.network_address}")
    labels = people.labels_of(settings)
    attack = conditions["attack_type"]
    of_attack = labels[attack].kind if attack in labels else "per-flow" if attack else None
    one = str(host.network_address)
    about = {
        "source": one if side != "target" else None, "target": one if side != "source" else None,
        "kind": conditions["kind"] or of_attack, "attack_type": attack, "port": port,
    }  # fmt: skip
    with people.acting(settings.alerts, me()) as cursor:
        found = entries.silencing(cursor, about)
    if about["kind"] and not attack:
        found = [row for row in found if not row["attack_type"] or labels.get(row["attack_type"]) is None
                 or labels[row["attack_type"]].kind == about["kind"]]  # fmt: skip
    told = [{**row, "if": suppression.asks(row, about, side)} for row in found]
    surely = sum(not row["if"] for row in told)
    parts = [f"{counted(n, 'entry', 'entries')} {verb}" for n, verb in (
        (surely, "silences" if surely == 1 else "silence"), (len(told) - surely, "may silence")) if n]  # fmt: skip
    title = f"{', '.join(parts)} {one}" if parts else f"nothing silences {one}"
    if not as_json:
        told = [{**row, "silences": f"if {' and '.join(row['if'])}" if row["if"] else "yes"} for row in told]
    suppression.show(told, as_json, title, ["silences"])
