"""Where queries keep their checkpoints, and what may not change under one.

A checkpoint lies at ``<paths.checkpoints>/<query>-v<version>``: state and offsets written by one schema version are never read by
another. Beside it lies ``<query>-v<version>.json``: an id born with the checkpoint, the values that are frozen into it, and what is known
of the topics that it has read (:mod:`jobs.runtime.inputs`).
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from infra import files, log, paths
from infra.config import Settings
from infra.errors import CheckpointError
from infra.kafka.progress import LocalFiles

LOG = log.get("jobs.runtime.checkpoints")

#: Frozen by Spark itself, which goes on with the checkpoint's own value: a change is told, not refused.
SHUFFLE_PARTITIONS = "shuffle_partitions"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Checkpoint:
    """A query's checkpoint.

    ``path`` is its ``checkpointLocation``; ``id`` (hex) is born with it and stays while it is there: a new checkpoint is a new stream;
    ``frozen`` holds the values in force, which for ``shuffle_partitions`` are the checkpoint's and not the configured ones.
    """

    path: str
    id: str
    frozen: Mapping[str, Any]
    files: _Files = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Of its folder: ``<query>-v<version>``."""
        return self.path.rpartition("/")[2]

    def note(self) -> dict[str, Any]:
        """What lies beside it; empty when it is not there or was cut by a crash."""
        return _note(self.files, self.name)

    def annotate(self, **values: Any) -> None:
        """Put further values (JSON types) into the note."""
        note = {"id": self.id, "frozen": dict(self.frozen), **self.note(), **values}
        self.files.write(f"{self.name}.json", json.dumps(note, indent=1, sort_keys=True) + "\n")


def path(settings: Settings, query: str, version: int, *, frozen: Mapping[str, Any] | None = None) -> str:
    """Checkpoint location of a query; :func:`open` without the rest."""
    return open(settings, query, version, frozen).path


def open(settings: Settings, query: str, version: int, frozen: Mapping[str, Any] | None = None) -> Checkpoint:
    """The checkpoint of a query, existing or to be made by it, after checking that it fits.

    Parameters
    ----------
    settings : Settings
        ``paths.checkpoints`` is a folder or a URI such as ``s3a://`` (for which the Spark session must be there).
    query : str
        Name of the query: lower-case letters, digits, underscores.
    version : int
        Version of what the query keeps in its state and offsets.
    frozen : mapping, optional
        Further values that the state depends on (name -> value), e.g. ``{"buckets": 8}``; JSON types.

    Raises
    ------
    CheckpointError
        There is a checkpoint of another version and none of this one; or a frozen value is another than the checkpoint was made
        with; or the folder cannot be read or written. Names both and the way out.
    """
    if not _NAME.fullmatch(query):
        raise ValueError(f"query name {query!r}: lower-case letters, digits and underscores")
    base = _base(settings)
    if "://" not in base:
        paths.check(Path(base), "paths.checkpoints")
    name = f"{query}-v{version}"
    values = {SHUFFLE_PARTITIONS: settings.spark.shuffle_partitions, **(frozen or {})}
    try:
        files = _files(base)
        there = _versions(files, query)
        if there and version not in there:
            raise CheckpointError(
                f"checkpoint of query {query} in {base} is of schema version {max(there)}, this program writes version {version}",
                "point paths.checkpoints to a new folder, or start with --reset-checkpoint (what that checkpoint had open is given up)",
            )
        old = _read(files, name) if version in there else None
        if old is None:
            files.remove(f"{name}.json")
            place = Checkpoint(f"{base}/{name}", uuid.uuid4().hex, values, files)
            place.annotate()
            if version in there:
                LOG.warning("checkpoint had lost the note of its frozen values", query=query, written_anew=f"{base}/{name}.json")
        else:
            identity, kept = old
            place = Checkpoint(f"{base}/{name}", identity, values | _compare(query, f"{base}/{name}", kept, values), files)
        _opened[query] = place.id
    except OSError as e:
        raise CheckpointError(
            f"checkpoint folder {base} (paths.checkpoints): {e.strerror or e}",
            "name a folder that can be written: FLOWLAKE_PATHS__CHECKPOINTS",
        ) from e
    return place


#: Of this process: query -> id of the checkpoint that it opened last.
_opened: dict[str, str] = {}


def opened(query: str) -> str | None:
    """Id of the checkpoint that this process opened last for a query; None when it has opened none. Any thread may ask."""
    return _opened.get(query)


def existing(settings: Settings, query: str) -> list[Checkpoint]:
    """The checkpoints of a query that are there and not empty, of whatever version; those without a note left out."""
    base = _base(settings)
    files = _files(base)
    names = [f"{query}-v{version}" for version in sorted(_versions(files, query))]
    notes = {name: note for name in names if (note := _read(files, name))}
    return [Checkpoint(f"{base}/{name}", identity, frozen, files) for name, (identity, frozen) in notes.items()]


def versions(settings: Settings, query: str) -> set[int]:
    """Schema versions of a query's checkpoints that are there and not empty."""
    return _versions(_files(_base(settings)), query)


def _versions(files: _Files, query: str) -> set[int]:
    pattern = re.compile(rf"{re.escape(query)}-v(\d+)")
    return {int(match[1]) for name in files.folders() if (match := pattern.fullmatch(name))}


