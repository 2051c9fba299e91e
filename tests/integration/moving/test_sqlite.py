"""Alerts of an SQLite database into the table of alerts."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.moving import alertsdb
from tests.integration.moving.conftest import Mover
from tests.integration.sinkbench import run as sql

pytestmark = pytest.mark.integration
SCHEMA = (
    "CREATE TABLE alerts (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, src_ip TEXT NOT NULL, "
    "action TEXT NOT NULL, details TEXT)"
)
T = "2025-12-18T10:00:00"


def made(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(SCHEMA)
        connection.executemany("INSERT INTO alerts (timestamp, src_ip, action, details) VALUES (?, ?, ?, ?)", rows)
    return path


GIVEN = [
    (
        f"{T}.250000",
        "192.0.2.1",
        "BLOCKED",
        json.dumps({"attack_type": "DoS Hulk", "confidence": 0.97, "dst_ip": "10.0.0.9"}),
    ),
    (T, "2001:db8::7", "LOGGED", None),
    (f"{T}+02:00", "192.0.2.3", "LOGGED", "{'confidence': '88%', 'severity': 'critical', 'x': (1, 2)}"),
    (T, "192.0.2.4", "WHITELISTED", "a note with a \0 and no JSON"),
    (T, "192.0.2.5", "", '{"confidence": NaN, "attack": "Portscan"}'),
]


def test_rows_become_alerts_once(mover: Mover, tmp_path: Path) -> None:
    file = made(tmp_path / "alerts.db", GIVEN)
    told = mover.told("sqlite", file)
    assert (told["rows"], told["written"], told["rejected"], told["closes"]) == (5, 5, 0, True)
    found = sql(
        mover.settings.alerts,
        "SELECT timestamp, host(src_ip), host(dst_ip), action_taken, attack_type, severity, round(confidence::numeric, 2)::float, "
        "resolved_at, record_type, details - 'migrated' FROM alerts ORDER BY (details->'migrated'->>'id')::int",
    )
    at = datetime(2025, 12, 18, 10, tzinfo=UTC)
    assert [row[:9] for row in found] == [
        (at.replace(microsecond=250_000), "192.0.2.1", "10.0.0.9", "BLOCKED", "HTTP_FLOOD", 4, 0.97, None, "flows"),
        (at, "2001:db8::7", None, "LOGGED", "ATTACK", 3, 0.0, None, "flows"),
        (at.replace(hour=8), "192.0.2.3", None, "LOGGED", "ATTACK", 5, 0.88, None, "flows"),
        (at, "192.0.2.4", None, "WHITELISTED", "ATTACK", 3, 0.0, None, "flows"),
        (at, "192.0.2.5", None, "none", "ATTACK", 3, 0.0, None, "flows"),
    ]
    assert found[2][9] == {"confidence": "88%", "severity": "critical", "x": [1, 2]}
    assert found[3][9] == {"text": "a note with a \\0 and no JSON"}
    assert sql(mover.settings.alerts, "SELECT count(*) FROM alert_outbox") == [(0,)], "nobody is told of old alerts"
    copy = tmp_path / "copy.db"
    copy.write_bytes(file.read_bytes())
    for again in (file, copy):
        told = mover.told("sqlite", again)
        assert (told["written"], told["already_there"]) == (0, 5)


def test_resolved_and_in_use(mover: Mover, tmp_path: Path) -> None:
    file = tmp_path / "alerts.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute(SCHEMA)
        live.execute("INSERT INTO alerts (timestamp, src_ip, action, details) VALUES (?, ?, ?, ?)", GIVEN[0])
        live.execute("BEGIN IMMEDIATE")
        live.execute("INSERT INTO alerts (timestamp, src_ip, action, details) VALUES (?, ?, ?, ?)", GIVEN[1])
        assert mover.told("sqlite", file, "--resolved-by", "anna")["written"] == 1
        live.execute("COMMIT")
        assert mover.told("sqlite", file)["written"] == 1
    assert sql(mover.settings.alerts, "SELECT resolved_by, resolved_at = timestamp FROM alerts ORDER BY resolved_by NULLS LAST") == [
        ("anna", True),
        (None, None),
    ]


def test_twins_without_an_id_and_what_is_no_text(mover: Mover, tmp_path: Path) -> None:
    """Each once, also the second time and from a copy; blobs are refused, a NUL is written out, JSON that names no type is none."""
    file = tmp_path / "alerts.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE alerts (id, timestamp, src_ip, action, details)")
        rows = [*[(None, T, "192.0.2.1", "LOGGED", "{}")] * 3, (b"\xff", T, "192.0.2.2", "a\0b", '{"attack_type": {"x": 1}}'),
                (5, T, "192.0.2.3", b"\xff\0", None), (6, T, "192.0.2.3", "LOGGED", b"\xff")]  # fmt: skip
        connection.executemany("INSERT INTO alerts VALUES (?, ?, ?, ?, ?)", rows)
    told = mover.told("sqlite", file)
    assert (told["written"], told["already_there"], told["rejected_by_reason"], told["closes"]) == (
        4, 0, {"action: not a text": 1, "details: not a text": 1}, True,
    )  # fmt: skip
    (tmp_path / "copy.db").write_bytes(file.read_bytes())
    assert mover.told("sqlite", tmp_path / "copy.db")["written"] == 0
    assert sql(mover.settings.alerts, "SELECT action_taken, attack_type FROM alerts WHERE host(src_ip) = '192.0.2.2'") == [
        ("a\\0b", "ATTACK")
    ]


def test_rows_that_are_no_alerts_are_kept(mover: Mover, tmp_path: Path) -> None:
    bad = [
        ("when?", "192.0.2.1", "LOGGED", None),
        (T, "localhost", "LOGGED", "{}"),
        ("0001-01-01T00:00:00", "192.0.2.1", "LOGGED", None),
        ("2999-01-01T00:00:00", "192.0.2.1", "LOGGED", None),
    ]
    told = mover.told("sqlite", made(tmp_path / "alerts.db", [*GIVEN[:2], *bad]))
    assert (told["written"], told["closes"]) == (2, True)
    assert told["rejected_by_reason"] == {
        "timestamp: not a time": 1,
        "src_ip: not an IP address": 1,
        "timestamp: before 1990": 1,
        "timestamp: in the future": 1,
    }
    lines = Path(told["rejects_file"]).read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["line", "3", "4", "5", "6"]
    assert "localhost" in lines[2]


def test_what_cannot_be_read_is_told(mover: Mover, tmp_path: Path) -> None:
    def said(file: Path) -> str:
        code, _, err = mover("sqlite", file)
        assert code == 9
        return err

    assert "no such file" in said(tmp_path / "none.db")
    assert "is a folder" in said(tmp_path)
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 30)
    assert "file is not a database" in said(tmp_path / "text.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other, other:
        other.execute("CREATE TABLE alerts (id INTEGER, time TEXT)")
    assert "no column timestamp: its columns are id, time" in said(tmp_path / "other.db")
    damaged = made(tmp_path / "damaged.db", [(T, f"192.0.2.{n % 250}", "LOGGED", "x" * 300) for n in range(2000)])
    content = bytearray(damaged.read_bytes())
    content[40_000:200_000] = b"\xff" * 160_000
    damaged.write_bytes(content)
    assert "malformed" in said(damaged)


def test_a_locked_database_is_told(mover: Mover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.moving import alertsdb

    monkeypatch.setattr(alertsdb, "BUSY_S", 0.1)
    file = made(tmp_path / "alerts.db", GIVEN)
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        code, _, err = mover("sqlite", file)
    assert (code, "database is locked" in err) == (9, True)


COLUMNS = "id, timestamp, src_ip, action, details"
FORMS = {
    "a view": f"CREATE TABLE old ({COLUMNS}); INSERT INTO old VALUES {{}}; CREATE VIEW alerts AS SELECT * FROM old",
    "without rowid": f"CREATE TABLE alerts ({COLUMNS}, PRIMARY KEY (id)) WITHOUT ROWID; INSERT INTO alerts VALUES {{}}",
    "a column rowid": f"CREATE TABLE alerts ({COLUMNS}, rowid TEXT DEFAULT 'same'); INSERT INTO alerts ({COLUMNS}) VALUES {{}}",
    "columns of all names": f"CREATE TABLE alerts ({COLUMNS}, rowid, oid, _rowid_); INSERT INTO alerts ({COLUMNS}) VALUES {{}}",
}


@pytest.mark.parametrize("form", FORMS)
def test_tables_whose_rows_have_no_place(mover: Mover, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alertsdb, "_BATCH", 2)
    file = tmp_path / "alerts.db"
    rows = ", ".join(f"({n}, '{T}', '192.0.2.{n}', 'LOGGED', 'a note')" for n in range(1, 6))
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(FORMS[form].format(rows))
    for written, there in ((5, 0), (0, 5)):
        told = mover.told("sqlite", file)
        assert (told["rows"], told["written"], told["already_there"], told["closes"]) == (5, written, there, True)
