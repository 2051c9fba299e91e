"""``flowlake models``: the versions of a model, compared, promoted through gates, taken back, retired; a file scored by one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra import config
from infra.console.options import ConfFile, Json, group
from infra.errors import ConfigError
from jobs.models import commands
from jobs.models.commands import RecordName
from jobs.watching.commands import backtest

if TYPE_CHECKING:
    from infra.config import Settings
    from jobs.models.promotion import Examined, Promoted
    from schemas.records import RecordType

app = group("Models: their versions, compared, promoted, taken back, retired, trained anew.", "flowlake models list")
app.command("retrain", epilog=commands.RETRAIN_EXAMPLE)(commands.retrain)
app.command("backtest", epilog=backtest.epilog)(backtest)  # type: ignore[attr-defined]

VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="Number of a version, or an alias such as champion.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the registry.")]
Records = Annotated[
    Path | None,
    typer.Option("--records", help="Labelled records (Parquet or CSV) to compare on, instead of those held out.", show_default=False),
]


@app.callback()
def _group() -> None:
    """Models: their versions, compared, promoted, taken back, retired, trained anew."""


@app.command("list", epilog="Examples:  flowlake models list   |   flowlake models list --record flows --json")
def list_(record: RecordName = "", as_json: Json = False, conf_file: ConfFile = None) -> None:
    """The versions of a model, the newest first: what each is, when and on what it was trained, how good it is."""
    from jobs.models import versions
    from jobs.scoring.names import features_of
    from ops.cli import modeltables

    settings = config.load(conf_file)
    kind = commands.record_type(settings, record)
    found = versions.versions(settings, kind)
    if as_json:
        print(json.dumps([one.plain() for one in found], indent=2))
    elif not found:
        print(f"no version is registered yet: {features_of(kind).train}", file=sys.stderr)
    else:
        modeltables.show_versions(found)


@app.command(epilog="Examples:  flowlake models show champion   |   flowlake models show 3 --card card.html")
def show(
    version: VersionName = "champion",
    card: Annotated[Path | None, typer.Option("--card", help="Write the model card to this file.", show_default=False)] = None,
    record: RecordName = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """All that the registry says of a version: what it is, which records it was trained on, the promotions that it took part in."""
    from jobs.models import versions
    from ops.cli import modeltables

    settings = config.load(conf_file)
    kind = commands.record_type(settings, record)
    one = versions.version(settings, kind, version)
    if card is not None:
        name = one.fact("card") or "card.html"
        print(versions.artifact(settings, kind, one.version, name, card))
        return
    changes = [c for c in versions.history(settings, kind) if one.version in (c.before, c.after)]
    data = versions.data(settings, kind, one.version)
    if as_json:
        print(json.dumps(one.plain() | {"data": data, "history": [vars(c) for c in changes]}, indent=2))
    else:
        modeltables.show_version(one, changes, data)


@app.command(epilog="Examples:  flowlake models compare champion 4   |   flowlake models compare 3 4 --records labelled.parquet --json")
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="Version or alias.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Version or alias.")],
    records: Records = None,
    generated: Annotated[bool, typer.Option("--generated", help="On generated traffic of seeds that no training uses.")] = False,
    record: RecordName = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Two versions side by side, and by label which records they decide differently: of a file, generated, or those held out for B."""
    from jobs.models import compare as comparing
    from ops.cli import modeltables

    settings = config.load(conf_file)
    kind = commands.record_type(settings, record)
    if records is not None and generated:
        raise ConfigError(f"--records {records} with --generated", "versions are compared on one or the other")
    held_out = comparing.chosen(settings, kind, records, generated=generated, version=second)
    _warn(settings, kind, records, first, second)
    found = comparing.compare(settings, kind, first, second, held_out)
    if as_json:
        print(json.dumps(found.plain(), indent=2))
    else:
        modeltables.show_comparison(found)


