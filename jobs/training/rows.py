"""Records of any table as labelled rows: which columns are features, which label, day, host and age; what is dropped, and why."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import ModelError, one_line
from infra.names import printable
from jobs.scoring.matrix import Records
from jobs.training import labelwords
from jobs.training.cic import label_name, wrong_in
from jobs.training.labelled import LabelledFlows
from jobs.training.sampling import HashedRows, mixed
from schemas.features import FEATURES, REDUNDANT_FEATURES
from schemas.labels import BENIGN
from schemas.records import RecordType

_NAN, _UNLABELLED = "with NaN or infinity in a feature", "without a label"
_TIMES = ("Timestamp", "timestamp")
#: Labels that records have at most: each attack is a class, and left out in turn, a training each.
MOST_LABELS = 500
#: Column of the version of the features' meaning.
VERSION = "feature_version"


def candidates(record: RecordType) -> tuple[str, ...]:
    """Features of a record type that a model may choose from: duplicates of others left out.

    Raises
    ------
    ModelError
        Records of this type are not scored.
    """
    if record.features is None:
        raise ModelError(f"records of type {record.name} are not scored: there is nothing to train", "name another with --record")
    return tuple(name for name in record.features.names if name not in REDUNDANT_FEATURES)


@dataclass
class RowReader:
    """Turns tables of one schema into labelled rows, and counts what it drops.

    Parameters
    ----------
    record : RecordType
        What the rows are.
    schema : pa.Schema
        Of the tables.
    origin : str
        The file or table, for messages.
    seed : int
        Of the rows' hashes.

    Raises
    ------
    ModelError
        Feature columns are missing, or there twice (named).
    """

    record: RecordType
    schema: pa.Schema
    origin: str
    seed: int = 7
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._words: set[str] = set()
        self._at, self.features = self._sources()
        names = self.record.alerts.columns if self.record.alerts else {}
        self._start = self._find(self.record.event_time, *_TIMES)
        self._end, self._host = self._find(self.record.ended), self._find(names.get("src_ip", "src_ip"))
        self._final = self._find(self.record.final) if self.record.final else None
        self._key = self._find(self.record.key, other=False)
        self._duration = self._find("flow_duration")
        labelwords.once(self.schema.names, self.columns, self.origin)
        if self._start is None:
            self.notes.append("no Timestamp column: no split by day")

    @property
    def columns(self) -> list[str]:
        """Names of the columns that are looked at."""
        wanted = {*self._at, self._start, self._end, self._host, self._final, self._key, self._duration}
        return [name for name in self.schema.names if name in wanted]

    @property
    def numbers(self) -> list[str]:
        """Names of the columns that must be numbers."""
        return [*self._at, *([self._duration] if self._duration is not None and self._duration not in self._at else [])]

    def rows(self, table: Records, labels: pa.Array | pa.ChunkedArray) -> HashedRows:
        """The usable ones of the table's n rows, by their labels string[n].

        Raises
        ------
        ModelError
            A feature is no number; a label is all but ``BENIGN``, and would be taken for an attack; there are too many labels.
        """
        known = pc.is_valid(labels)
        if unlabelled := table.num_rows - int(pc.sum(known).as_py() or 0):  # of most flows of a lake nobody has said anything
            self.dropped[_UNLABELLED] += unlabelled
            table, labels = table.filter(known), labels.filter(known)
        n = table.num_rows
        x, finite = self._matrix(table)
        y = self._labels(labels)
        labelled = y != ""
        self.dropped[_NAN] += int((~finite).sum())
        self.dropped[_UNLABELLED] += int((finite & ~labelled).sum())
        start = self._time(table, self._start)
        closed = np.ones(n, bool)
        if self._final is not None:
            try:
                final = table.column(self._final).cast(pa.bool_())
            except pa.ArrowException as e:
                hint = "write true and false, or leave the column out"
                raise ModelError(f"{self.origin}: column {self._final}: {one_line(e, 120)}", hint) from e
            closed = final.fill_null(True).to_numpy(zero_copy_only=False).astype(bool)
        host = np.full(n, "")
        if self._host is not None:
            host = np.array([printable(str(v)) if v is not None else "" for v in table.column(self._host).to_pylist()], dtype=str)
        flows = LabelledFlows(x, self.features, y, self._days_of(table), closed, host, self._age(table, start))
        return HashedRows(flows, self._ids(table)).where(finite & labelled)

    def said(self) -> list[str]:
        """What was dropped and noticed, a line each."""
        counts = [f"{count:,} rows dropped {what}" for what, count in sorted(self.dropped.items()) if count and what in (_NAN, _UNLABELLED)]
        others = [f"{count:,} {what}" for what, count in sorted(self.dropped.items()) if count and what not in (_NAN, _UNLABELLED)]
        return [*dict.fromkeys(self.notes), *counts, *others]

    def _find(self, *names: str, other: bool = True) -> str | None:
        """The column of one of these names, or of what other systems call the first."""
        for name in names:
            if name in self.schema.names:
                return name
        if not other or self.record.csv is None:
            return None
        canonical = self.record.csv.canonical
        known = {canonical(name) for name in (names[0], *self.record.csv.others.get(names[0], ()))}
        return next((name for name in self.schema.names if canonical(name) in known), None)

    def _sources(self) -> tuple[list[str], tuple[str, ...]]:
        """Columns of the table to read, and the features they are."""
        wanted = candidates(self.record)
        own = sum(name in self.schema.names for name in wanted)
        found = {name: self._find(name) for name in wanted}
        if self.record.csv is not None and sum(column is not None for column in found.values()) > own:
            wrong = wrong_in(self.schema.names)
            if out := [name for name in wanted if name in wrong]:
                self.notes.append("left out, known to be wrong in such files: " + ", ".join(sorted(self._cic(name) for name in out)))
            usable = _usable_of_cic(wanted, wrong)
            found = {name: column for name, column in found.items() if name in usable}
            if layout := self._layout({name for name, column in found.items() if column is not None}):
                self.notes.append(f"a file of {len(layout)} features: models of it read no others")
                found = {name: column for name, column in found.items() if column is not None}
        missing = [self._cic(name) if not own else name for name, column in found.items() if column is None]
        if missing:
            shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
            hint = (
                "names are those of CICFlowMeter or of schemas/features.py" if self.record.csv else f"records of type {self.record.name}?"
            )
            raise ModelError(f"{self.origin}: missing columns {shown}", hint)
        return [column for column in found.values() if column is not None], tuple(found)

    def _layout(self, have: set[str]) -> set[str]:
        """The features of a known layout that a file holds exactly; empty of any other."""
        assert self.record.csv is not None
        usable = _usable_of_cic(candidates(self.record), wrong_in(self.schema.names))
        layouts = [set(layout) & usable for layout in self.record.csv.layouts.values()]
        return next((layout for layout in layouts if layout == have), set())

    def _cic(self, name: str) -> str:
        others = self.record.csv.others.get(name, ()) if self.record.csv else ()
        return others[0] if others else name

    def _matrix(self, table: Records) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        x = np.empty((table.num_rows, len(self.features)), np.float32)
        for j, name in enumerate(self._at):
            column = table.column(name)
            kind = column.type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)):
                raise ModelError(f"{self.origin}: column {name} is {kind}, not a number", "write the column as numbers")
            with np.errstate(over="ignore"):
                x[:, j] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)  # null becomes NaN
        finite = np.isfinite(x)
        for j in np.flatnonzero(~finite.all(axis=0)).tolist():
            self.dropped[f"rows with NaN or infinity in {self._at[j]}"] += int((~finite[:, j]).sum())
        return x, np.asarray(finite.all(axis=1))

    def _labels(self, labels: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.str_]:
        """Names of labels, "" where there is none."""
        said = labelwords.words(labels, self.origin)
        if (odd := labelwords.unknown(said)).any():
            self.dropped[f"rows {labelwords.LEFT_OUT}"] += int(odd.sum())
            said = np.where(odd, "", said)
        unique, index = np.unique(said, return_inverse=True)
        self._words.update(unique.tolist())
        if len(self._words) > MOST_LABELS:
            some = ", ".join(repr(printable(word[:20])) for word in sorted(self._words - {""})[:3])
            raise ModelError(
                f"{self.origin}: more than {MOST_LABELS} different labels, such as {some}",
                "a label is benign or a kind of attack, of which there are few: is that column something else?",
            )
        return np.array([self._name(v, int((index == i).sum())) for i, v in enumerate(unique.tolist())], dtype=str)[index]

    def _name(self, said: str, count: int) -> str:
        if not said:
            return ""
        name, note = label_name(said)
        if note:
            self.dropped[note] += count
        known = self.record.alerts.by_name if self.record.alerts else {}
        called = self.record.csv.labels if self.record.csv else {}
        if name != BENIGN and name not in known and called.get(name.lower()) not in known:
            if difflib.get_close_matches(name.upper(), [BENIGN], 1, 0.8):
                raise ModelError(f"{self.origin}: label {said[:50]!r} of {count:,} rows: did you mean {BENIGN}?", "it would be an attack")
            near = difflib.get_close_matches(name.upper(), list(known), 1, 0.8)
            self.notes.append(
                f"label {printable(name[:60])!r} is no attack type that is declared: a class of its own"
                + (f" (did you mean {near[0]}?)" if near else "")
            )
        return name

    def _time(self, table: Records, name: str | None) -> npt.NDArray[np.int64] | None:
        if name is None or not pa.types.is_timestamp(table.column(name).type):
            return None
        return np.asarray(table.column(name).cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64()).fill_null(0).to_numpy())

    def _age(self, table: Records, start: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
        """Seconds from the first to the last observation."""
        end = self._time(table, self._end) if self._end != self._start else None
        if start is not None and end is not None:
            return np.maximum((end - start) / 1e6, 0).astype(np.float32)
        if self._duration is not None and self._duration in table.schema.names:
            us = table.column(self._duration).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            return np.maximum(np.nan_to_num(us / 1e6, posinf=0.0), 0).astype(np.float32)
        return np.zeros(table.num_rows, np.float32)

    def _days_of(self, table: Records) -> npt.NDArray[np.str_]:
        """Date (UTC) of every record, "" where the table gives no time."""
        none = np.full(table.num_rows, "", dtype="U10")
        if self._start is None:
            return none
        column = table.column(self._start)
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            column = pc.strftime(column, format="%Y-%m-%d")
        days = np.array([str(v or "")[:10] for v in column.to_pylist()], dtype="U10")
        if not all(len(d) == 10 and d[4] == d[7] == "-" for d in np.unique(days).tolist() if d):
            self.notes.append(f"column {self._start} is not in the form YYYY-MM-DD: no split by day")
            return none
        return days

    def _ids(self, table: Records) -> npt.NDArray[np.uint64]:
        """A hash of what a row is one of: its key and, as a record may be seen more than once while it is open, its end; else all of it."""
        if self._key is None:
            return self._hashes(table, self.columns)
        found = self._hashes(table, [self._key], self._time(table, self._end))
        said = table.column(self._key).cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)
        if (nameless := np.array([not str(key).strip() for key in said], dtype=bool)).any():  # they are not one record for that
            found[nameless] = self._hashes(table, self.columns)[nameless]
        return found

    def _hashes(self, table: Records, names: Sequence[str], end: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.uint64]:
        data = {name: table.column(name).to_pandas() for name in names}
        if end is not None:
            data["end"] = pd.Series(end)  # a number: the unit of the column's times does not matter
        return mixed(pd.util.hash_pandas_object(pd.DataFrame(data), index=False).to_numpy(np.uint64), self.seed)


def _usable_of_cic(names: Sequence[str], wrong: frozenset[str]) -> set[str]:
    """Those that files with CICFlowMeter's names have, and have right."""
    return set(names) & {feature.name for feature in FEATURES} - wrong


