"""Blocks of a CSV file as records of a type: what every column becomes, and why a line is rejected."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import InputError
from infra.times import micros
from jobs.moving import values
from jobs.moving.cells import FIELDS, Cells, cells
from jobs.moving.columns import ATTACK, CONFIDENCE, LABEL, SENSOR, CsvColumns, names_of, origin_of, same_header
from jobs.moving.csvfile import Block, CsvFile
from jobs.moving.recordids import Occurrences, record_ids
from jobs.moving.times import US, TimeReading, times
from schemas.records import PREDICTION_FIELDS, RecordType

#: 1990 in microseconds: no packet was captured before; a clock that says so was never set.
EARLIEST_US = 631_152_000_000_000
#: How far a clock may be ahead.
AHEAD = timedelta(days=1)
_HEADER = "header"
OLD, FUTURE, NO_TIME = "before 1990", "in the future", "not a time"


@dataclass(frozen=True)
class Reject:
    """A line that became no record: its number in the file, why, and the line itself."""

    line: int
    reason: str
    raw: bytes


@dataclass
class Converted:
    """What a block became.

    Attributes
    ----------
    rows
        Records, columns of the type's published schema; null where a file of these columns says nothing.
    numbers
        For each, the number of its line.
    lines, headers, blank, outside
        Lines; of them headers, lines without anything, and those of another time than was asked for.
    notes
        What was done to values, by how many.
    """

    rows: pa.Table
    numbers: np.ndarray
    rejects: list[Reject]
    lines: int = 0
    headers: int = 0
    blank: int = 0
    outside: int = 0
    notes: Counter[str] = field(default_factory=Counter)


class Converter:
    """Makes records of one file's blocks, in their order.

    Parameters
    ----------
    record
        Type of the records.
    file, columns
        The file, and what its columns are.
    clock
        How its times are read.
    model_version
        What the records say of the model that scored them.
    since, until
        Times outside are left out: from the first, up to but not including the second.

    Raises
    ------
    InputError
        The file lacks columns that cannot be empty.
    """

    def __init__(
        self,
        record: RecordType,
        file: CsvFile,
        columns: CsvColumns,
        clock: TimeReading,
        *,
        model_version: str = "migrated",
        since: datetime | None = None,
        until: datetime | None = None,
        hot: bool = True,
    ) -> None:
        self._record, self._file, self._columns, self._clock = record, file, columns, clock
        self._names = names_of(record)
        self._schema = pa.schema([pa.field(f.name, f.type) for f in record.published])  # what is not known is null
        self._model = model_version
        self._since = -(1 << 62) if since is None else micros(since)
        self._until = 1 << 62 if until is None else micros(until)
        self._occurrences = Occurrences()
        self._inets = {c.source for c in record.hot.columns if record.hot.types[c.name] == "inet"} if record.hot else set()
        rules = record.alerts.labels if record.alerts else ()
        self.benign = next((label.name for label in rules if label.kind == "benign"), "BENIGN")
        if missing := self._missing(hot):
            raise InputError(
                f"CSV file {file.path} has no column for {', '.join(missing[:8])}" + (", ..." if len(missing) > 8 else ""),
                f"its columns: {', '.join(columns.names[:30])}",
            )

    def _missing(self, hot: bool) -> list[str]:
        """Columns that a store will not have empty, and that nothing fills."""
        record, places = self._record, self._columns.places
        filled = {*places, *self._names.defaults, record.key, record.event_time, record.ended, record.final, SENSOR}
        filled |= {f.name for f in PREDICTION_FIELDS} - ({LABEL} if record.features else set())
        wanted = [LABEL] if record.features else []
        if hot and record.hot:
            wanted += [column.source for column in record.hot.columns if "NOT NULL" in column.sql.upper()]
        return [name for name in dict.fromkeys(wanted) if name not in filled]

    def convert(self, block: Block) -> Converted:
        """Records of a block.

        Raises
        ------
        InputError
            The columns change within the file.
        ConfigError
            See :func:`jobs.moving.times.times`.
        """
        if block.before:
            self._look_back(block.before)
        parts = self._cells(block, self._file.bom if block.start == 0 else 0)
        done = Converted(self._schema.empty_table(), np.zeros(0, np.int64), [], len(parts.lines), blank=parts.blank)
        skipped = self._headers(parts, done, block)
        self._rows(parts, done, skipped, block)
        done.rejects += [Reject(block.first_line + i, why, parts.lines[i]) for i, why in parts.rejected.items()]
        done.rejects.sort(key=lambda reject: reject.line)
        return done

    def _cells(self, block: Block, skip: int) -> Cells:
        return cells(block, self._file.delimiter, len(self._columns.names), sorted(set(self._columns.places.values())), skip)

    def _look_back(self, before: bytes) -> None:
        """See the lines before a place where the file is taken up again: twins of theirs may follow."""
        whole = before.partition(b"\n")[2]
        if not whole:
            return
        parts = self._cells(Block(whole, 0, 1, ""), 0)
        us, good = times(self._text(parts, self._record.event_time), self._clock)
        kept = np.flatnonzero(good)
        self._occurrences.numbers([parts.lines[parts.rows[i]] for i in kept], us[kept])

    def _text(self, parts: Cells, column: str) -> pa.Array:
        return parts.table[str(self._columns.places[column])].combine_chunks()

    def _headers(self, parts: Cells, done: Converted, block: Block) -> set[int]:
        """Indices of lines that are headers, the first and those of restarts."""
        header = self._columns.header.encode()
        found = {i for i, line in enumerate(parts.lines) if line == header} if header else set()
        if block.start == 0 and header:
            found.add(next(i for i, line in enumerate(parts.lines) if line.strip()))
        for i in found:
            parts.rejected.pop(i, None)
        done.headers = len(found)
        return found

    def _other_header(self, line: bytes, number: int) -> bool:
        """Whether a line that is no record is a header in another spelling.

        Raises
        ------
        InputError
            It names other columns than the file's first line.
        """
        same = same_header(self._record, line, self._columns, self._file.delimiter)
        if same is False:
            raise InputError(
                f"CSV file {self._file.path}: line {number} begins other columns than the file's first line",
                f"cut the file there (head -n {number - 1}, tail -n +{number}) and give both parts",
            )
        return bool(same)

    def _rows(self, parts: Cells, done: Converted, skipped: set[int], block: Block) -> None:
        record = self._record
        odd = [line for line, why in parts.rejected.items() if why == FIELDS]
        for line in odd:
            if self._other_header(parts.lines[line], block.first_line + line):
                del parts.rejected[line]
                done.headers += 1
        if skipped:
            keep = np.array([int(i) not in skipped for i in parts.rows], bool)
            parts.rows, parts.table = parts.rows[keep], parts.table.filter(pa.array(keep))
        if not len(parts.rows):
            return
        us, good, reasons = self._timed(parts, done, block)
        outside = (reasons == "") & ~((us >= self._since) & (us < self._until))
        done.outside = int(outside.sum())
        # Twins are counted among all lines that have a time, so that an id does not depend on what was asked for.
        timed = np.flatnonzero(good)
        numbers = np.zeros(len(us), np.int64)
        numbers[timed] = self._occurrences.numbers([parts.lines[parts.rows[i]] for i in timed], us[timed])
        columns = self._values(parts, us, reasons, done.notes)
        keep = (reasons == "") & ~outside
        for i in np.flatnonzero((reasons != "") & (reasons != _HEADER) & ~outside).tolist():
            parts.rejected[int(parts.rows[i])] = reasons[i]
        lines = [parts.lines[i] for i in parts.rows[keep]]
        mask = pa.array(keep)
        kept = {name: column.filter(mask) for name, column in columns.items()}
        if record.key not in kept:
            kept[record.key] = record_ids(lines, numbers[keep].tolist(), record.name)
        done.rows = self._table(kept, len(lines))
        done.numbers = block.first_line + parts.rows[keep]

    def _timed(self, parts: Cells, done: Converted, block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times of the rows, which of them are times, and why a row is none (empty: it is one)."""
        name = self._record.event_time
        us, good = times(self._text(parts, name), self._clock)
        reasons = np.full(len(us), "", object)
        reasons[~good] = f"{name}: {NO_TIME}"
        for row in np.flatnonzero(~good).tolist():
            line = int(parts.rows[row])
            if self._other_header(parts.lines[line], block.first_line + line):
                reasons[row] = _HEADER
                done.headers += 1
        reasons[good & (us < EARLIEST_US)] = f"{name}: {OLD}"
        reasons[good & (us > micros(datetime.now(UTC) + AHEAD))] = f"{name}: {FUTURE}"
        return us, good, reasons

    def _values(self, parts: Cells, us: np.ndarray, reasons: np.ndarray, notes: Counter[str]) -> dict[str, pa.Array]:
        """All columns that the file has; rows that have none of a value get a reason."""
        record, found = self._record, {self._record.event_time: pa.array(us).cast(US)}
        for name in self._columns.places:
            if name == record.event_time:
                continue
            text, problems, changed = self._text(parts, name), values.Problems(), 0
            kind = record.published.field(name).type
            if name == LABEL and record.features:
                predicted, attacks = values.labels(text, self.benign, self._names.labels, problems)
                found[LABEL] = pa.array(predicted, kind)
                if ATTACK not in self._columns.places:
                    found[ATTACK] = attacks
            elif name in self._inets:
                found[name] = values.addresses(text, problems, nobody=self._default(name))
            elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
                words = self._names.words.get(name)
                found[name], changed = values.numbers(
                    values.spoken(text, words) if words else text,
                    kind,
                    problems,
                    undefined=self._names.undefined.get(name),
                    bounds=(0.0, 1.0) if name == CONFIDENCE else self._names.bounds.get(name),
                )
            else:
                found[name] = self._other(text, name, kind, problems)
            if changed:
                notes[
                    f"{name}: rounded, or nothing, NaN or infinite (a division by zero) and now {self._names.undefined.get(name, 0):g}"
                ] += changed
            for row, why in problems.items():
                if reasons[row] == "":
                    reasons[row] = f"{name}: {why}"
        return found

    def _other(self, text: pa.Array, name: str, kind: pa.DataType, problems: values.Problems) -> pa.Array:
        text = pc.utf8_trim_whitespace(text)
        if pa.types.is_timestamp(kind):
            us, good = times(text, self._clock)
            problems.update(dict.fromkeys(np.flatnonzero(~good).tolist(), NO_TIME))
            return pa.array(us).cast(kind)
        if pa.types.is_boolean(kind):
            low = pc.utf8_lower(text)
            good = pc.is_in(low, pa.array(["true", "false", "1", "0", "t", "f"])).to_numpy(zero_copy_only=False)
            problems.update(dict.fromkeys(np.flatnonzero(~good).tolist(), "not true or false"))
            return pc.is_in(low, pa.array(["true", "1", "t"]))
        if name == self._record.key:
            good = pc.match_substring_regex(text, r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$").to_numpy(zero_copy_only=False)
            problems.update(dict.fromkeys(np.flatnonzero(~good).tolist(), "not a UUID"))
        return text

    def _default(self, name: str) -> str | None:
        found = self._names.defaults.get(name)
        return None if found is None else str(found)

    def _table(self, columns: dict[str, pa.Array], count: int) -> pa.Table:
        """All columns of the type: those of the file, those that follow from them, and what stands where nothing is known."""
        record = self._record
        schema = record.published
        start = columns[record.event_time]
        fixed = {
            **self._names.defaults,
            SENSOR: origin_of(self._file.path),
            **({record.final: True} if record.final else {}),
            **({"model_version": self._model} if record.features else {}),
        }
        for name, value in fixed.items():
            if name in schema.names and name not in columns:
                columns[name] = pa.repeat(pa.scalar(value, schema.field(name).type), count)
        columns.setdefault(record.ended, start)
        if record.features:
            columns.setdefault(CONFIDENCE, columns[LABEL].cast(pa.float64()))
            columns.setdefault("scored_at", start)
        for name, column in self._names.complete(columns).items():
            if name not in self._columns.places:
                columns[name] = column
        nothing = {f.name: pa.nulls(count, f.type) for f in schema if f.name not in columns}
        return pa.table([{**columns, **nothing}[f.name] for f in schema], schema=self._schema)


def in_future(us: int) -> bool:
    """Whether no clock can have said so yet."""
    return us > micros(datetime.now(UTC) + AHEAD)
