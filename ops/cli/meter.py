"""``flowlake meter``: capture files in, flow records out, without Kafka and without Spark."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config
from infra.errors import CaptureError, ConfigError, FlowlakeError, one_line
from infra.names import printable
from ops.cli.captures import DASH, Captures, capture_path, raise_unread, tell_unread, waiting
from ops.cli.options import ConfFile, FollowTimeout, Json, Sort, follow_one
from ops.cli.signals import handled

if TYPE_CHECKING:
    import pyarrow as pa

    from sensors.packets.following import Follow


def meter(
    captures: Captures,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", parser=capture_path, help="flows.csv, flows.csv.gz or flows.parquet; default, or -: CSV to stdout."),
    ] = None,
    sensor: Annotated[str | None, typer.Option("--sensor", help="Sensor id of the records; default: the file's name.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Ground truth (Parquet), as the generator writes it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="The file is still being written: meter it as it grows, until Ctrl-C.")] = False,
    follow_timeout: FollowTimeout = 0.0,
    sort: Sort = False,
    conf_file: ConfFile = None,
    as_json: Json = False,
) -> None:
    """Meter capture files: the drop-in replacement of CICFlowMeter.

    Columns and order are those of the corrected CIC-IDS2017 files, then ours. The rules (timeouts, linger) are the section meter of the
    configuration: the very code of the stream.

    A folder is every capture file in it, by content: rotated (cap.pcap1), compressed (gzip, zstd, lz4, xz, bzip2), without an ending.
    Ctrl-C ends a pipe in good order. Exit code 3: a file could not be read; the others are metered, and the output is whole.

    Examples:

      flowlake meter capture.pcap --out flows.csv

      flowlake meter captures/ --out flows.parquet

      tcpdump -U -w - | flowlake meter - > flows.csv
    """
    from jobs.metering.batch import Accounts, meter_captures
    from jobs.metering.files import RecordWriter
    from jobs.metering.threads import ahead
    from sensors.packets.files import find_captures, told

    settings = config.load(conf_file)
    following = follow_one(captures, follow, follow_timeout, sort=sort)
    found = find_captures(captures)
    files = found.files
    pipe = waiting(found)
    out = None if out == DASH else out
    if out is None and sys.stdout is None:
        raise ConfigError("standard output is closed", "name a file with --out")
    read = {os.path.realpath(f) for f in (*files, labels) if f is not None and f != DASH}
    if out is not None and os.path.realpath(out) in read:
        raise ConfigError(f"--out {out} is what is read", "name another file: it would be overwritten")
    began = time.monotonic()
    accounts = Accounts()
    progress = _Progress(files, quiet=as_json or follow or pipe is not None or (out is None and sys.stdout.isatty()))
    label = _labeller(labels)

    def batches() -> Any:
        return meter_captures(
            files,
            sensor_id=sensor,
            settings=settings.meter,
            sensor=settings.sensor,
            accounts=accounts,
            progress=progress.tick,
            follow=following,
            sort=sort,
            pipe=pipe,
            keep_going=len(files) + len(found.failed) > 1,
        )

    if following is not None and not as_json:
        yet = "" if os.path.exists(files[0]) else ", which is not there yet"
        print(f"following {printable(files[0])}{yet}; Ctrl-C ends it", file=sys.stderr)
    waited = following or pipe
    try:
        if out is None:
            with _ended(), ahead(batches()) as records, _until_signal(waited):
                rows = _to_stdout(records, label)
        else:
            with (
                _ended(),
                RecordWriter(out, label, growing=waited is not None) as writer,
                ahead(batches()) as records,
                _until_signal(waited),
            ):
                writer.write(records)
            rows = writer.rows
    finally:
        progress.end()
        failed = found.failed + accounts.failed
        tell_unread(found.skipped, failed)
    seconds = time.monotonic() - began
    if not accounts.balanced:
        raise FlowlakeError(f"accounts do not close: {accounts.packets} packets, {accounts.metered} metered, {dict(accounts.rejected)}")
    for name in accounts.truncated if following is None or not following.problem else ():
        print(f"warning: {name}: cut or damaged; everything before that is metered", file=sys.stderr)
    for name, disorder in accounts.disorder.items():
        print(f"warning: {name}: {disorder.told(settings.sensor.reorder_ms)}", file=sys.stderr)
    summary = {
        "files": len(files),
        "packets": accounts.packets,
        "metered": accounts.metered,
        "rejected": dict(sorted(accounts.rejected.items())),
        "flows": rows,
        "end_reasons": dict(sorted(accounts.end_reasons.items())),
        "truncated": accounts.truncated,
        "out_of_order": {name: disorder.summary() for name, disorder in accounts.disorder.items()},
        "skipped": told(found.skipped),
        "failed": told(failed),
        "seconds": round(seconds, 3),
    }
    if label is not None:
        summary["labelled"] = label.found
        if label.found < rows:
            most = "warning: " if label.found * 2 < rows else ""
            print(f"{most}{label.found:,} of {rows:,} flows are in the ground truth {printable(str(labels))}", file=sys.stderr)
    if as_json:
        print(json.dumps(summary), file=sys.stdout if out else sys.stderr)
    else:
        rejected = ", ".join(f"{n:,} {reason}" for reason, n in summary["rejected"].items())  # type: ignore[attr-defined]
        # of a small capture it would tell how long the command takes to start
        rate = f" ({accounts.packets / max(seconds, 1e-9) / 1000:,.0f} kpps)" if accounts.packets >= 100_000 else ""
        where = printable(out) if out is not None else "standard output"
        print(
            f"{rows:,} flows of {accounts.metered:,} packets{rate} -> {where}" + (f"; not metered: {rejected}" if rejected else ""),
            file=sys.stderr,
        )
    if following is not None and following.problem:  # the records are whole, but they are not what was asked for: there is more to follow
        raise CaptureError(following.problem, "the same command again, with another --out, follows the new file")
    raise_unread(found, failed, "metered")


@contextmanager
def _ended() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like SIGINT while inside, so that what is half written is removed."""

    def end(number: int) -> None:
        raise SystemExit(128 + number)

    with handled(partial(end, signal.SIGTERM), [signal.SIGTERM]), handled(partial(end, signal.SIGHUP), [signal.SIGHUP]):
        yield


