"""``flowlake quality``: what must hold of the records, looked at for a day; what was found."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from infra import config
from infra.config import Settings
from infra.console.options import ConfFile, Json, group
from infra.errors import ConfigError, StoreError
from infra.names import printable
from infra.plurals import are, counted

if TYPE_CHECKING:
    from jobs.quality.nightly import SuiteRun
    from schemas.records import RecordType

app = group("Data quality: what must hold of the records, looked at for a day of each store.", "flowlake quality run")
#: Exit code of ``run`` where an expectation does not hold.
FAILED = 10
_STAGES = ("lake", "hot", "archive")
#: Days that every store can be asked for, with those of the history before them: Arrow's times in nanoseconds end in 2262.
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(2199, 12, 31)

Record = Annotated[str | None, typer.Option("--record", help="Record type, such as flows; default: all.", show_default=False)]
Stage = Annotated[str | None, typer.Option("--stage", help="lake, hot or archive; default: all that are there.", show_default=False)]


@app.callback()
def _group() -> None:
    """Data quality: what must hold of the records, looked at for a day of each store."""


@app.command(epilog="Examples:  flowlake quality run   |   flowlake quality run --record flows --stage lake --day 2026-11-26 --json")
def run(
    record: Record = None,
    stage: Stage = None,
    day: Annotated[str | None, typer.Option(help="UTC day, YYYY-MM-DD; default: yesterday.", show_default=False)] = None,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Look at one day of each store: columns, values, identities, rates beside those of the days before.

    Rows that fail are copied to the quarantine and stay where they are. Results are kept as JSON and as HTML pages (var/quality).

    Exit code: 0 when all holds, 10 when something does not.
    """
    from jobs.quality import site

    settings = config.load(conf_file)
    now, wanted = datetime.now(UTC), _day(day)
    runs = list(_runs(settings, record, stage, wanted, now))
    if not runs:
        raise StoreError(f"no store of {record or 'any record type'} is there to look at", "start the stream first: flowlake stream")
    try:
        first = site.store(settings, runs, now)
    except OSError as e:
        raise StoreError(f"results cannot be kept in {site.folder(settings)}: {e.strerror}", "set paths.var to a folder of yours") from e
    if as_json:
        print(json.dumps([one.as_dict() for one in runs], indent=1))
    else:
        for one in runs:
            _show(one)
        print(f"pages: {first}")
    if any(one.failed for one in runs):
        raise typer.Exit(FAILED)


@app.command(epilog="Examples:  flowlake quality suites   |   flowlake quality suites --record flows --json")
def suites(record: Record = None, as_json: Json = False, conf_file: ConfFile = None) -> None:
    """What must hold of each record type, as it follows from its declaration; asks no store."""
    from jobs.quality import derive

    settings = config.load(conf_file)
    found = [
        {"record": one.name, "rule": rule.name, "expected": rule.said, "batch": not rule.nightly}
        for one in records(settings, record)
        for rule in derive.constraints(one, settings)
    ]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    from ops.cli.tables import console

    shown = Table(title=f"{len(found)} rules", title_justify="left")
    for name in ("record", "rule", "expected", "batch"):
        shown.add_column(name, overflow="fold", no_wrap=name in ("record", "batch"))
    for one in found:
        shown.add_row(*(Text(str(one[name])) for name in ("record", "rule", "expected")), "yes" if one["batch"] else "at night")
    console().print(shown)


@app.command(epilog="Example:  flowlake quality docs")
def docs(conf_file: ConfFile = None) -> None:
    """Where the pages of the nightly runs are; open the file in a browser."""
    from jobs.quality import site

    first = site.page(config.load(conf_file))
    if not first.is_file():
        raise StoreError(f"there are no pages yet in {first.parent}", "flowlake quality run makes them")
    print(first)


def _runs(settings: Settings, record: str | None, stage: str | None, day: date, now: datetime) -> Iterator[SuiteRun]:
    from jobs.quality import daytables, nightly

    if stage is not None and stage not in _STAGES:
        raise ConfigError(f"--stage {stage!r} is no store", f"one of: {', '.join(_STAGES)}")
    for one in records(settings, record):
        for name in [stage] if stage else _STAGES:
            table = daytables.open_table(settings, one, name)
            if table is None:
                continue
            if not table.exists():
                _say(f"{one.name}.{name}: there is no such table yet")
                continue
            yield nightly.run(settings, one, name, table, day, now=now, say=_say)


def records(settings: Settings, name: str | None) -> list[RecordType]:
    """The record type of an option ``--record``; all when it was not given.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    known = settings.catalogue.records
    if name is None:
        return list(known)
    if chosen := [one for one in known if one.name == name]:
        return chosen
    raise ConfigError(f"--record {name!r} is no record type", f"record types: {', '.join(one.name for one in known)}")


def _day(text: str | None) -> date:
    from jobs.quality import nightly

    if text is None:
        return nightly.yesterday()
    try:
        day = date.fromisoformat(text)
    except ValueError as e:
        raise ConfigError(f"--day {text!r} is no day", "write it as 2026-11-26") from e
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise ConfigError(f"--day {text} is not between {_FIRST_DAY} and {_LAST_DAY}", "name a day of which there may be rows")
    return day


def _show(run: SuiteRun) -> None:
    state = f"{len(run.failed)} of {len(run.found)} expectations failed" if run.failed else f"{len(run.found)} expectations hold"
    print(f"{run.name} {run.day}: {counted(run.rows, 'row')}, {state}{f' ({run.note})' if run.note else ''}")
    for one in run.failed:
        print(printable(f"  {one.rule}: {one.said}"))
    if run.copied:
        print(f"  {counted(run.copied, 'row')} {are(run.copied)} in the quarantine: flowlake quarantine list --stage {run.stage}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
