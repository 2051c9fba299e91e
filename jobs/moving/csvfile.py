"""A CSV file as blocks of whole lines, in bounded memory: plain, gzip or zstd, and one that still grows."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from infra.errors import InputError, one_line

#: Bytes of a block: some 30,000 rows of the 23 columns that the reference writes, one transaction.
BLOCK = 8 << 20
#: A line longer than this is no line of a CSV file.
LONGEST_LINE = 16 << 20
#: Bytes before a position that are compared when a file is taken up again.
TAIL = 4096
#: Bytes before a position that are looked at for lines of the same time (:mod:`jobs.moving.flowids`).
BEFORE = 1 << 20
_DELIMITERS = ",;\t|"
_SKIPPED = 1 << 20


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, and where they lie in its (uncompressed) content.

    ``before`` is what precedes the first block of a reading, at most :data:`BEFORE` bytes; empty for later blocks.
    """

    data: bytes
    start: int
    first_line: int  # number of the first, from 1
    tail: str  # of the content up to its end: :func:`tail_of`
    before: bytes = b""

    @property
    def end(self) -> int:
        return self.start + len(self.data)


def tail_of(content: bytes) -> str:
    """What is remembered of the bytes before a position, so that another file of the same name is not taken for this one."""
    return hashlib.sha256(content[-TAIL:]).hexdigest()[:32]


@dataclass(frozen=True)
class Position:
    """How far a file has been read: bytes of content, and :func:`tail_of` them."""

    offset: int
    tail: str


class CsvFile:
    """One file.

    Parameters
    ----------
    path
        The file.
    final
        Take a last line that has no line end. Else it is left: whoever writes the file may be in the middle of it.

    Raises
    ------
    InputError
        There is no such file, or it cannot be read, or it is no text.

    Attributes
    ----------
    size
        Bytes on disk when it was opened: what is appended later is left to the next run.
    left
        Bytes of the last line that were left.
    """

    def __init__(self, path: Path, *, final: bool = False) -> None:
        self.path = path
        self.left = 0
        try:
            with path.open("rb") as file:
                magic = file.read(4)
                self.size = os.fstat(file.fileno()).st_size
        except OSError as e:
            hint = "name the files in it" if path.is_dir() else "check the name, and the right to read it"
            raise InputError(f"CSV file {path}: {os.strerror(e.errno or 0)}", hint) from e
        self.compression = "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic == b"\x28\xb5\x2f\xfd" else ""
        self._final = final or bool(self.compression)
        first = self._first()
        self.bom = 3 if first.startswith(b"\xef\xbb\xbf") else 0
        if first.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError(f"CSV file {path} is UTF-16", "convert it: iconv -f UTF-16 -t UTF-8")
        if first.startswith((b"SQLite format 3", b"PAR1", b"PK\x03\x04")):
            raise InputError(f"CSV file {path} is no CSV: it begins with {first[:15]!r}", "alerts in SQLite: flowlake migrate sqlite")
        line = next((line for line in first[self.bom :].split(b"\n") if line.strip()), b"")
        #: The first line that is not blank, without its end.
        self.first_line = line.rstrip(b"\r").decode("utf-8", "replace")
        self.delimiter = max(_DELIMITERS, key=self.first_line.count)

    @property
    def empty(self) -> bool:
        """No line is there (yet)."""
        return not self.first_line.strip()

    def _first(self) -> bytes:
        with self._opened() as file:
            first = self._read(file, 1 << 18)
            cut = first.rfind(b"\n")
            return first if cut < 0 else first[:cut]

    def header(self) -> list[str]:
        """Fields of the first line.

        Raises
        ------
        InputError
            It is not CSV.
        """
        return fields(self.first_line, self.delimiter)

    def blocks(self, after: Position | None = None) -> Iterator[Block]:
        """Whole lines, from behind a position on.

        Parameters
        ----------
        after
            Where a reading before ended. When the file's content there is another one, it is read from its beginning: what is there
            already is recognised by its identity.

        Raises
        ------
        InputError
            A line is too long, or compressed content is damaged.
        """
        with self._opened() as file:
            start, line, before = self._skip(file, after)
        with self._opened() as file:
            if start:
                self._seek(file, start)
            yield from self._blocks(file, start, line, before)

    def holds(self, position: Position) -> bool:
        """Whether the file's content up to a position is what it was when that was noted."""
        with self._opened() as file:
            if self.compression:
                return self._skip(file, position)[0] == position.offset
            if position.offset > self.size:
                return False
            file.seek(max(0, position.offset - TAIL))
            return tail_of(self._read(file, min(TAIL, position.offset))) == position.tail

    def _blocks(self, file: Any, start: int, line: int, before: bytes) -> Iterator[Block]:
        limit = None if self.compression else self.size
        rest, last = b"", before[-TAIL:]
        place = start
        while True:
            room = BLOCK if limit is None else min(BLOCK, limit - place)
            chunk = self._read(file, room) if room > 0 else b""
            place += len(chunk)
            content = rest + chunk
            ended = not chunk
            cut = len(content) if ended and self._final else content.rfind(b"\n") + 1
            if not cut and len(content) > LONGEST_LINE:
                raise InputError(
                    f"CSV file {self.path}: line {line} is longer than {LONGEST_LINE >> 20} MiB", "it is no CSV file, or damaged there"
                )
            data, rest = content[:cut], content[cut:]
            if data:
                last = (last + data)[-TAIL:]
                yield Block(data, start, line, tail_of(last), before)
                start, line, before = start + len(data), line + data.count(b"\n"), b""
            if ended:
                self.left = len(rest)
                return

    def _skip(self, file: Any, after: Position | None) -> tuple[int, int, bytes]:
        """Where to begin: bytes, number of the line, what lies before."""
        if after is None or not after.offset:
            return 0, 1, b""
        left, lines, last = after.offset, 0, b""
        while left:
            chunk = self._read(file, min(left, _SKIPPED))
            if not chunk:
                return 0, 1, b""  # shorter than it was: another file
            left -= len(chunk)
            lines += chunk.count(b"\n")
            last = (last + chunk)[-BEFORE:]
        if tail_of(last) != after.tail:
            return 0, 1, b""
        return after.offset, lines + 1, last

    def _seek(self, file: Any, start: int) -> None:
        if not self.compression:
            file.seek(start)
            return
        while start:
            start -= len(self._read(file, min(start, _SKIPPED)))

    def _read(self, file: Any, size: int) -> bytes:
        try:
            return bytes(file.read(size))
        except (EOFError, OSError, ValueError) as e:
            raise InputError(f"CSV file {self.path}: cannot be read on: {one_line(e)}", "it is damaged, or was cut off") from e
        except Exception as e:
            if type(e).__name__ not in ("error", "ZstdError"):  # of zlib, of zstd
                raise
            raise InputError(f"CSV file {self.path}: cannot be read on: {one_line(e)}", "it is damaged, or was cut off") from e

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO | Any]:
        if self.compression == "gzip":
            with gzip.open(self.path, "rb") as unzipped:
                yield unzipped
        elif self.compression == "zstd":
            from backports import zstd

            with zstd.open(self.path, "rb") as unpacked:
                yield unpacked
        else:
            with self.path.open("rb") as file:
                yield file


def fields(line: str, delimiter: str) -> list[str]:
    """Fields of one line.

    Raises
    ------
    InputError
        It is not CSV.
    """
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error as e:
        raise InputError(f"not a line of CSV: {one_line(e)}: {line[:80]!r}") from e
