"""Rotation: no row is lost, whoever writes and whenever it is killed."""

from __future__ import annotations

import gzip
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra import files
from infra.errors import ConfigError, InputError
from jobs.moving import rotate as rotation
from jobs.moving.rotate import pieces, rotate, size_of
from tests.movingdata import rows, text

NOW = datetime(2026, 3, 9, 1, 2, 3, tzinfo=UTC)
HEADER = text([])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "live.csv"
    made.write_text(text(rows(10)))
    return made


def test_by_size(file: Path) -> None:
    before = file.read_text()
    assert rotate(file, size=1_000_000, now=NOW).piece is None
    done = rotate(file, size=100, now=NOW)
    assert done.piece == file.with_name("live-20260309T010203.csv")
    assert done.piece.read_text() == before
    assert file.read_text() == HEADER
    file.write_text(text(rows(5)))
    assert rotate(file, size=100, now=NOW).piece == file.with_name("live-20260309T010203-1.csv")


def test_by_week(file: Path) -> None:
    assert rotate(file, weekly=True, now=datetime(2026, 3, 1, 23, tzinfo=UTC)).piece is None, "its rows are of this very Sunday"
    assert rotate(file, weekly=True, now=datetime(2026, 3, 2, 0, tzinfo=UTC)).piece is not None
    assert rotate(file, weekly=True, now=NOW).piece is None, "a header alone is nothing to rotate"


def test_a_file_without_header_stays_one(file: Path) -> None:
    file.write_text(text(rows(10), header=False))
    rotate(file, size=1, now=NOW)
    assert file.read_text() == ""


def test_a_writer_in_the_middle_of_a_write_goes_on_in_the_piece(file: Path) -> None:
    with file.open("a") as writer:
        writer.write("half a ")
        writer.flush()
        done = rotate(file, size=1, now=NOW)
        assert done.piece is not None
        assert rotate(file, size=10**9, compress=True, now=NOW).compressed == (), "somebody has it open"
        writer.write("line\n")
    assert done.piece.read_text().endswith("half a line\n")
    assert file.read_text() == HEADER
    (packed,) = rotate(file, size=10**9, compress=True, now=NOW).compressed
    assert gzip.decompress(packed.read_bytes()).endswith(b"half a line\n")
    assert not done.piece.exists()


def test_only_the_newest_pieces_are_kept(file: Path) -> None:
    for hour in range(12):
        file.write_text(text(rows(3)))
        rotate(file, size=1, keep=3, compress=hour % 2 == 0, now=NOW + timedelta(hours=hour))
    assert [piece.name for piece in pieces(file)] == [
        "live-20260309T100203.csv.gz",
        "live-20260309T110203.csv",
        "live-20260309T120203.csv",
    ]


def test_a_rotation_that_was_killed_is_ended_by_the_next(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_text()

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", kill)
        with pytest.raises(Killed):
            rotate(file, size=1, now=NOW)
    assert file.read_text() == before, "the writer still has its file"
    with file.open("a") as out:
        out.write("one more\n")
    done = rotate(file, size=10**9, now=NOW + timedelta(hours=1))
    assert (done.piece, done.why) == (file.with_name("live-20260309T010203.csv"), "an interrupted rotation is ended")
    assert done.piece is not None
    assert done.piece.read_text() == before + "one more\n"
    assert (file.read_text(), len(pieces(file))) == (HEADER, 1)


def test_copytruncate_for_a_writer_that_keeps_the_file_open(file: Path) -> None:
    before = file.read_text()
    with file.open("a") as writer:
        done = rotate(file, size=1, copytruncate=True, now=NOW)
        writer.write("after\n")
    assert done.piece is not None
    assert done.piece.read_text() == before
    assert file.read_text() == HEADER + "after\n"


def _writing(path: str, count: int) -> None:
    for n in range(count):
        with open(path, "a") as out:
            out.write(f"row {n}\n")


def test_nothing_is_lost_under_a_live_writer(file: Path) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=_writing, args=(str(file), 4_000))
    writer.start()
    rotated = 0
    while writer.is_alive():
        rotated += rotate(file, size=2000).piece is not None
    writer.join()
    assert rotated > 0
    found = [line for piece in [*pieces(file), file] for line in piece.read_text().splitlines() if line.startswith("row ")]
    assert sorted(found) == sorted(f"row {n}" for n in range(4_000))
    assert all(piece.read_text().startswith(HEADER) for piece in [*pieces(file), file])


def test_what_goes_wrong_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="No such file"):
        rotate(file.with_name("none.csv"), size=1)
    for wrong in ("big", "0", "-1MB", "1TB"):
        with pytest.raises(ConfigError, match="is no size"):
            size_of(wrong)
    assert [size_of(right) for right in ("100MB", "64 MiB", "5000", "1kb")] == [100_000_000, 64 << 20, 5000, 1000]

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(rotation.os, "link", full)
    with pytest.raises(InputError, match="cannot be rotated: No space left"):
        rotate(file, size=1)
