"""A file that is read again when it has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from infra import log
from infra.errors import ConfigError, one_line

_log = log.get(__name__)
T = TypeVar("T")


class WatchedFile(Generic[T]):
    """What a file says, as of its last good version.

    Parameters
    ----------
    path
        The file.
    setting
        Where its name comes from, for errors.
    read
        Reads it; raises ``OSError`` or ``ValueError`` where it cannot.

    Raises
    ------
    ConfigError
        It is missing or damaged. Later, when it has changed for the worse, that is logged once and the last good version stays.

    Attributes
    ----------
    content
        What it says.
    """

    def __init__(self, path: str, setting: str, read: Callable[[Path], T]) -> None:
        self._path, self._setting, self._read = Path(path), setting, read
        self._seen = self._version()
        try:
            self.content = read(self._path)
        except (OSError, ValueError) as e:
            raise ConfigError(f"{setting}: {path}: {_why(e)}", f"name a file of that kind, or leave {setting} empty") from e

    def look(self) -> bool:
        """Read it again if it has changed; whether ``content`` is new."""
        version = self._version()
        if version == self._seen:
            return False
        self._seen = version
        try:
            self.content = self._read(self._path)
        except (OSError, ValueError) as e:
            _log.warning("a changed file cannot be read; what it said before holds", setting=self._setting, file=self._path, why=_why(e))
            return False
        _log.info("a changed file is read again", setting=self._setting, file=self._path)
        return True

    def _version(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self._path)
        except OSError:
            return (0, 0, 0)
        return found.st_mtime_ns, found.st_size, found.st_ino


def _why(error: Exception) -> str:
    return (error.strerror or one_line(error)) if isinstance(error, OSError) else one_line(error)