@app.command(
    epilog="Examples:  flowlake models promote 4 --dry-run   |   flowlake models promote 4   |   "
    "flowlake models promote 4 --as challenger   |   "
    "flowlake models promote 4 --force --reason 'the champion misses the tunnel of incident 12'"
)
def promote(
    version: VersionName,
    role: Annotated[str, typer.Option("--as", help="champion, or challenger: scores beside it, decides nothing.")] = "champion",
    force: Annotated[bool, typer.Option("--force", help="Though a gate is closed, or it is retired; needs --reason.")] = False,
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the gates say; change nothing.")] = False,
    records: Records = None,
    record: RecordName = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Make a version champion, if it passes the gates beside the present one; streams take it within half a minute (scoring.poll_s).

    Exit code: 0 when it is in force (with --dry-run: would be), 6 when it was refused.
    """
    from jobs.models import compare as comparing
    from jobs.models import promotion
    from ops.cli import modeltables

    settings = config.load(conf_file)
    roles = {"champion": False, "challenger": True, settings.scoring.alias: False, settings.scoring.challenger_alias: True}
    if role not in roles:
        raise ConfigError(f"--as {role!r} is no role", "one of: champion, challenger")
    kind = commands.record_type(settings, record)
    held_out = comparing.records_of(kind, records) if records else None
    _warn(settings, kind, records, version)
    try:
        if dry_run:
            seen = promotion.examine(settings, kind, version, challenger=roles[role], force=force, held_out=held_out)
            if not force:
                seen.refuse()
            _would(seen, as_json)
            return
        done = promotion.promote(settings, kind, version, challenger=roles[role], force=force, reason=reason, held_out=held_out)
    except promotion.GateError as e:
        if as_json:
            print(json.dumps({"promoted": False, "why": str(e), "gates": [gate.plain() for gate in e.gates]}, indent=2))
        elif e.gates:
            modeltables.show_gates(e.gates)
        raise
    _done(done, as_json)


@app.command(epilog="Example:  flowlake models rollback --reason 'too many false alarms since noon'")
def rollback(reason: Reason = "", record: RecordName = "", as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Make the champion before the champion again; a second time goes back one further. Retired versions are passed over."""
    from jobs.models import promotion

    settings = config.load(conf_file)
    _done(promotion.rollback(settings, commands.record_type(settings, record), reason=reason), as_json)


@app.command(epilog="Examples:  flowlake models retire 2 --reason 'trained on wrong labels'   |   flowlake models retire 2 --undo")
def retire(
    version: VersionName,
    reason: Reason = "",
    undo: Annotated[bool, typer.Option("--undo", help="Allow it again.")] = False,
    record: RecordName = "",
    conf_file: ConfFile = None,
) -> None:
    """Keep a version from being promoted. Its files stay: what it has scored can be explained. The champion cannot be retired."""
    from jobs.models import promotion

    settings = config.load(conf_file)
    one = promotion.retire(settings, commands.record_type(settings, record), version, reason=reason, undo=undo)
    print(f"{one.label}: " + ("not retired" if one.retired is None else f"retired: {one.retired}"))


@app.command(
    epilog="Examples:  flowlake models score champion flows.parquet --out scored.parquet   |   flowlake models score 3 flows.csv --json"
)
def score(
    version: VersionName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet or CSV, with CICFlowMeter's column names or our own.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the records with their scores: Parquet, or CSV.", show_default=False)
    ] = None,
    record: RecordName = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Let a registered model label a file of records; where it has a column Label, say how right that is."""
    from jobs.models import scorefile
    from ops.cli import modeltables

    settings = config.load(conf_file)
    found = scorefile.score_by(settings, commands.record_type(settings, record), version, file)
    if out is not None:
        scorefile.write(found.table, out)
    if as_json:
        print(json.dumps(found.plain() | {"out": str(out) if out else None}, indent=2))
    else:
        modeltables.show_scored(found, out)


def _warn(settings: Settings, record: RecordType, file: Path | None, *names: str) -> None:
    """Say on standard error which of the versions were trained on a file that they are to be judged by."""
    from jobs.models import versions

    for name in names if file is not None else ():
        if said := versions.trained_on(versions.version(settings, record, name), file):  # type: ignore[arg-type]  # a path here
            print(f"Note: {said}", file=sys.stderr)


def _would(seen: Examined, as_json: bool) -> None:
    from ops.cli import modeltables

    if as_json:
        print(json.dumps({"promoted": False, "would": True, "gates": [gate.plain() for gate in seen.gates]}, indent=2))
        return
    modeltables.show_gates(seen.gates)
    print(f"{seen.alias}: would be version {seen.wanted.version} (is: {seen.before or 'none'}); nothing was changed")


def _done(done: Promoted, as_json: bool) -> None:
    from ops.cli import modeltables

    change = done.change
    if as_json:
        print(json.dumps({"promoted": True, **vars(change), "gates": [gate.plain() for gate in done.gates]}, indent=2))
        return
    if done.gates:
        modeltables.show_gates(done.gates)
    forced = ", forced" if change.forced else ""
    print(f"{change.alias}: version {change.after} (was: {change.before or 'none'}{forced})")
