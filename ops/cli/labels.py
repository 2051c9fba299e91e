"""``flowlake labels``: what is worth a person's look, out of the lake and back as labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra import config
from infra.console import looks, times
from infra.console.options import ConfFile, Json, group, me
from infra.errors import ConfigError
from infra.names import printable
from infra.plurals import counted
from ops.cli import lakelabels
from ops.cli.lakelabels import RecordName, record_named

app = group(
    "Labels: which records are worth a person's look, and what people have said of them.",
    "flowlake labels export look.csv --near-threshold",
)
app.command("list", epilog="Example:  flowlake labels list --json")(lakelabels.list_)
#: Keys and conflicts that are shown.
_SHOWN = 5


@app.callback()
def _group() -> None:
    """Labels: which records are worth a person's look, and what people have said of them."""


@app.command(
    epilog="Examples:  flowlake labels export look.csv   |   flowlake labels export novel.parquet --novel --limit 50 --since 2026-03-01"
)
def export(
    file: Annotated[Path, typer.Argument(help="Where to write: .csv or .parquet.")],
    near_threshold: Annotated[bool, typer.Option("--near-threshold", help="Where the model is least sure.")] = False,
    disagree: Annotated[bool, typer.Option("--disagree", help="Where champion and challenger say different things.")] = False,
    novel: Annotated[bool, typer.Option("--novel", help="Unlike all benign traffic: one record of each cluster.")] = False,
    tails: Annotated[bool, typer.Option("--tails", help="Where the model is sure: P(attack) below 0.05 or above 0.95.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Records in all.")] = 200,
    margin: Annotated[float, typer.Option("--margin", min=0.0, max=1.0, help="How far from the threshold is near.")] = 0.1,
    novelty: Annotated[
        float | None,
        typer.Option(
            "--novelty",
            min=0.0,
            max=1.0,
            help="Novelty score from which a record is novel; default: as its model says.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[str, typer.Option("--since", help="Leave out records before this day or time (UTC), or so long ago (7d).")] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice: the same seed chooses the same.")] = 7,
    record: RecordName = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Write the records that are worth a person's look: fill in the column label, then import the file.

    Without one of the reasons it is all four. Records that a person has labelled are left out; others are spread over types and days.
    """
    from jobs.labelling import choose, files

    settings = config.load(conf_file)
    kind = record_named(settings, record)
    given = dict(zip(choose.REASONS, (near_threshold, disagree, novel, tails), strict=True))
    reasons = tuple(reason for reason, wanted in given.items() if wanted or not any(given.values()))
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"{file}: its name ends neither in .csv nor in .parquet", "the ending says what is written")
    if lost := files.unsaved(file, kind):
        raise ConfigError(
            f"{file}: is there already, with {counted(lost, 'label')} filled in, which would be lost",
            f"flowlake labels import {file} first, then remove it; or name another file",
        )
    asked = choose.Choosing(reasons, limit, margin, novelty, since=times.since(since or None), seed=seed)
    chosen = choose.choose(settings, kind, asked)
    files.write(file, chosen, kind)
    for note in chosen.notes:
        print(printable(note), file=sys.stderr)
    if as_json:
        print(json.dumps({"file": str(file), "rows": chosen.rows.num_rows, "found": chosen.found}))
        return
    for reason, found in chosen.found.items():
        print(f"{reason:<16} {found:>12,} to choose from")
    if chosen.rows.num_rows:
        count = counted(chosen.rows.num_rows, "record")
        print(printable(f"{file}: {count}; fill in the column label, then: flowlake labels import {file}"))
    else:
        others = "leave out a reason or --since" if since else "leave out a reason"
        print(printable(f"{file}: no record to look at; {others}, or wait for more traffic"))


@app.command("import", epilog="Example:  flowlake labels import look.csv --by ann")
def import_(
    file: Annotated[Path, typer.Argument(help="The exported file, its column label filled in; CSV or Parquet.")],
    by: Annotated[str, typer.Option("--by", help="Who says so; default: you.")] = "",
    new_types: Annotated[bool, typer.Option("--new-types", help="Take attack types that nobody has named before.")] = False,
    record: RecordName = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Store what a person has written into the column label; an empty one says nothing. A second time changes nothing.

    Labels of others stay beside: where they say something else, that is reported. Rows that are no labels go to FILE.rejects.csv.
    """
    from jobs.labelling import files

    settings = config.load(conf_file)
    back = files.bring_back(settings, file, record_named(settings, record), by or me(), new_types=new_types)
    done = back.done
    if as_json:
        counts = {name: getattr(done, name) for name in ("rows", "added", "changed", "rejected", "reject_file")}
        conflicts = [str(one) for one in back.conflicts]
        print(
            json.dumps(
                {**counts, "skipped": back.skipped, "unknown": back.unknown, "unasked": back.unasked, "conflicts": conflicts}, indent=2
            )
        )
        return
    same = done.rows - done.rejected - done.added - done.changed
    print(
        f"{done.added:,} new, {done.changed:,} changed, {same:,} there already, {back.skipped:,} without a label, "
        f"{done.rejected:,} rejected" + (f": {looks.word(done.reject_file)}" if done.rejected else "")
    )
    if back.unknown:
        some = ", ".join(back.unknown[:_SHOWN]) + (", ..." if len(back.unknown) > _SHOWN else "")
        print(printable(f"{counted(len(back.unknown), 'record')} that the lake does not hold: {some}"), file=sys.stderr)
    if back.unasked:
        print(printable(f"whether the lake holds them is not known: {back.unasked}"), file=sys.stderr)
    for conflict in back.conflicts[:_SHOWN]:
        print(printable(f"conflict: {conflict}; the first counts"), file=sys.stderr)
    if len(back.conflicts) > _SHOWN:
        print(f"{len(back.conflicts) - _SHOWN} more conflicts: flowlake labels list", file=sys.stderr)
