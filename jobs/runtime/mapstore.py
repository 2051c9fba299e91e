"""A log of blobs in one Spark MapState: a text that says what is in force, and pieces by number."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyspark import SparkFiles
from pyspark.sql.streaming.stateful_processor import StatefulProcessorHandle
from pyspark.sql.types import BinaryType, LongType, StructField, StructType

from infra import files

_BLOB = StructType([StructField("blob", BinaryType())])
_NUMBER = StructType([StructField("version", LongType())])


def open_map(handle: StatefulProcessorHandle) -> Any:
    """The state variable of a processor that keeps a log."""
    return handle.getMapState("log", _NUMBER, _BLOB)


def folder(what: str, query: str, bucket: int) -> Path:
    """Folder of this application on this executor for a bucket's pieces; Spark removes it at its end."""
    found = Path(SparkFiles.getRootDirectory()) / what / query / str(bucket)
    with suppress(OSError):
        found.mkdir(parents=True, exist_ok=True)
    return found


class MapStore:
    """A bucket's state: its meta blob, and its pieces by number (of a meter: segments by version).

    Setting up a state variable costs the state server 10-30 ms a task, so there is only one; and it reads a blob back at some 10 MB/s.
    The last pieces are therefore also kept as files of this executor, where another worker finds them by their nonce.

    Parameters
    ----------
    state
        What :func:`open_map` gave.
    folder
        Of the files (:func:`folder`).
    newest
        Pieces with the newest numbers that are kept as files: how many batches a worker may have been without this bucket before it asks
        the state server. 0: all that are not removed.
    """

    _META = -1

    def __init__(self, state: Any, folder: Path, newest: int = 0) -> None:
        self._state = state
        self._folder = folder
        self._newest = newest

    def meta(self) -> bytes | None:
        """The blob of the last batch; None before the first."""
        value = self._state.getValue((self._META,))
        return None if value is None else bytes(value[0])

    def set_meta(self, blob: bytes) -> None:
        """Replace it."""
        self._state.updateValue((self._META,), (blob,))

    def get(self, version: int, nonce: bytes) -> bytes | bytearray | None:
        """A piece, if it is there."""
        with suppress(OSError), self._file(version, nonce).open("rb") as file:
            segment = bytearray(os.fstat(file.fileno()).st_size)  # writable, as compiled code knows the rows
            file.readinto(segment)
            return segment
        value = self._state.getValue((version,))
        return None if value is None else bytes(value[0])

    def put(self, version: int, nonce: bytes, segment: bytes, plain: Callable[[], bytes]) -> None:
        """Write a piece; ``plain``: the same, quicker to make and read and larger, for a copy that is read once or never."""
        self._state.updateValue((version,), (segment,))
        with suppress(OSError):  # a full disk makes it slower, not wrong
            for lost in self._folder.glob(f"{version:012d}-*"):  # of a batch that was never committed
                lost.unlink()
            files.replace(self._file(version, nonce), plain())
            if self._newest:
                for old in self._folder.glob(f"{version - self._newest:012d}-*"):
                    old.unlink()

    def remove(self, version: int, nonce: bytes) -> None:
        """Drop a piece."""
        self._state.removeKey((version,))
        self._file(version, nonce).unlink(missing_ok=True)

    def _file(self, version: int, nonce: bytes) -> Path:
        return self._folder / f"{version:012d}-{nonce.hex()}"
