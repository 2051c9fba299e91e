"""``flowlake meter``: capture files in, flow records out, without Kafka and without Spark."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config
from infra.console.options import ConfFile, Json
from infra.errors import CaptureError, ModelError, one_line
from infra.names import printable
from infra.plurals import counted
from jobs.captures.arguments import DASH, Captures, capture_path, raise_unread, tell_unread, waiting
from jobs.captures.truth import HINT, read_truth
from jobs.sources.packets.commands.metering import MeterJob
from jobs.sources.packets.commands.options import FollowTimeout, Sort, follow_one

if TYPE_CHECKING:
    import pyarrow as pa


Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", parser=capture_path, help="flows.csv, flows.csv.gz or flows.parquet; default, or -: CSV to stdout."),
]


def meter(
    captures: Captures,
    out: Out = None,
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
    from jobs.metering.batch import Accounts
    from sensors.packets.files import find_captures

    settings = config.load(conf_file)
    following = follow_one(captures, follow, follow_timeout, sort=sort)
    found = find_captures(captures)
    pipe = waiting(found)
    job = MeterJob(settings, found, None if out == DASH else out, sensor, following, pipe, sort, Accounts())
    job.check(labels)
    label = _labeller(labels)
    if following is not None and not as_json:
        yet = "" if os.path.exists(found.files[0]) else ", which is not there yet"
        print(f"following {printable(found.files[0])}{yet}; Ctrl-C ends it", file=sys.stderr)
    quiet = as_json or follow or pipe is not None or (job.out is None and sys.stdout.isatty())
    began = time.monotonic()
    progress = _Progress(found.files, quiet=quiet)
    try:
        rows = job.run(label, progress.tick)
    finally:
        progress.end()
        tell_unread(found.skipped, job.failed)
    seconds = time.monotonic() - began
    job.warn()
    summary = job.summary(rows, seconds)
    if label is not None:
        summary["labelled"] = label.found
        label.tell(rows, labels)
    if as_json:
        print(json.dumps(summary), file=sys.stdout if job.out else sys.stderr)
    else:
        print(job.told(rows, seconds), file=sys.stderr)
    if following is not None and following.problem:  # the records are whole, but they are not what was asked for: there is more to follow
        raise CaptureError(following.problem, "the same command again, with another --out, follows the new file")
    raise_unread(found, job.failed, "metered")


class _Labels:
    """Labels of records, counted."""

    def __init__(self, labels: Callable[[pa.Table], pa.Array]) -> None:
        self._labels = labels
        self.found = 0

    def __call__(self, records: pa.Table) -> pa.Array:
        found = self._labels(records)
        self.found += len(found) - found.null_count
        return found

    def tell(self, rows: int, truth: Path | None) -> None:
        """Say so when not all of the ``rows`` records are in the ground truth."""
        if self.found < rows:
            most = "warning: " if self.found * 2 < rows else ""
            print(f"{most}{self.found:,} of {rows:,} flows are in the ground truth {printable(str(truth))}", file=sys.stderr)


def _labeller(path: Path | None) -> _Labels | None:
    if path is None:
        return None
    import pyarrow as pa

    from jobs.training.truth import KEY, SPAN, Truth

    table = read_truth(path, {*KEY, *SPAN, "label"})
    try:
        truth = Truth(table)
    except (pa.ArrowException, ValueError, ModelError) as e:
        raise CaptureError(f"ground truth {path}: {one_line(e, 200)}", HINT) from e
    if truth.left_out:
        print(f"warning: {counted(truth.left_out, 'row')} of the ground truth left out: ending before they begin", file=sys.stderr)
    return _Labels(truth.labels)


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
