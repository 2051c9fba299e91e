"""Where the archive lies: a folder or a bucket, by Arrow's file systems, and what their failures mean in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.config import Settings
from infra.errors import StoreError, one_line
from jobs.archiving.months import Month, text
from jobs.runtime import lake, s3

if TYPE_CHECKING:
    import pyarrow.fs as fs

#: Folders that readers do not look into: their names begin with an underscore.
STAGING, MANIFESTS = "_staging", "_manifests"
_ROOM = "make room there, then run the same command again: it goes on"
_RIGHTS = "let this user write there, or set archive.path"
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _RIGHTS,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOTDIR: "archive.path must be a folder",
}
_AGAIN = "check archive.path and the object store (lake.s3_endpoint and its keys), then run the same command again: it goes on"


@dataclass(frozen=True)
class ArchivePlace:
    """The folder of one hot table in the archive.

    Parameters
    ----------
    shown
        As a person names it: a path, or ``s3a://bucket/prefix/table``.
    files
        Arrow's file system.
    root
        The folder's path in it.
    """

    shown: str
    files: fs.FileSystem
    root: str

    @property
    def local(self) -> bool:
        """It is a folder of this machine (or one that looks like it)."""
        return "://" not in self.shown

    def path(self, *parts: str) -> str:
        """Path of something in the folder, as :attr:`files` takes it."""
        return "/".join([self.root, *parts])

    @staticmethod
    def folder(month: Month) -> str:
        """Folder of a month's files below :attr:`root`."""
        year, number = text(month).split("-")
        return f"year={year}/month={number}"

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Tell of a failure of the store within.

        Raises
        ------
        StoreError
            One line that names the place, what was being done, and the cause.
        """
        try:
            yield
        except OSError as e:
            raise StoreError(f"archive {self.shown}: cannot {what}: {one_line(e)}", _HINTS.get(e.errno or 0, _AGAIN)) from e

    def make_folder(self, path: str) -> None:
        """Make a folder; a bucket needs none."""
        if self.local:
            self.files.create_dir(path, recursive=True)

    def settle(self, path: str) -> None:
        """See that a file's bytes, or a folder's names, outlast a power cut; an object store has said so when it answered."""
        if self.local:
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)

    def move(self, path: str, into: str) -> None:
        """Give a whole file its name, where readers see it."""
        folder = into.rpartition("/")[0]
        self.make_folder(folder)
        self.files.move(path, into)
        self.settle(folder)

    def size(self, path: str) -> int | None:
        """Bytes of a file; None when it is not there."""
        (info,) = self.files.get_file_info([path])
        return info.size if info.is_file else None

    def below(self, *parts: str) -> list[str]:
        """Every file below a folder, in the order of their names; none where the folder is not there."""
        import pyarrow.fs as fs

        found = self.files.get_file_info(fs.FileSelector(self.path(*parts), allow_not_found=True, recursive=True))
        return sorted(info.path for info in found if info.is_file)


def of(settings: Settings, table: str) -> ArchivePlace:
    """The folder of a hot table.

    Raises
    ------
    StoreError
        ``archive.path`` is of a kind that Arrow does not know.
    ConfigError
        It lies in a lake table, or a lake table in it.
    """
    import pyarrow.fs as fs

    lake.check(settings)
    shown = f"{lake.archive(settings).rstrip('/')}/{table}"
    place = s3.uri(shown)
    if place.startswith("s3://"):
        return ArchivePlace(shown, lake.bucket(settings.lake), place.removeprefix("s3://"))
    if "://" in place:
        raise StoreError(f"archive.path {settings.archive.path!r}: an archive is a folder or s3a://bucket/prefix", "set archive.path")
    return ArchivePlace(shown, fs.LocalFileSystem(), Path(shown).as_posix())
