"""Files that appear under their name only when they are whole. Standard library only: the environment is made with it."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

#: Names of standard output where a file could be named.
_STDOUT = frozenset({"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})


def is_stdout(path: str | Path) -> bool:
    """Whether a file's name means standard output: it is written to then, wherever it leads, and no file is replaced."""
    return os.fspath(path) in _STDOUT


def replace(path: str | Path, content: bytes | str) -> None:
    """Write a whole file: a reader sees the old content or the new, never half of it. Text is written as UTF-8.

    Raises
    ------
    OSError
        The file cannot be written; an old one is as it was, and nothing lies beside it.
    """
    with PartialFile(path) as partial:
        partial.file.write(content.encode() if isinstance(content, str) else content)


class PartialFile:
    """A binary file being written beside its place, that takes its name when it is whole.

    A context manager: :meth:`commit` at its end, :meth:`discard` after an exception. A link stays one, and the file that it leads to is
    replaced; who may read and write it stays as it was. What is no plain file (a device, a named pipe) is written to as it is, and never
    replaced.

    Parameters
    ----------
    path
        The file's name; its folder must exist.

    Raises
    ------
    OSError
        The file cannot be made.

    Attributes
    ----------
    file
        To be written to.
    named
        Whether what is written is seen under the file's name already.
    """

    def __init__(self, path: str | Path) -> None:
        self.named = os.path.exists(path) and not os.path.isfile(path)
        # Of /dev/stdout the real path leads nowhere, where it is a pipe.
        self._path = Path(path) if self.named else Path(os.path.realpath(path))
        self._place = self._path if self.named else beside(self._path)
        self.file: BinaryIO = open(self._place, "wb")  # noqa: SIM115 - closed by commit() and discard()
        if not self.named:
            with suppress(OSError):  # there is none, or the file system knows no modes
                os.fchmod(self.file.fileno(), stat.S_IMODE(os.stat(self._path).st_mode))

    def take_name(self) -> None:
        """Let readers see what is written so far, and the rest as it grows."""
        self.file.flush()
        if not self.named:
            os.replace(self._place, self._path)
            self.named = True

    def commit(self) -> None:
        """Close the file and give it its name.

        Raises
        ------
        OSError
            The rest cannot be written, or the folder is gone; what was written is removed.
        """
        try:
            self.file.close()
            if not self.named:
                os.replace(self._place, self._path)
                self.named = True
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Close the file, and remove it where it has not got its name."""
        with suppress(OSError):  # what could not be written cannot be flushed either
            self.file.close()
        if not self.named:
            with suppress(OSError):  # the folder is gone, and the file with it; the first failure is the one to tell
                self._place.unlink(missing_ok=True)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def beside(path: Path) -> Path:
    """Where a file lies until it is whole: hidden, of this thread alone, and with a name that fits where ``path`` is as long as may be."""
    short = os.fsdecode(os.fsencode(path.name)[:200])
    return path.with_name(f".{short}.{threading.get_native_id()}.partial")