def label_column(names: Sequence[str], origin: str) -> str:
    """The column that holds the labels of a file.

    Raises
    ------
    ModelError
        There is none, or more than one; what a model has said is none.
    """
    if found := [name for name in names if name.strip().lower() == "label"]:
        if len(found) > 1:
            raise ModelError(f"{origin}: {len(found)} columns {', '.join(found)}", "which one holds the truth? leave out the others")
        return found[0]
    said = next((name for name in names if name.strip().lower().replace(" ", "_") in ("predicted_label", "prediction", "attack_type")), "")
    if said:
        raise ModelError(
            f"{origin}: no Label column; {said} is what a model has said, not what is true",
            "add a column Label, or move the rows into the lake (flowlake migrate csv) and label them: flowlake labels export",
        )
    raise ModelError(f"{origin}: no Label column", "labels of a truth table are joined to a lake's records with --labels truth.parquet")


def current(records: pa.RecordBatch, reader: RowReader) -> pa.RecordBatch:
    """The records of this program's version of the features; the others are counted."""
    if VERSION not in records.schema.names or reader.record.features is None:
        return records
    same = pc.fill_null(pc.equal(records.column(VERSION).cast(pa.string()), reader.record.features.version), False)
    if others := records.num_rows - int(pc.sum(same).as_py() or 0):
        reader.dropped[f"rows dropped of another feature-schema version than {reader.record.features.version}"] += others
        records = records.filter(same)
    return records
