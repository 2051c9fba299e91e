"""Rotation of a CSV file that somebody goes on writing: the file becomes a piece of another name, a new one begins with its header.

Safe for a writer that opens the file for each write (``to_csv(mode='a')``) as for one that is in the middle of a write: the piece is
the very file, under another name, and what is still written to it stays in it. There is no moment without a file of the name, nor
one without a header. A writer that keeps the file open for ever would go on writing into the piece: for it there is ``copytruncate``.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra import files
from infra.errors import ConfigError, InputError
from jobs.moving.csvfile import CsvFile
from jobs.moving.times import Clock, times

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_COPIED = 1 << 20


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: the new piece (None: it was not due), those that were compressed, those that were removed."""

    piece: Path | None = None
    why: str = ""
    compressed: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()


def size_of(text: str) -> int:
    """Bytes: ``100MB``, ``64MiB``, ``5000000``.

    Raises
    ------
    ConfigError
        It is no size.
    """
    match = re.fullmatch(r"(\d{1,15})\s*([KMG]i?B)?", text.strip(), re.IGNORECASE)
    if not match or int(match[1]) == 0:
        raise ConfigError(f"--size {text!r} is no size", "write 100MB, 64MiB or 5000000")
    return int(match[1]) * _UNITS[(match[2] or "").lower()]


def rotate(
    path: Path,
    *,
    size: int | None = None,
    weekly: bool = False,
    keep: int | None = None,
    compress: bool = False,
    copytruncate: bool = False,
    now: datetime | None = None,
) -> Rotated:
    """Rotate a file if it is due.

    Parameters
    ----------
    path
        The file.
    size
        It is due from so many bytes on.
    weekly
        It is due when its first row is of an earlier week (ISO: from Monday, UTC).
    keep
        Pieces that stay; older ones are removed.
    compress
        Pieces become gzip, as soon as nobody has them open.
    copytruncate
        Copy the file and empty it, for a writer that never opens it anew. What is written between the two is lost.
    now
        The time that goes into the piece's name.

    Raises
    ------
    InputError
        There is no such file, or it or its folder cannot be written.
    """
    file = CsvFile(path)
    now = now or datetime.now(UTC)
    try:
        half_done = _half_done(path)
        why = "an interrupted rotation is ended" if half_done else _due(file, size, weekly, now)
        piece = None
        if why:
            header = b"" if file.empty else _header(file)
            piece = half_done or _free(path, now)
            if copytruncate and not half_done:
                _copied(path, piece, header)
            else:
                if not half_done:
                    os.link(path, piece)
                files.replace(path, header)
        compressed = tuple(_compressed(path, piece)) if compress else ()
        return Rotated(piece, why, compressed, tuple(_thinned(path, keep)))
    except OSError as e:
        raise InputError(
            f"{path} cannot be rotated: {os.strerror(e.errno or 0)}", "make room, or give this user the right to write in its folder"
        ) from e


def _header(file: CsvFile) -> bytes:
    """The first line, where it is a header: one that has no number in it."""
    names = file.header()
    if any(re.fullmatch(r"[-+]?[\d.]+([eE][-+]?\d+)?", name.strip()) for name in names):
        return b""
    with file.path.open("rb") as content:
        return content.readline()


def pieces(path: Path) -> list[Path]:
    """Rotated pieces of a file, the oldest first."""
    name = re.compile(re.escape(path.stem) + r"-\d{8}T\d{6}(-\d+)?" + re.escape(path.suffix) + r"(\.gz)?")
    return sorted((p for p in path.parent.iterdir() if name.fullmatch(p.name)), key=lambda p: _age(p.name))


def _age(name: str) -> tuple[str, int]:
    match = re.search(r"-(\d{8}T\d{6})(?:-(\d+))?", name)
    assert match is not None
    return match[1], int(match[2] or 0)


def _free(path: Path, now: datetime) -> Path:
    stamp = now.strftime("%Y%m%dT%H%M%S")
    names = (f"{path.stem}-{stamp}{f'-{n}' if n else ''}{path.suffix}" for n in range(100_000))
    return next(p for p in map(path.with_name, names) if not p.exists() and not p.with_name(f"{p.name}.gz").exists())


def _half_done(path: Path) -> Path | None:
    """The piece of a rotation that was killed before the new file had its name: it is the file itself still."""
    return next((piece for piece in reversed(pieces(path)) if piece.suffix != ".gz" and piece.samefile(path)), None)


def _due(file: CsvFile, size: int | None, weekly: bool, now: datetime) -> str:
    if size is not None and file.size >= size:
        return f"{file.size:,} bytes"
    if weekly and (first := _first_time(file)) and first.isocalendar()[:2] < now.isocalendar()[:2]:
        return f"begins in week {first:%G-W%V}"
    return ""


def _first_time(file: CsvFile) -> datetime | None:
    """Time of the first row; where it says none, of the last change."""
    import pyarrow as pa

    with file.path.open("rb") as content:
        lines = [line.decode("utf-8", "replace") for line in content.read(1 << 16).splitlines()[:2]]
    for line in lines:
        us, good = times(pa.array(line.split(file.delimiter), pa.string()), Clock(day_first=True))
        year = 31_557_600_000_000
        if len(us) and good[0] and us[0] > 20 * year:
            return datetime.fromtimestamp(us[0] / 1e6, UTC)
    return datetime.fromtimestamp(file.path.stat().st_mtime, UTC) if len(lines) > 1 else None


def _copied(path: Path, piece: Path, header: bytes) -> None:
    with path.open("r+b") as source:
        with files.PartialFile(piece) as target:
            shutil.copyfileobj(source, target.file, _COPIED)
            target.file.flush()
            os.fsync(target.file.fileno())
        source.seek(0)
        source.truncate()
        source.write(header)


def _compressed(path: Path, fresh: Path | None) -> list[Path]:
    """Compress the pieces, but not the one just made: its writer may be about to end a line."""
    made = []
    for piece in pieces(path):
        if piece.suffix == ".gz" or piece == fresh or _open_somewhere(piece):
            continue
        target = piece.with_name(f"{piece.name}.gz")
        with piece.open("rb") as source:
            with files.PartialFile(target) as partial:
                with gzip.GzipFile(fileobj=partial.file, mode="wb", mtime=0) as packed:
                    shutil.copyfileobj(source, packed, _COPIED)
                partial.file.flush()
                os.fsync(partial.file.fileno())
            if source.read(1):  # somebody has written to it meanwhile
                continue
        piece.unlink()
        made.append(target)
    return made


def _open_somewhere(piece: Path) -> bool:
    """Whether a process has it open, as far as this user may see."""
    wanted = piece.stat()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found = link.stat()  # of the file itself: the link still shows the name under which it was opened
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def _thinned(path: Path, keep: int | None) -> list[Path]:
    if keep is None:
        return []
    found = pieces(path)
    gone = found[: max(0, len(found) - keep)]
    for piece in gone:
        piece.unlink()
    return gone
