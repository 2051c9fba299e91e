"""Alerts of an SQLite database (``id, timestamp, src_ip, action, details``) as rows of the table ``alerts``.

The id of a row follows from its content, so a second run, or one of a copy, finds what is there. Nobody is told of old alerts:
no message goes to the topic.
"""

from __future__ import annotations

import ast
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pyarrow as pa
from psycopg2.extras import execute_values

from infra.config import Settings
from infra.errors import InputError, one_line
from jobs.moving.columns import origin_of
from jobs.moving.convert import EARLIEST_US, FUTURE, OLD, Reject, in_future
from jobs.moving.rejects import RejectFile
from jobs.moving.report import shown
from jobs.moving.targets import Say, patiently
from jobs.moving.times import TimeReading, times
from jobs.moving.values import ATTACK, NO_ADDRESS
from jobs.sinks import alerts, postgres
from jobs.sinks.addresses import packed
from jobs.sinks.migrations import migrate
from schemas.alerts import TABLE, WRITTEN, WRITTEN_TYPES, alert_id, severity
from schemas.records import RecordType

_COLUMNS = ("id", "timestamp", "src_ip", "action", "details")
_BATCH = 5000
#: What SQLite calls a row's place, where no column has the name.
_PLACES = ("rowid", "_rowid_", "oid")
#: Before any rowid.
_FIRST = -(1 << 63)
#: Seconds that whoever writes the database may hold it.
BUSY_S = 5.0
#: Where ``details`` may say what kind of attack it was, how sure the model was, whom it hit.
_TYPES = ("attack_type", "attack", "type", "label", "prediction", "rule")
_CONFIDENCES = ("confidence", "confidence_score", "probability", "score")
_TARGETS = ("dst_ip", "destination_ip", "dst", "target", "target_ip", "destination")
#: Of how many flows an alert of another system is, is not known: for its severity neither one nor many.
_SOME_FLOWS = 2
_WORDS = {"low": 1, "minor": 2, "medium": 3, "high": 4, "critical": 5}


@dataclass
class AlertsReport:
    """What became of the rows of a database."""

    path: str
    rows: int = 0
    written: int = 0
    there: int = 0
    first_us: int | None = None
    last_us: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    attacks: Counter[str] = field(default_factory=Counter)
    rejects_file: str = ""

    @property
    def closes(self) -> bool:
        """Every row is accounted for."""
        return self.rows == self.written + self.there + sum(self.reasons.values())

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": self.path,
            "rows": self.rows,
            "written": self.written,
            "already_there": self.there,
            "rejected": sum(self.reasons.values()),
            "rejected_by_reason": dict(self.reasons),
            "rejects_file": self.rejects_file,
            "first": shown(self.first_us),
            "last": shown(self.last_us),
            "actions": dict(self.actions),
            "attack_types": dict(self.attacks),
            "closes": self.closes,
        }