def reset(settings: Settings, query: str) -> list[str]:
    """Remove all checkpoints of a query, whatever their version; the query starts from the beginning. Returns what was removed."""
    base = _base(settings)
    files = _files(base)
    gone = [f"{query}-v{version}" for version in sorted(versions(settings, query))]
    for name in gone:
        files.remove(name)
        files.remove(f"{name}.json")
    return [f"{base}/{name}" for name in gone]


def _compare(query: str, where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what may not change; return the values of the checkpoint that win over the configured ones."""
    kept: dict[str, Any] = {}
    for key in sorted(old.keys() & new.keys()):
        if old[key] == new[key]:
            continue
        if key != SHUFFLE_PARTITIONS:
            raise CheckpointError(
                f"{key} of query {query} is {new[key]}, but checkpoint {where} was made with {old[key]}",
                f"set {key} back to {old[key]}, point paths.checkpoints to a new folder, or start with --reset-checkpoint",
            )
        LOG.warning("checkpoint keeps its shuffle partitions", query=query, checkpoint=old[key], configured=new[key])
        kept[key] = old[key]
    return kept


def _read(files: _Files, name: str) -> tuple[str, dict[str, Any]] | None:
    """Id and frozen values; None when there is no note or it was cut by a crash (it is then written anew)."""
    note = _note(files, name)
    try:
        return str(note["id"]), dict(note["frozen"])
    except (ValueError, KeyError, TypeError):
        return None


def _note(files: _Files, name: str) -> dict[str, Any]:
    try:
        note = json.loads(files.read(f"{name}.json") or "")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _base(settings: Settings) -> str:
    configured = settings.paths.checkpoints
    return configured.rstrip("/") if "://" in configured else str(settings.path(configured))


class _Files(Protocol):
    """The little that is needed of a file system; names are relative to the checkpoint folder."""

    def folders(self) -> list[str]:
        """Names of the folders that hold something."""

    def files(self, folder: str) -> list[str]:
        """Names of the files in a folder; none when it is not there."""

    def read(self, name: str) -> str | None:
        """Text of a file; None when it is not there."""

    def write(self, name: str, text: str) -> None:
        """Write a file whole, making the folder if needed."""

    def remove(self, name: str) -> None:
        """Remove a file or folder, if there."""


def _files(base: str) -> _Files:
    return _Hadoop(base) if "://" in base else _Local(Path(base))


class _Local(LocalFiles):
    """A folder of this machine, to be written too."""

    def folders(self) -> list[str]:
        if not self.base.exists():
            return []
        return [entry.name for entry in self.base.iterdir() if entry.is_dir() and any(entry.iterdir())]

    def write(self, name: str, text: str) -> None:
        file = self.base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # Hadoop's checksum of what the file was: Spark could not read it any more
        file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
        files.replace(file, text)

    def remove(self, name: str) -> None:
        target = self.base / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


class _Hadoop:
    """Any file system of Hadoop's (S3A, HDFS), through the running Spark session, with its keys."""

    def __init__(self, base: str) -> None:
        from pyspark.sql import SparkSession

        session = SparkSession.getActiveSession()
        if session is None:
            raise CheckpointError(f"checkpoint folder {base}: a Spark session must be there first", "build the session before the query")
        context: Any = session.sparkContext
        self._jvm = context._jvm
        self._base = base
        self._path = self._jvm.org.apache.hadoop.fs.Path
        self._fs = self._call(lambda: self._path(base).getFileSystem(context._jsc.hadoopConfiguration()))

    def _call(self, action: Any) -> Any:
        """A call into the JVM; its failure as an OSError with the cause in one line."""
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        from jobs.runtime.causes import summary

        try:
            return action()
        except (Py4JJavaError, PySparkException) as e:
            raise OSError(summary(e)) from e

    def folders(self) -> list[str]:
        base = self._path(self._base)
        if not self._call(lambda: self._fs.exists(base)):
            return []
        entries = self._call(lambda: self._fs.listStatus(base))
        return [e.getPath().getName() for e in entries if e.isDirectory() and len(self._call(lambda e=e: self._fs.listStatus(e.getPath())))]

    def files(self, folder: str) -> list[str]:
        place = self._path(f"{self._base}/{folder}")
        if not self._call(lambda: self._fs.exists(place)):
            return []
        return [entry.getPath().getName() for entry in self._call(lambda: self._fs.listStatus(place)) if entry.isFile()]

    def read(self, name: str) -> str | None:
        file = self._path(f"{self._base}/{name}")
        if not self._call(lambda: self._fs.exists(file)):
            return None
        stream = self._call(lambda: self._fs.open(file))
        try:
            return str(self._call(lambda: self._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8")))
        finally:
            stream.close()

    def write(self, name: str, text: str) -> None:
        stream = self._call(lambda: self._fs.create(self._path(f"{self._base}/{name}"), True))
        self._call(lambda: stream.write(bytearray(text.encode())))
        self._call(lambda: stream.close())

    def remove(self, name: str) -> None:
        self._call(lambda: self._fs.delete(self._path(f"{self._base}/{name}"), True))