@contextmanager
def _until_signal(follow: Follow | None) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the following (of a pipe: its reading), the second one the program. On leaving it ends too.

    Must be left before the stage that reads: that waits for its thread, and the thread for the file.
    """
    if follow is None:
        yield
        return

    try:
        with handled(follow.stop.set, once=True):
            yield
    finally:
        follow.abandon()


class _Labels:
    """Labels of records, counted."""

    def __init__(self, labels: Callable[[pa.Table], pa.Array]) -> None:
        self._labels = labels
        self.found = 0

    def __call__(self, records: pa.Table) -> pa.Array:
        found = self._labels(records)
        self.found += len(found) - found.null_count
        return found


def _labeller(path: Path | None) -> _Labels | None:
    if path is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    from jobs.training.truth import KEY, SPAN, Truth

    hint = "it is the Parquet file beside a generated capture"
    if not path.is_file():
        raise CaptureError(f"ground truth {path}: {'no file' if path.exists() else 'no such file'}", hint)
    needed = {*KEY, *SPAN, "label"}
    try:
        with path.open("rb") as file:  # Arrow opens names in UTF-8 alone
            truth = pq.read_table(file)
        if missing := needed - set(truth.column_names):
            raise ConfigError(f"ground truth {path}: columns missing: {', '.join(sorted(missing))}")
        if empty := [name for name in sorted(needed) if truth[name].null_count]:
            raise CaptureError(f"ground truth {path}: column {empty[0]} has {truth[empty[0]].null_count:,} rows without a value", hint)
        return _Labels(Truth(truth).labels)
    except (OSError, pa.ArrowException, ValueError) as e:
        raise CaptureError(f"ground truth {path}: {one_line(e, 200)}", hint) from e


def _to_stdout(batches: Any, label: Callable[[pa.Table], pa.Array] | None) -> int:
    import pyarrow as pa

    from schemas.cicflowmeter import cic_table, csv_table
    from schemas.flows import RECORD_SCHEMA

    rows = 0
    for batch in batches:
        records = pa.Table.from_batches([batch])
        table = csv_table(cic_table(records, label(records) if label else None))
        _print(table, header=rows == 0)
        rows += table.num_rows
    if rows == 0:
        _print(csv_table(cic_table(RECORD_SCHEMA.empty_table())), header=True)
    return rows


def _print(table: pa.Table, *, header: bool) -> None:
    import pyarrow.csv as pacsv

    from jobs.metering.files import reason

    options = pacsv.WriteOptions(include_header=header, quoting_style="needed", quoting_header="none")
    try:
        pacsv.write_csv(table, sys.stdout.buffer, write_options=options)
        sys.stdout.flush()  # of a file that is followed the next records may be long in coming
    except BrokenPipeError:
        raise
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer can go nowhere
        raise CaptureError(f"cannot write to standard output: {reason(e)}", "make room, or name a file with --out") from e


class _Progress:
    """A Rich progress bar over the bytes of all files, on a terminal only."""

    def __init__(self, files: list[Path], quiet: bool) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._before = 0
        self._file: Path | None = None
        self._sizes = {f: os.path.getsize(f) if os.path.exists(f) else 0 for f in files}
        if quiet or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=sum(self._sizes.values()))
        self._bar.start()

    def tick(self, path: Path, done: int, size: int) -> None:
        """``done`` of ``size`` bytes of ``path`` are read."""
        if self._bar is None:
            return
        if path != self._file:
            if self._file is not None:
                self._before += self._sizes[self._file]
            self._file = path
        self._bar.update(self._task, completed=self._before + done, description=printable(path.name))

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