def batches_of(path: Path) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of the table ``alerts``, their place first; the database is opened for reading only, and may be in use.

    Between two batches it is not locked: whoever writes it does not wait for PostgreSQL.

    Raises
    ------
    InputError
        There is no such file, or it is no SQLite database, has no such table, is locked or damaged.
    """
    if not path.is_file():
        raise InputError(f"SQLite database {path}: {'is a folder' if path.is_dir() else 'no such file'}", "check the name")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=BUSY_S)) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
            there = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({TABLE})")]
            if missing := [name for name in _COLUMNS if name not in there]:
                said = f"its columns are {', '.join(there)}" if there else f"it has no table {TABLE}"
                raise InputError(f"SQLite database {path}: no column {missing[0]}: {said}", f"expected: {', '.join(_COLUMNS)}")
            yield from _read(connection, {name.lower() for name in there})
    except sqlite3.Error as e:
        said = one_line(e)
        if "locked" in said or "busy" in said:
            hint = "whoever writes it holds it: try again when it is quieter, or copy it: sqlite3 FILE '.backup COPY'"
        elif "unable to open" in said:
            hint = "check the right to read it, and, of a database in WAL mode, to write into its folder"
        else:
            hint = "it is damaged, or no SQLite database; what can be saved of it: sqlite3 FILE .recover"
        raise InputError(f"SQLite database {path} cannot be read: {said}", hint) from e


def _read(connection: sqlite3.Connection, columns: set[str]) -> Iterator[list[tuple[Any, ...]]]:
    names = ", ".join(_COLUMNS)
    table = connection.execute("SELECT 1 FROM pragma_table_list WHERE name = ? COLLATE NOCASE AND type = 'table' AND NOT wr", (TABLE,))
    place = next((name for name in _PLACES if name not in columns), None)
    if not table.fetchone() or place is None:  # a view, or a table WITHOUT ROWID: in one go
        rows = connection.execute(f"SELECT 0, {names} FROM {TABLE}")
        count = 0
        while batch := rows.fetchmany(_BATCH):
            yield [(count + n, *row[1:]) for n, row in enumerate(batch, 1)]
            count += len(batch)
        return
    wanted, last = f"SELECT {place}, {names} FROM {TABLE} WHERE {place} > ? ORDER BY {place} LIMIT {_BATCH}", _FIRST
    while batch := connection.execute(wanted, (last,)).fetchall():
        last = batch[-1][0]
        yield batch


def move(
    settings: Settings,
    record: RecordType,
    path: Path,
    clock: TimeReading,
    *,
    resolved_by: str,
    rejects: Path | None,
    patience_s: float,
    say: Say,
) -> AlertsReport:
    """Move the alerts of a database into the table ``alerts``.

    Parameters
    ----------
    settings
        Where the table is.
    record
        The record type that the alerts are about.
    path
        The SQLite database.
    clock
        How times without a zone are read.
    resolved_by
        Who has resolved them all; empty: they stay open.
    rejects
        Folder of the reject file; None: beside the database.
    patience_s
        Seconds that PostgreSQL may be away.
    say
        Told what happens.

    Raises
    ------
    InputError
        See :func:`batches_of`; or the reject file cannot be written.
    StoreError
        PostgreSQL refuses, or is away for too long.
    """
    report, refused = AlertsReport(str(path)), RejectFile(path, rejects)
    reading = batches_of(path)
    batch = next(reading, [])  # what cannot be read is told before anything is made
    patiently(lambda: migrate(alerts.component(settings), say), patience_s=patience_s, say=say)
    refused.begin(0)
    while batch:
        made, bad = _converted(batch, record, path, clock)
        refused.write(bad)
        written = patiently(lambda rows=made: _write(settings, rows, resolved_by), patience_s=patience_s, say=say)  # type: ignore[misc]
        report.rows += len(batch)
        report.written += written
        report.there += len(made) - written
        report.reasons += Counter(reject.reason for reject in bad)
        for row in made:
            report.actions[row["action_taken"]] += 1
            report.attacks[row["attack_type"]] += 1
            report.first_us = min(row["us"], report.first_us if report.first_us is not None else row["us"])
            report.last_us = max(row["us"], report.last_us if report.last_us is not None else row["us"])
        batch = next(reading, [])
    report.rejects_file = str(refused.path) if refused.path.exists() else ""
    return report


def _converted(
    batch: Sequence[tuple[Any, ...]], record: RecordType, path: Path, clock: TimeReading
) -> tuple[list[dict[str, Any]], list[Reject]]:
    us, good = times(pa.array([str(row[2] if row[2] is not None else "") for row in batch], pa.string()), clock)
    made, bad = [], []
    for row, moment, timed in zip(batch, us.tolist(), good.tolist(), strict=True):
        why = _problem(row, moment, timed)
        if why:
            bad.append(Reject(int(row[0]), why, json.dumps(row[1:], default=str).encode()))
        else:
            made.append(_alert(row, moment, record, path))
    return made, bad


def _problem(row: tuple[Any, ...], us: int, timed: bool) -> str:
    if not timed:
        return "timestamp: not a time"
    if us < EARLIEST_US:
        return f"timestamp: {OLD}"
    if in_future(us):
        return f"timestamp: {FUTURE}"
    if _address(row[3]) is None:
        return f"src_ip: {NO_ADDRESS}"
    return next((f"{name}: not a text" for name, value in (("action", row[4]), ("details", row[5])) if isinstance(value, bytes)), "")


def _address(value: Any) -> str | None:
    text = str(value or "").strip()
    try:
        packed(text)
    except ValueError:
        return None
    return text


def _alert(row: tuple[Any, ...], us: int, record: RecordType, path: Path) -> dict[str, Any]:
    place, number, timestamp, src_ip, action, text = row
    # Without an id the place tells twins apart; a copy of the database has them at the same places.
    name = f"place {place}" if number is None else number
    details = _details(text)
    labels = record.alerts.by_name if record.alerts else {}
    known = record.csv.labels if record.csv else {}
    said = _word(_first(details, _TYPES))
    attack = known.get(said.lower(), said) or ATTACK
    confidence = _number(_first(details, _CONFIDENCES))
    return {
        "id": str(alert_id(f"migrated|{name}|{timestamp}|{src_ip}|{action}|{text}")),
        "us": us,
        "src_ip": _address(src_ip),
        "dst_ip": _address(_first(details, _TARGETS)),
        "attack_type": attack,
        "severity": _severity(details) or severity(attack, 1.0 if confidence is None else confidence, _SOME_FLOWS, labels),
        "confidence": 0.0 if confidence is None else confidence,
        "details": json.dumps(
            {**details, "migrated": {"file": path.name, "id": _storable(number), "confidence_known": confidence is not None}}
        ),
        "action_taken": _storable(str(action or "").strip()) or "none",
        "record_type": record.name,
        "sensor_id": origin_of(path),
    }


def _word(value: Any) -> str:
    """A name; what is a list or an object of JSON names nothing."""
    return str(value).strip() if isinstance(value, str | int | float) else ""


def _details(text: Any) -> dict[str, Any]:
    """JSON, or a Python dictionary as ``str`` writes it; other text is kept as ``text``."""
    if text is None or not str(text).strip():
        return {}
    for read in (_json, ast.literal_eval):
        try:
            found = read(str(text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict):
            return json.loads(json.dumps(_storable(found), default=str))  # type: ignore[no-any-return]
    return {"text": _storable(str(text))}


def _json(text: str) -> Any:
    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def _storable(value: Any) -> Any:
    """Without what ``jsonb`` does not hold: the character 0, lone surrogates."""
    if isinstance(value, str):
        return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value if isinstance(value, int | bool | type(None)) or (isinstance(value, float) and value - value == 0) else str(value)


def _first(details: Mapping[str, Any], names: Sequence[str]) -> Any:
    low = {key.lower(): value for key, value in details.items()}
    return next((low[name] for name in names if low.get(name) not in (None, "")), None)


def _number(value: Any) -> float | None:
    """A probability, also as ``97%`` or 97."""
    try:
        found = float(str(value).strip().removesuffix("%"))
    except ValueError:
        return None
    found = found / 100 if str(value).strip().endswith("%") or 1 < found <= 100 else found
    return found if 0 <= found <= 1 else None


def _severity(details: Mapping[str, Any]) -> int | None:
    value = str(_first(details, ("severity", "level", "priority")) or "").strip().lower()
    number = int(value) if value.isdigit() and len(value) < 3 else _WORDS.get(value, 0)
    return number if 1 <= number <= 5 else None


def _write(settings: Settings, rows: Sequence[Mapping[str, Any]], resolved_by: str) -> int:
    if not rows:
        return 0
    names = (*WRITTEN, "action_taken", "resolved_at", "resolved_by")
    types = {**WRITTEN_TYPES, "action_taken": "text", "resolved_at": "timestamptz", "resolved_by": "text"}
    lines = []
    for row in sorted(rows, key=lambda row: str(row["id"])):
        moment = shown_exactly(row["us"])
        values = {
            **row,
            "timestamp": moment,
            "first_seen": moment,
            "last_seen": moment,
            "kind": "per-flow",
            "domain": "migrated",
            "model_version": "migrated",
            "flow_count": 1,
            "notified_severity": row["severity"],  # nobody is to be told of it
            "resolved_at": moment if resolved_by else None,
            "resolved_by": resolved_by or None,
        }
        lines.append(tuple(values[name] for name in names))
    connection = postgres.kept(settings.alerts, "flowlake-migrate")
    template = "(" + ", ".join(f"%s::{types[name]}" for name in names) + ")"
    try:
        with connection, connection.cursor() as cursor:
            done = execute_values(
                cursor,
                f"INSERT INTO {TABLE} ({', '.join(names)}) VALUES %s ON CONFLICT (id) DO NOTHING RETURNING 1",
                lines,
                template,
                page_size=len(lines),
                fetch=True,
            )
    except psycopg2.Error as e:
        postgres.discard(connection)
        raise postgres.classify(e, settings.alerts) from e
    return len(done)


def shown_exactly(us: int) -> str:
    """A time with its microseconds, as PostgreSQL reads it."""
    return str(pa.scalar(us, pa.timestamp("us", tz="UTC")).as_py().isoformat())
