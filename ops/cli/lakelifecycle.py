"""``flowlake lake lifecycle``: rules of the bucket for the archive's objects."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from infra import config
from infra.console.options import ConfFile, Json, group
from infra.errors import StoreError

app = group("Rules of the bucket for the archive: cold after a year, gone after seven.", "flowlake lake lifecycle show")


@app.callback()
def _group() -> None:
    """Rules of the bucket for the archive: cold after a year, gone after seven."""


@app.command(epilog="Example:  flowlake lake lifecycle show")
def show(as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Show every rule of the archive's bucket, and which are ours."""
    from jobs.runtime import bucketrules

    settings = config.load(conf_file)
    bucket, prefix = bucketrules.place(settings)
    rules = bucketrules.current(settings)
    if as_json:
        print(json.dumps({"Rules": rules}, indent=2, default=str))
        return
    print(f"bucket {bucket}, archive below {prefix}")
    if not rules:
        print("no rules: flowlake lake lifecycle apply")
    others = bucketrules.foreign(rules)
    for rule in rules:
        print(f"{'not ours' if rule in others else 'ours':<9}{_told(rule)}")


@app.command(epilog="Examples:  flowlake lake lifecycle apply --dry-run   |   flowlake lake lifecycle apply --glacier-days 90")
def apply(
    glacier_days: Annotated[
        int, typer.Option("--glacier-days", min=1, max=36_500, help="Age at which an object goes to storage class GLACIER.")
    ] = 365,
    expire_days: Annotated[int, typer.Option("--expire-days", min=2, max=36_500, help="Age at which it is removed.")] = 2555,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the bucket's rules as they would be, as JSON; change nothing.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """Write the rules for what lies below archive.path. Rules that are not ours stay as they are; no table of the lake is touched.

    Exit code: 0, or 5 when the server refused one of them. MinIO and SeaweedFS know no GLACIER: there only the expiry applies.
    """
    from jobs.runtime import bucketrules

    settings = config.load(conf_file)
    _, prefix = bucketrules.place(settings)
    ours = bucketrules.wanted(prefix, glacier_days, expire_days)
    if dry_run:
        print(json.dumps({"Rules": [*bucketrules.foreign(bucketrules.current(settings)), *ours]}, indent=2, default=str))
        return
    parts = bucketrules.apply(settings, ours)
    for part in parts:
        print(f"{'applied' if part.applied else 'refused':<9}{_told(part.rule)}" + (f": {part.why}" if part.why else ""))
    if not all(part.applied for part in parts):
        raise typer.Exit(StoreError.exit_code)


def _told(rule: dict[str, Any]) -> str:
    prefix = rule.get("Filter", {}).get("Prefix", rule.get("Prefix", ""))
    does = [f"{t.get('StorageClass', 'another class')} after {t.get('Days', '?')} days" for t in rule.get("Transitions", ())]
    if days := rule.get("Expiration", {}).get("Days"):
        does.append(f"removed after {days} days")
    state = "" if rule.get("Status") == "Enabled" else " (disabled)"
    return f"{rule.get('ID', 'without id')}{state}, below {prefix or 'the whole bucket'!r}: {', '.join(does) or 'something else'}"
