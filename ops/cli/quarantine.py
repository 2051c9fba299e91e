"""``flowlake quarantine``: rows that failed a check, looked at and published again."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config
from infra.config import Settings
from infra.console import looks, times
from infra.console.options import ConfFile, Json, group
from infra.errors import ConfigError, StoreError
from infra.plurals import counted, so_many

if TYPE_CHECKING:
    from jobs.quality.replay import Chosen
    from schemas.records import RecordType

app = group("Rows that failed a check: a look at them, and publishing them again.", "flowlake quarantine list")
_SHOWN = ("quarantined_at", "record", "stage", "reason", "record_id", "topic", "partition", "offset", "row", "replayed_at")

Record = Annotated[str | None, typer.Option("--record", help="Record type, such as flows; default: all.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", help="Part of a reason, such as range(src_port).", show_default=False)]
Stage = Annotated[str | None, typer.Option("--stage", help="batch, or of a nightly run: lake, hot, archive.", show_default=False)]
Since = Annotated[str | None, typer.Option("--since", help="Quarantined since: 15m, 2h, 7d, 2w, or 2026-03-01T12:00.", show_default=False)]


@app.callback()
def _group() -> None:
    """Rows that failed a check: a look at them, and publishing them again."""


@app.command("list", epilog="Examples:  flowlake quarantine list   |   flowlake quarantine list --record flows --reason range --json")
def show(
    record: Record = None,
    reason: Reason = None,
    stage: Stage = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Newest rows, so many.")] = 50,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """The newest rows of the quarantine, and how many there are by rule; as JSON with the rows themselves (value)."""
    from jobs.quality import replay

    settings = config.load(conf_file)
    chosen = _chosen(settings, record, reason, stage, since)
    rows, counts = _newest(replay.read(settings, chosen), limit)
    if as_json:
        looks.show(rows, _SHOWN, form="json", title="")
        return
    if not rows:
        print("no row of the quarantine matches" if record or reason or stage or since else "nothing is in the quarantine")
        return
    total = sum(there for there, _ in counts.values())
    for name, (there, replayed) in sorted(counts.items()):
        print(f"{name}: {counted(there, 'row')}, {replayed:,} of them published again")
    looks.show(rows, _SHOWN, form="table", title=f"{so_many(len(rows), total, 'row')}, newest first")


@app.command(epilog="Examples:  flowlake quarantine replay --dry-run   |   flowlake quarantine replay --reason 'one-of(' --since 7d")
def replay(
    record: Record = None,
    reason: Reason = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many rows would be published; publish none.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Publish rows again that were taken out of a batch, each once; the stores read them as any other.

    To be done when what they failed has been mended: a setting, a rule, a label. A row that fails again is in the quarantine again.
    Rows that a nightly run copied are in their stores already, and are left out.
    """
    from jobs.quality import replay as again
    from jobs.quality import table

    settings = config.load(conf_file)
    chosen = _chosen(settings, record, reason, table.BATCH, since)
    told: list[dict[str, Any]] = []
    for one in _records(settings, record):

        def say(rows: int, name: str = one.name) -> None:
            print(f"{name}: {counted(rows, 'row')}", file=sys.stderr, flush=True)

        done = again.replay(settings, one, chosen, say, dry_run=dry_run)
        told.append({"record": one.name, "published": 0 if dry_run else done.published, "chosen": done.published, "odd": done.odd})
        if not as_json:
            verb = "would be published" if dry_run else "published again"
            print(f"{one.name}: {counted(done.published, 'row')} {verb}{f'; {done.odd:,} stay: {done.why}' if done.odd else ''}")
    if as_json:
        print(json.dumps(told, indent=1))


def _newest(batches: Any, limit: int) -> tuple[list[dict[str, Any]], dict[str, tuple[int, int]]]:
    """The newest rows, and how many there are by record type, stage and rule (all, and those published again)."""
    counts: dict[str, tuple[int, int]] = {}
    rows: list[dict[str, Any]] = []
    for batch in batches:
        for row in batch.to_pylist():
            name = f"{row['record']}, {row['stage']}: {row['rule']}"
            there, replayed = counts.get(name, (0, 0))
            counts[name] = (there + 1, replayed + (row["replayed_at"] is not None))
            rows.append(row)
        rows = sorted(rows, key=lambda row: (row["quarantined_at"], row["id"]), reverse=True)[:limit]
    return rows, counts


def _chosen(settings: Settings, record: str | None, reason: str | None, stage: str | None, since: str | None) -> Chosen:
    from jobs.quality import daytables, replay, table

    _records(settings, record)
    if stage is not None and stage not in (known := (table.BATCH, *daytables.STAGES)):
        raise ConfigError(f"--stage {stage!r} is no stage", f"one of: {', '.join(known)}")
    if why := table.problem(settings):
        raise StoreError(f"there can be no quarantine: {why}", "set lake.path to a folder below, such as s3a://bucket/lake/flows")
    return replay.Chosen(record, stage, reason, times.since(since))


def _records(settings: Settings, name: str | None) -> list[RecordType]:
    from ops.cli import quality

    return quality.records(settings, name)
