"""The lines that became no row, beside the file that they are of: ``FILE.rejects.csv`` with number, reason and the line itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from infra.errors import InputError
from jobs.moving.convert import Reject

ENDING = ".rejects.csv"
_HEADER = b"line,reason,raw\n"


class RejectFile:
    """Rejects of one file. They are on the disk before the rows of their block are in a store, so that none is lost.

    Parameters
    ----------
    source
        The file that they are of.
    folder
        Where they are kept; None: beside it.
    """

    def __init__(self, source: Path, folder: Path | None = None) -> None:
        if folder is None:
            self.path = source.with_name(f"{source.name}{ENDING}")
        else:  # where files of one name from two places may meet
            place = sha256(os.fsencode(os.path.dirname(os.path.realpath(source)))).hexdigest()[:8]
            self.path = folder / f"{source.name}.{place}{ENDING}"

    def begin(self, first_line: int) -> None:
        """Before the lines from this one on are read: what a reading before has rejected of them would come twice.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        try:
            if not self.path.is_file():
                return
            with self.path.open("r+b") as file:
                kept = len(file.readline())
                for line in file:  # in the order of the blocks
                    if _number(line) >= first_line:
                        break
                    kept += len(line)
                file.truncate(kept)
            if kept <= len(_HEADER):
                self.path.unlink()
        except OSError as e:
            raise self._problem(e) from e

    def write(self, rejects: Iterable[Reject]) -> None:
        """Add lines; they are on the disk when this returns.

        Raises
        ------
        InputError
            The disk is full, or the folder cannot be written.
        """
        lines = [
            b'%d,"%s","%s"\n' % (r.line, r.reason.replace('"', '""').encode(), r.raw.replace(b"\r", b"\\r").replace(b'"', b'""'))
            for r in rejects
        ]
        if not lines:
            return
        try:
            with self.path.open("ab") as file:
                size = file.tell()
                try:
                    if not size:
                        file.write(_HEADER)
                    file.writelines(lines)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.truncate(self.path, size)
                    raise
        except OSError as e:
            raise self._problem(e) from e

    def _problem(self, error: OSError) -> InputError:
        return InputError(
            f"reject file {self.path} cannot be written: {os.strerror(error.errno or 0)}",
            "make room, or name another folder (--rejects); then run the same command again: it goes on where it was",
        )


def _number(line: bytes) -> int:
    digits = line.split(b",", 1)[0]
    return int(digits) if digits.isdigit() else 0
