"""``flowlake migrate``: rows of CSV files and of an SQLite database into the stores; comparing both; rotation of CSV files."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config, log
from infra.config import Settings
from infra.console import looks, options, times
from infra.console.options import ConfFile, Json, group
from infra.errors import ConfigError
from infra.names import printable
from infra.plurals import counted

if TYPE_CHECKING:
    from jobs.moving.compare import Comparison
    from jobs.moving.report import FileReport
    from jobs.moving.run import Progress
    from jobs.moving.times import TimeReading

app = group("Move in from CSV files and SQLite.", "flowlake migrate csv live_captured_traffic.csv")
#: Exit code of ``compare`` where the rows differ.
DIFFERENT = 1
_STORES = ("hot", "lake")

Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="CSV files: plain, gzip or zstd.", show_default=False)]
Record = Annotated[
    str | None, typer.Option("--record", help="Record type that the rows become; default: the one that declares CSV names (flows).")
]
Zone = Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Of times that say none: UTC, Europe/Berlin.")]
DayFirst = Annotated[
    bool | None,
    typer.Option("--day-first/--month-first", help="Whether 3/7/2017 is the 3rd of July (CICFlowMeter) or March 7.", show_default=False),
]
Layout = Annotated[
    str | None,
    typer.Option("--columns", help="Columns of files without a header: 'reference' (Timestamp, 20 features, label, confidence) or names."),
]
Since = Annotated[str | None, typer.Option("--from", metavar="TIME", help="Only rows from this time on: 2026-03-01, or 7d ago.")]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only rows before this time.")]
Rejects = Annotated[Path | None, typer.Option("--rejects", metavar="FOLDER", help="Where rejected lines go.  [default: beside each file]")]
Patience = Annotated[float, typer.Option("--patience", min=0.0, metavar="SECONDS", help="How long a store may be away.")]


@app.callback()
def _group() -> None:
    """Move in from CSV files and SQLite, and compare while both are written (docs/how-to/move-from-csv-and-sqlite.md)."""


@app.command(
    epilog="Examples:  flowlake migrate csv live_captured_traffic.csv   |   "
    "flowlake migrate csv archive/*.csv.gz --into both --timezone Europe/Berlin   |   flowlake migrate csv old.csv --columns reference"
)
def csv(
    files: Files,
    into: Annotated[str, typer.Option("--into", help="hot, lake or both.")] = "hot",
    record: Record = None,
    timezone: Zone = "UTC",
    day_first: DayFirst = None,
    columns: Layout = None,
    since: Since = None,
    until: Until = None,
    model_version: Annotated[str, typer.Option("--model-version", help="What the rows say of the model.")] = "migrated",
    final: Annotated[
        bool, typer.Option("--final", help="Nobody writes the files any more: a last line without a line end counts.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Read all, also what earlier runs have done; rows that are there stay.")] = False,
    rejects: Rejects = None,
    patience: Patience = 300.0,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Rows of CSV files into the hot store, the lake, or both; what is there already is left alone.

    Broken off, it goes on where it was when it is run again. Lines that are no rows go to FILE.rejects.csv with number and reason.
    A file that still grows is read up to its last whole line; the next run takes what has come since. Exit code 0, also with rejects.
    """
    from jobs.moving.run import Options, migrate, record_of

    stores = _STORES if into == "both" else options.names("--into", into, _STORES)
    settings = _settings(conf_file)
    wanted = Options(stores, _clock(timezone, day_first), columns, model_version, final=final, again=again, rejects=_folder(rejects))
    wanted = replace(wanted, since=times.since(since, "--from"), until=times.since(until, "--to"), patience_s=patience)
    chosen = record_of(settings.catalogue.records, record, needs=stores[0])
    with _shown() as progress:
        reports = migrate(settings, chosen, _sources(files), wanted, say=_say, progress=progress)
    closes = all(report.closes for report in reports)
    if as_json:
        print(json.dumps({"record": chosen.name, "closes": closes, "files": [report.told() for report in reports]}, indent=2))
    else:
        for report in reports:
            print("\n".join(_lines(report, wanted.reading)))
    for warning in _old(settings, chosen, reports, stores):
        _say(warning)
    if not closes:
        raise typer.Exit(1)


