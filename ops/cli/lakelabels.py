"""``flowlake lake label``: ground truth and analysts' verdicts."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra import config
from infra.config import Settings
from infra.console import looks
from infra.console.options import ConfFile, Json, group, me
from infra.errors import ConfigError
from infra.names import printable
from infra.plurals import counted

if TYPE_CHECKING:
    from schemas.records import RecordType

app = group("Ground truth and verdicts: table labels of the lake.", "flowlake lake label set ID --label benign --by ann")
RecordName = Annotated[str, typer.Option("--record", help="Record type, such as flows; default: the first that the lake holds.")]


@app.callback()
def _group() -> None:
    """Ground truth and verdicts: table labels of the lake."""


@app.command("import", epilog="Example:  flowlake lake label import truth.csv --by ann --source lab")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with a header line, or Parquet.")],
    record: RecordName = "",
    source: Annotated[str, typer.Option("--source", help="Who or what says so, where the file does not; default: its name.")] = "",
    by: Annotated[str, typer.Option("--by", help="labelled_by, where the file does not say; default: you.")] = "",
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Store the labels of a file: columns record_key (or the records' own key), label or attack_type; the others may be left out.

    What flowlake meter --labels writes is such a file. A second time changes nothing. Rows that are no labels go to FILE.rejects.csv,
    with line and reason.
    """
    from dataclasses import asdict

    from jobs.sinks import labels

    settings = config.load(conf_file)
    given = {"source": source or file.stem, "labelled_by": by or me()}
    done = labels.import_file(settings, file, record_named(settings, record), given)
    if as_json:
        print(json.dumps({name: value for name, value in asdict(done).items() if name != "keys"}))
        return
    same = done.rows - done.rejected - done.added - done.changed
    news = f"{done.added:,} new, {done.changed:,} changed, {same:,} there already or said twice, {done.rejected:,} rejected"
    print(f"{counted(done.rows, 'row')}: {news}")
    if done.rejected:
        print(f"rejected: {done.reject_file}")
    for name, count in done.undeclared.items():
        print(f"'{looks.word(name)}', of {counted(count, 'row')}, is no attack type that a source declares: taken as it is written")


@app.command("set", epilog="Example:  flowlake lake label set 6f1c... --label SYN_SCAN --by ann --note 'seen in the firewall too'")
def set_(
    key: Annotated[str, typer.Argument(help="Identity of the record, such as a flow_id.")],
    label: Annotated[str, typer.Option("--label", help="0, benign, 1, attack, or an attack type.")],
    by: Annotated[str, typer.Option("--by", help="Who says so.")],
    attack_type: Annotated[str, typer.Option("--attack-type", help="With --label 1.")] = "",
    source: Annotated[str, typer.Option("--source", help="One label is kept for each; default: analyst.")] = "analyst",
    note: Annotated[str, typer.Option("--note", help="Why.")] = "",
    record: RecordName = "",
    conf_file: ConfFile = None,
) -> None:
    """Label one record. The last word on a record counts."""
    from jobs.sinks import labels

    settings = config.load(conf_file)
    one = record_named(settings, record)
    try:
        row = labels.row(
            {"record_key": key, "label": label, "attack_type": attack_type, "source": source, "labelled_by": by, "note": note},
            one,
            {},
            datetime.now(UTC),
        )
    except labels.BadLabel as e:
        raise ConfigError(f"label {key}: {e}", "say 0, benign, 1, attack, or an attack type") from e
    added, _ = labels.put(settings, [row])
    print(f"{one.name} {key}: {row['attack_type']}" + ("" if added else " (was labelled by this source before)"))


@app.command("list", epilog="Example:  flowlake lake label list --json")
def list_(record: RecordName = "", as_json: Json = False, conf_file: ConfFile = None) -> None:
    """Show what counts of each labelled record: the last word of a person, else of a machine; who disagrees on standard error."""
    from jobs.sinks import labels

    settings = config.load(conf_file)
    kind = record_named(settings, record)
    rows = labels.latest(settings, kind).to_pylist()
    for conflict in labels.conflicts(settings, kind):
        print(printable(f"conflict: {conflict}; the first counts"), file=sys.stderr)
    if as_json:
        print(json.dumps(rows, indent=2, default=str))
        return
    if not rows:
        print("no labels yet: flowlake lake label set, or flowlake lake label import")
    for row in rows:
        said = f"{looks.word(row['source']):<12} {row['labelled_at']:%Y-%m-%d %H:%M:%S} {looks.word(row['labelled_by'])}"
        print(f"{looks.word(row['record_key']):<36} {looks.word(row['attack_type']):<16} {said}")


def record_named(settings: Settings, name: str) -> RecordType:
    """The record type of this name that the lake holds; the first one of none."""
    known = {record.name: record for record in settings.catalogue.records if record.lake}
    if name and name not in known:
        raise ConfigError(f"--record {name!r}: the lake has no such table", f"record types: {', '.join(known)}")
    return known[name] if name else next(iter(known.values()))
