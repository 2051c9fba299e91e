"""A migration of CSV files: each block is converted while the one before it is written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import ConfigError
from jobs.moving.columns import ATTACK, recognise
from jobs.moving.convert import Converted, Converter, Reject
from jobs.moving.csvfile import Block, CsvFile, Position
from jobs.moving.laketarget import LakeTarget
from jobs.moving.rejects import RejectFile
from jobs.moving.report import FileReport, StoreCounts
from jobs.moving.targets import HotTarget, Job, Say, Target, patiently
from jobs.moving.times import Clock
from schemas.records import RecordType

#: Told after every block: the file, bytes of it that are done, all of its bytes (None: not known), rows so far.
Progress = Callable[[Path, int, int | None, int], None]


@dataclass(frozen=True)
class Options:
    """How files are read and where their rows go.

    Parameters
    ----------
    stores
        ``hot``, ``lake`` or both.
    clock
        How times are read.
    layout
        Columns of files without a header.
    model_version
        What the rows say of the model that scored them.
    since, until
        Rows of other times are left out.
    final
        A last line without a line end is taken.
    again
        What earlier runs have noted is not believed: all of each file is read.
    rejects
        Folder of the reject files; None: beside each file.
    patience_s
        Seconds that a store may be away.
    """

    stores: tuple[str, ...] = ("hot",)
    clock: Clock = field(default_factory=Clock)
    layout: str | None = None
    model_version: str = "migrated"
    since: datetime | None = None
    until: datetime | None = None
    final: bool = False
    again: bool = False
    rejects: Path | None = None
    patience_s: float = 300.0

    @property
    def reading(self) -> str:
        """What the rows of a file depend on, but for the file."""
        order = {None: "", True: ", day first", False: ", month first"}[self.clock.day_first]
        return f"time zone {self.clock.zone}{order}"

    @property
    def span(self) -> str:
        """The part of a file that is taken; empty: all of it."""
        return "..".join(moment.isoformat() if moment else "" for moment in (self.since, self.until)) if self.since or self.until else ""


def migrate(
    settings: Settings, record: RecordType, paths: Sequence[Path], options: Options, *, say: Say, progress: Progress
) -> list[FileReport]:
    """Move the rows of CSV files into the stores, one file after the other.

    Parameters
    ----------
    settings
        Where the stores are.
    record
        What the rows become.
    paths
        The files.
    options
        How they are read.
    say, progress
        Told what happens.

    Raises
    ------
    InputError
        A file cannot be read, or is not of these columns; files before it are done.
    StoreError
        A store refuses, is away for too long, or another process is at the same file.
    """
    files = [CsvFile(path, final=options.final) for path in paths]
    for file in files:
        if not file.empty:
            _converter(record, file, options)  # a file that will not do is told before the first is begun
    makers: dict[str, Callable[..., Target]] = {"hot": HotTarget, "lake": LakeTarget}
    targets = [makers[name](settings, record, again=options.again) for name in options.stores]
    for target in targets:
        patiently(partial(target.prepare, say), patience_s=options.patience_s, say=say)
    return [FileMove(record, file, options, targets, say, progress).run() for file in files]


def _converter(record: RecordType, file: CsvFile, options: Options) -> Converter:
    columns = recognise(record, file, options.layout)
    return Converter(
        record,
        file,
        columns,
        options.clock,
        model_version=options.model_version,
        since=options.since,
        until=options.until,
        hot="hot" in options.stores,
    )


class FileMove:
    """One file on its way into the stores."""

    def __init__(
        self, record: RecordType, file: CsvFile, options: Options, targets: Sequence[Target], say: Say, progress: Progress
    ) -> None:
        self._record, self._file, self._options, self._targets = record, file, options, targets
        self._say, self._progress = say, progress
        self._rejects = RejectFile(file.path, options.rejects)
        self._report = FileReport(str(file.path), stores={target.name: StoreCounts() for target in targets})
        self._done: dict[str, int] = {}

    def run(self) -> FileReport:
        """Move it.

        Raises
        ------
        InputError, StoreError
            See :func:`migrate`.
        """
        began, report = time.perf_counter(), self._report
        if self._file.empty:
            self._say(f"{self._file.path}: empty")
            return report
        with ExitStack() as stack:
            positions = [self._begun(target, stack) for target in self._targets]
            start = min(positions, key=lambda position: position.offset if position else 0)
            self._done = {t.name: p.offset if p else 0 for t, p in zip(self._targets, positions, strict=True)}
            converter = _converter(self._record, self._file, self._options)
            report.extra = recognise(self._record, self._file, self._options.layout).extra
            first = True
            for block, converted in _ahead(self._file, converter, start):
                if first:
                    first = False
                    self._resumed(block, start)
                self._write(block, converted)
                size = None if self._file.compression else self._file.size
                self._progress(self._file.path, block.end, size, report.rows)
        report.left_bytes = self._file.left
        report.seconds = time.perf_counter() - began
        report.rejects_file = str(self._rejects.path) if self._rejects.path.exists() else ""
        return report

    def _begun(self, target: Target, stack: ExitStack) -> Position | None:
        job = Job(self._record, self._file.path, self._options.reading, self._options.span)
        stack.callback(target.end)
        position = patiently(lambda: target.begin(job), patience_s=self._options.patience_s, say=self._say)
        if position is None or self._file.holds(position):
            return position
        self._say(f"{self._file.path} is not the file that was read into {target.name} before: it is read from its beginning")
        return None

    def _resumed(self, block: Block, start: Position | None) -> None:
        """Where it goes on."""
        self._report.resumed_at = block.start
        if start and block.start == start.offset:
            self._say(f"{self._file.path}: goes on at byte {start.offset:,}, line {block.first_line:,}")
        self._rejects.begin(block.first_line)

    def _write(self, block: Block, converted: Converted) -> None:
        report, rows = self._report, converted.rows
        position = Position(block.end, block.tail)
        # Before the rows: a line that is rejected must not be lost between the two.
        self._rejects.write(converted.rejects)
        refused: set[int] = set()
        results: dict[str, tuple[int, list[int]]] = {}
        for target in self._targets:
            if self._done[target.name] >= block.end:
                continue
            results[target.name] = patiently(
                partial(target.write, rows, position),
                patience_s=self._options.patience_s,
                say=self._say,
            )
            refused.update(results[target.name][1])
        if refused:
            self._rejects.write(self._refused(block, converted, refused))
        for name, counts in report.stores.items():
            if name in results:
                counts.written += results[name][0]
                counts.there += rows.num_rows - results[name][0] - len(results[name][1])
                counts.refused += len(results[name][1])
            else:
                counts.earlier += rows.num_rows
        self._count(converted, len(refused))

    def _refused(self, block: Block, converted: Converted, refused: set[int]) -> Iterator[Reject]:
        lines = block.data.split(b"\n")
        for place in sorted(refused):
            number = int(converted.numbers[place])
            yield Reject(number, "refused by the database", lines[number - block.first_line].rstrip(b"\r"))

    def _count(self, converted: Converted, refused: int) -> None:
        report, rows = self._report, converted.rows
        report.lines += converted.lines
        report.rows += rows.num_rows - refused
        report.headers += converted.headers
        report.blank += converted.blank
        report.outside += converted.outside
        report.reasons += Counter(reject.reason for reject in converted.rejects)
        if refused:
            report.reasons["refused by the database"] += refused
        report.notes += converted.notes
        if rows.num_rows:
            us = np.asarray(rows[self._record.event_time].combine_chunks().cast(pa.int64()))
            report.first_us = min(int(us.min()), report.first_us if report.first_us is not None else int(us.min()))
            report.last_us = max(int(us.max()), report.last_us if report.last_us is not None else int(us.max()))
            if ATTACK in rows.column_names:
                for found in pc.value_counts(rows[ATTACK]).to_pylist():
                    report.labels[found["values"]] += found["counts"]


def _ahead(file: CsvFile, converter: Converter, start: Position | None) -> Iterator[tuple[Block, Converted]]:
    """Blocks and what they became; while one is in use, the next is made."""
    blocks = file.blocks(start)

    def following() -> tuple[Block, Converted] | None:
        block = next(blocks, None)
        return None if block is None else (block, converter.convert(block))

    with ThreadPoolExecutor(1, thread_name_prefix="convert") as pool:
        ready = pool.submit(following)
        while (made := ready.result()) is not None:
            ready = pool.submit(following)
            yield made


def record_of(records: Sequence[RecordType], name: str | None, *, needs: str) -> RecordType:
    """The record type of that name; without a name the one that says how it lies in CSV files, else the first.

    Raises
    ------
    ConfigError
        There is none.
    """
    fitting = [record for record in records if getattr(record, needs) is not None]
    chosen = [record for record in fitting if record.name == name] if name else [r for r in fitting if r.csv] or fitting
    if not chosen:
        known = ", ".join(record.name for record in fitting) or "none"
        raise ConfigError(f"--record {name!r}: no record type of that name is kept there", f"one of: {known}")
    return chosen[0]