@app.command(epilog="Example:  flowlake migrate sqlite alerts.db --resolved-by migration")
def sqlite(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The database: table alerts (id, timestamp, src_ip, action, details).")],
    record: Record = None,
    timezone: Zone = "UTC",
    resolved_by: Annotated[str, typer.Option("--resolved-by", help="Mark them as resolved by this name.  [default: they are open]")] = "",
    rejects: Rejects = None,
    patience: Patience = 300.0,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Alerts of an SQLite database into the table alerts; those that are there stay as they are. No message is sent for them.

    The database is only read, and may be in use.
    """
    from jobs.moving.alertsdb import move
    from jobs.moving.run import record_of

    settings = _settings(conf_file)
    chosen = record_of(settings.catalogue.records, record, needs="alerts")
    report = move(
        settings,
        chosen,
        file,
        _clock(timezone, None),
        resolved_by=resolved_by,
        rejects=_folder(rejects),
        patience_s=patience,
        say=_say,
    )
    told = report.told()
    if as_json:
        print(json.dumps(told, indent=2))
        return
    counts = f"{report.written:,} written + {report.there:,} already there + {told['rejected']:,} rejected"
    print(f"{printable(file)}: {counted(report.rows, 'alert')} = {counts}")
    for name in ("actions", "attack_types", "rejected_by_reason"):
        if told[name]:
            print(f"  {name.replace('_', ' ')}: {_listed(told[name])}")
    if report.rejects_file:
        print(f"  rejected rows: {printable(str(report.rejects_file))}")


@app.command(epilog="Example:  flowlake migrate compare --csv live_captured_traffic.csv --from 2026-03-01 --to 2026-03-08")
def compare(
    files: Annotated[list[Path], typer.Option("--csv", metavar="FILE", help="CSV file; may be given several times.")],
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="From this time on: 2026-03-01, or 7d ago.")],
    until: Until = None,
    store: Annotated[str, typer.Option("--store", help="hot or lake.")] = "hot",
    record: Record = None,
    timezone: Zone = "UTC",
    day_first: DayFirst = None,
    columns: Layout = None,
    differences: Annotated[int, typer.Option("--differences", min=0, max=1000, help="Show the first of them, so many.")] = 5,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """Do the CSV files and a store hold the same rows? Counts by hour, checksums by column, the first differences, write latency.

    Whole numbers, times and text must be equal, other numbers equal as float32. Identities are not compared.
    Exit code 0 when the rows are the same, 1 when they differ.
    """
    from jobs.moving.compare import compare as compared
    from jobs.moving.run import record_of

    options.names("--store", store, _STORES)
    settings = _settings(conf_file)
    chosen = record_of(settings.catalogue.records, record, needs=store)
    begin, end = times.since(since, "--from"), times.since(until, "--to") or times.since("0s")
    assert begin is not None
    assert end is not None
    if begin >= end:
        raise ConfigError(f"--from {since} is not before --to {until or 'now'}", "--to is the first moment that is left out")
    done = compared(
        settings,
        chosen,
        _distinct(files),
        since=begin,
        until=end,
        store=store,
        clock=_clock(timezone, day_first),
        layout=columns,
        most=differences,
    )
    if as_json:
        print(json.dumps(done.told(), indent=2, default=looks.plain))
    else:
        _compared(done, store)
    if not done.equal:
        raise typer.Exit(DIFFERENT)


@app.command(
    epilog="Examples:  flowlake migrate rotate live_captured_traffic.csv --size 100MB --keep 12 --compress   |   "
    "flowlake migrate rotate live_captured_traffic.csv --weekly"
)
def rotate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The CSV file that is written.")],
    size: Annotated[str | None, typer.Option("--size", help="When it has grown to this: 100MB, 64MiB.")] = None,
    weekly: Annotated[bool, typer.Option("--weekly", help="When its first row is of an earlier week.")] = False,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Remove pieces but the newest, so many.  [default: all stay]")] = None,
    compress: Annotated[bool, typer.Option("--compress", help="Pieces become gzip, when nobody has them open.")] = False,
    copytruncate: Annotated[
        bool, typer.Option("--copytruncate", help="For a writer that keeps the file open: copy and empty it. May lose what comes between.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give a CSV file another name and begin a new one with its header, safe while somebody writes it. For cron.

    The writer must open the file for each write, as pandas' to_csv(mode='a') does. A rotation that was killed is ended by the next.
    """
    from jobs.moving.rotate import rotate as rotated
    from jobs.moving.rotate import size_of

    if size is None and not weekly:
        raise ConfigError("neither --size nor --weekly is given", "say when it is due: --size 100MB, --weekly, or both")
    done = rotated(file, size=size_of(size) if size else None, weekly=weekly, keep=keep, compress=compress, copytruncate=copytruncate)
    if as_json:
        told = {"piece": done.piece, "why": done.why, "compressed": done.compressed, "removed": done.removed}
        print(json.dumps(told, indent=2, default=str))
        return
    print(f"{file} is now {done.piece} ({done.why})" if done.piece else f"{file}: not due")
    for path in done.compressed:
        print(f"compressed: {path}")
    for path in done.removed:
        print(f"removed: {path}")


def _settings(conf_file: Path | None) -> Settings:
    settings = config.load(conf_file)
    log.setup(settings.log)
    return settings


def _clock(zone: str, day_first: bool | None) -> TimeReading:
    from jobs.moving.times import TimeReading

    return TimeReading(zone, day_first)


def _folder(path: Path | None) -> Path | None:
    if path is not None and not path.is_dir():
        raise ConfigError(f"--rejects {path}: there is no such folder", "make it, or name another")
    return path


def _distinct(files: Sequence[Path]) -> list[Path]:
    """Each file once, in the order in which they were given.

    Not by ``Path.resolve``, which raises at a link that leads to itself: whoever opens it says so, with its name.
    """
    return list({os.path.realpath(path): path for path in files}.values())


def _sources(files: Sequence[Path]) -> list[Path]:
    """Files to be moved: a pattern such as ``*.csv`` finds what was rejected of them as well."""
    from jobs.moving.rejects import ENDING

    found = _distinct(files)
    rejects = [path for path in found if path.name.endswith(ENDING) and len(found) > 1]
    for path in rejects:
        _say(f"{path}: left out, it holds rejected lines")
    return [path for path in found if path not in rejects]


def _say(text: str) -> None:
    typer.echo(printable(text), err=True)


@contextmanager
def _shown() -> Iterator[Progress]:
    """Progress on standard error: a bar on a terminal, else a line every ten seconds."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def line(path: Path, done: int, size: int | None, rows: int) -> None:
            nonlocal last
            if time.monotonic() - last >= 10:
                last = time.monotonic()
                share = f" of {size >> 20:,}" if size else ""
                _say(f"{path}: {done >> 20:,}{share} MiB, {counted(rows, 'row')}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
    )
    with Bars(*parts, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[Path, Any] = {}

        def bar(path: Path, done: int, size: int | None, rows: int) -> None:
            if path not in tasks:
                tasks[path] = bars.add_task(path.name, total=size, rows=0)
            bars.update(tasks[path], completed=done, rows=rows)

        yield bar


def _listed(counts: Mapping[str, int]) -> str:
    """Names that the files bring with them, and how many rows have each."""
    return ", ".join(f"{looks.word(name)} {count:,}" for name, count in counts.items())


def _lines(report: FileReport, reading: str) -> Iterator[str]:
    """A report for people."""
    told = report.told()
    begun = f", from byte {report.resumed_at:,} on" if report.resumed_at else ""
    yield f"{printable(report.path)}: {counted(report.lines, 'line')}{begun} ({reading})"
    parts = [(report.rows, "rows"), (report.rejected, "rejected"), (report.headers, "headers"), (report.blank, "blank")]
    parts += [(report.outside, "of other times")] if report.outside else []
    yield f"  lines = {' + '.join(f'{count:,} {name}' for count, name in parts)}"
    for name, s in report.stores.items():
        earlier = f" + {s.earlier:,} by an earlier run" if s.earlier else ""
        yield f"  {name}: {counted(report.rows, 'row')} = {s.written:,} written + {s.there:,} already there{earlier}"
    if report.rows:
        yield f"  from {told['first']} to {told['last']}: {_listed(told['labels'])}"
    for reason, count in told["rejected_by_reason"].items():
        yield f"  rejected, {looks.word(reason, 300)}: {count:,}"
    if report.rejects_file:
        yield f"  rejected lines: {printable(report.rejects_file)}"
    for note, count in report.notes.items():
        yield f"  {looks.word(note, 300)}: {count:,}"
    if report.extra:
        yield f"  columns that go nowhere: {', '.join(map(looks.word, report.extra))}"
    if report.left_bytes:
        yield f"  the last line ({report.left_bytes:,} bytes) has no end yet and is left to the next run; --final takes it"
    if report.seconds and report.rows:
        yield f"  {report.seconds:.1f} s, {told['rows_per_second']:,} rows/s"


def _old(settings: Any, record: Any, reports: Sequence[FileReport], stores: Sequence[str]) -> Iterator[str]:
    """What becomes of rows that are older than the hot store keeps them."""
    if "hot" not in stores:
        return
    from jobs.hotstore.placing import bounds

    first, _ = bounds(settings.hot, record.hot)
    for report in reports:
        if report.rows and (report.told()["first"] or "") < first.isoformat():
            yield (
                f"{report.path}: has rows of before {first}, which {record.hot.name} does not keep (hot.retention_days): the next "
                "flowlake db maintain drops them. To keep them: --into lake"
            )


def _compared(done: Comparison, store: str) -> None:
    """A comparison for people."""
    told = done.told()
    print(f"CSV {counted(told['rows_csv'], 'row')}, {store} {counted(told['rows_store'], 'row')}: {'equal' if done.equal else 'DIFFERENT'}")
    if done.rejected:
        print(f"  no rows: {counted(done.rejected, 'line')} of the files")
    for day in told["days"]:
        print(f"  {day['day']}: CSV {day['csv']:,}, {store} {day['store']:,}")
    for hour in [hour for hour in told["hours"] if not hour["equal"]][:24]:
        print(f"  hour {hour['hour']}: CSV {hour['csv']:,}, {store} {hour['store']:,}")
    for name, sums in told["columns"].items():
        print(f"  {name:<26} {sums['csv']} {'=' if sums['equal'] else '!='} {sums['store']}")
    for difference in told["first_differences"]:
        columns = difference["columns"]
        print(f"  differs in {', '.join(columns)}:" if columns else "  only on one side:")
        for side in ("csv", "store"):
            row = difference[side] or {}
            names = [name for name in row if not columns or name in columns or name == done.columns[0]]
            print(f"    {side}: {', '.join(f'{name} {looks.word(looks.plain(row[name]))}' for name in names) or '-'}")
    latency = told["write_latency"]
    print(
        f"  write latency ({latency['measured']}): p50 {latency['p50_s']} s, p99 {latency['p99_s']} s"
        if "p50_s" in latency
        else f"  write latency: {latency['measured']}"
    )
